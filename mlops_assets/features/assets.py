"""The graph of the feature store: `features/<view>` from bars, `datasets/<name>` from views."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import dagster as dg
import polars as pl
from dagster_duckdb import DuckDBResource

from mlops_assets.features import plots
from mlops_assets.features.look_ahead import certify
from mlops_assets.features.quality import fold_overlaps, out_of_range
from mlops_assets.features.spec import KEY_COLUMNS, FeatureView, TrainingSet
from mlops_assets.features.training_set import build_training_set
from mlops_assets.features.view import compute_view
from mlops_assets.features.warehouse import Warehouse
from mlops_assets.kernel.columns import Column
from mlops_assets.kernel.identity import Principal
from mlops_assets.orchestration.declared import asset_metadata, code_version, key
from mlops_assets.orchestration.results import plot_metadata, snapshot_result
from mlops_assets.orchestration.timing import check_when_refreshed, content_freshness, refresh_when_inputs_change
from mlops_assets.storage.parquet.snapshots import Provenance, Snapshot, SnapshotStore

BARS = "market/bars"

_VIEW_RULES = ("mlops_assets.features.view", "mlops_assets.features.indicators")
_TRAINING_SET_RULES = ("mlops_assets.features.training_set", "mlops_assets.features.point_in_time")

LABEL_COLUMNS = (
    Column(name="forward_return", type="float", unit="fraction", description="Return to be known.", is_nullable=True),
    Column(name="label", type="integer", description="1 if it exceeds the threshold.", is_nullable=True),
    Column(name="label_known_at", type="timestamp", unit="UTC", description="When it is known.", is_nullable=True),
    Column(name="fold", type="string", description="train, valid, test, purged or live."),
)


def feature_view_definitions(view: FeatureView) -> dg.Definitions:
    """Return the asset of a view and its checks."""
    columns = (*KEY_COLUMNS, *view.columns)
    version = code_version(view.fingerprint, *_VIEW_RULES)

    @dg.asset(
        key=key(view.dataset),
        deps=[key(BARS)],
        description=view.description,
        owners=[view.owner],
        group_name="features",
        kinds={"polars", "parquet", "duckdb"},
        tags={"version": view.version, **dict.fromkeys(view.tags, "")},
        code_version=version,
        metadata=asset_metadata(
            file=view.declared_in, columns=columns, lineage=_from_bars(view.column_names, view.inputs)
        ),
        automation_condition=refresh_when_inputs_change(),
        freshness_policy=content_freshness(),
    )
    def feature_view(
        snapshots: dg.ResourceParam[SnapshotStore],
        warehouse: dg.ResourceParam[Warehouse],
        actor: dg.ResourceParam[Principal],
    ) -> dg.MaterializeResult:
        bars = snapshots.head(BARS)
        values = compute_view(view, _rows(snapshots, bars))
        published = snapshots.publish(
            view.dataset,
            values.to_arrow(),
            provenance=Provenance(code_version=version, inputs={BARS: bars.fingerprint}),
            actor=actor.name,
        )
        warehouse.rebuild()
        return snapshot_result(
            published,
            version=view.version,
            distributions=plot_metadata(plots.distributions(values, view.columns)),
            null_share=_null_shares(values, view.column_names),
        )

    return dg.Definitions(assets=[feature_view], asset_checks=_view_checks(view))


def training_set_definitions(spec: TrainingSet, views: Mapping[str, FeatureView]) -> dg.Definitions:
    """Return the asset of a frozen training set and its checks."""
    used = {name: views[name] for name in spec.views}
    declared = {column.name: column for view in used.values() for column in view.columns}
    columns = (*KEY_COLUMNS, *(declared[name] for name in spec.feature_names), *LABEL_COLUMNS)
    version = code_version(spec.fingerprint, *_TRAINING_SET_RULES)
    lineage = {
        **{feature.column: [(views[feature.view].dataset, feature.column)] for feature in spec.features},
        **_from_bars(("forward_return", "label"), ("adjusted_close",)),
    }

    @dg.asset(
        key=key(spec.dataset),
        deps=[key(BARS), *(key(view.dataset) for view in used.values())],
        description=spec.description,
        owners=[spec.owner],
        group_name="datasets",
        kinds={"polars", "parquet"},
        tags=dict.fromkeys(spec.tags, ""),
        code_version=version,
        metadata=asset_metadata(file=spec.declared_in, columns=columns, lineage=lineage),
        automation_condition=refresh_when_inputs_change(),
        freshness_policy=content_freshness(),
    )
    def training_set(
        snapshots: dg.ResourceParam[SnapshotStore], actor: dg.ResourceParam[Principal]
    ) -> dg.MaterializeResult:
        heads = {name: snapshots.head(name) for name in (BARS, *(view.dataset for view in used.values()))}
        values = {name: (view, _rows(snapshots, heads[view.dataset])) for name, view in used.items()}
        rows = build_training_set(spec, _rows(snapshots, heads[BARS]), values)
        inputs = {name: head.fingerprint for name, head in heads.items()}
        published = snapshots.publish(
            spec.dataset,
            rows.to_arrow(),
            provenance=Provenance(code_version=version, inputs=inputs),
            actor=actor.name,
        )
        return snapshot_result(
            published,
            rows_by_fold=dict(rows.group_by("fold").len().sort("fold").iter_rows()),
            folds=plot_metadata(plots.folds(rows)),
        )

    @dg.asset_check(
        asset=key(spec.dataset),
        automation_condition=check_when_refreshed(),
        blocking=True,
        description="No label of a fold reaches into the next.",
    )
    def folds_do_not_touch(snapshots: dg.ResourceParam[SnapshotStore]) -> dg.AssetCheckResult:
        overlaps = fold_overlaps(_frame(snapshots, spec.dataset))
        return dg.AssetCheckResult(passed=not overlaps, metadata={"overlaps": overlaps})

    return dg.Definitions(assets=[training_set], asset_checks=[folds_do_not_touch])


def _view_checks(view: FeatureView) -> list[dg.AssetChecksDefinition]:
    asset = key(view.dataset)

    @dg.asset_check(
        asset=asset,
        automation_condition=check_when_refreshed(),
        blocking=True,
        description="Values before a cut stay the same without what follows.",
    )
    def look_ahead(snapshots: dg.ResourceParam[SnapshotStore]) -> dg.AssetCheckResult:
        certificate = certify(view, _frame(snapshots, BARS))
        return dg.AssetCheckResult(
            passed=certificate.is_clean,
            metadata={
                "cuts": [cut.isoformat() for cut in certificate.cuts],
                "rows_compared": certificate.rows_compared,
                "peeks": [str(peek) for peek in certificate.peeks[:20]],
            },
        )

    @dg.asset_check(
        asset=asset,
        automation_condition=check_when_refreshed(),
        blocking=True,
        description="Every value lies within its column's declared bounds.",
    )
    def values_in_range(snapshots: dg.ResourceParam[SnapshotStore]) -> dg.AssetCheckResult:
        outside = out_of_range(_frame(snapshots, view.dataset), view.columns)
        return dg.AssetCheckResult(passed=not outside, metadata={"outside": [str(one) for one in outside]})

    @dg.asset_check(
        asset=asset,
        automation_condition=check_when_refreshed(),
        description="The DuckDB view returns the published rows.",
    )
    def served_by_duckdb(snapshots: dg.ResourceParam[SnapshotStore], duckdb: DuckDBResource) -> dg.AssetCheckResult:
        published = snapshots.head(view.dataset).row_count
        with duckdb.get_connection() as connection:
            served = {name: _count(connection.table(name)) for name in _view_names(view)}
        return dg.AssetCheckResult(
            passed=set(served.values()) == {published}, metadata={"published": published, "served": served}
        )

    return [look_ahead, values_in_range, served_by_duckdb]


def _view_names(view: FeatureView) -> Sequence[str]:
    return (f"features.{view.name}", f"features.{view.name}_v{view.major}")


def _count(relation: object) -> int:
    return relation.shape[0]  # pyright: ignore[reportAttributeAccessIssue] - DuckDB's relation


def _frame(snapshots: SnapshotStore, dataset: str) -> pl.DataFrame:
    return _rows(snapshots, snapshots.head(dataset))


def _rows(snapshots: SnapshotStore, published: Snapshot) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(snapshots.read(published)))


def _from_bars(columns: Iterable[str], inputs: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    return {column: [(BARS, name) for name in inputs] for column in columns}


def _null_shares(values: pl.DataFrame, columns: Sequence[str]) -> dict[str, float]:
    return {name: round(values[name].null_count() / max(values.height, 1), 6) for name in columns}
