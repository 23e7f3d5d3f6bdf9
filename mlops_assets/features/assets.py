"""The graph of the feature store: `features/<view>` from bars, `datasets/<name>` from views."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import dagster as dg
import polars as pl

from mlops_assets.features import plots
from mlops_assets.features.quality import fold_overlaps
from mlops_assets.features.spec import KEY_COLUMNS, Feature, FeatureView, TrainingSet
from mlops_assets.features.training_set import build_training_set
from mlops_assets.features.view import compute_view
from mlops_assets.features.view_checks import view_checks
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

_MADE_OF = {
    "adjusted_open": ("adjusted_close", "close", "open"),
    "adjusted_high": ("adjusted_close", "close", "high"),
    "adjusted_low": ("adjusted_close", "close", "low"),
    "split_factor": ("split_coefficient",),
    "index_adjusted_close": ("adjusted_close",),
}

LABEL_COLUMNS = (
    Column(name="forward_return", type="float", unit="fraction", description="Return to be known.", is_nullable=True),
    Column(name="label", type="integer", description="1 if it exceeds the threshold.", is_nullable=True),
    Column(name="label_known_at", type="timestamp", unit="UTC", description="When it is known.", is_nullable=True),
    Column(name="fold", type="string", description="train, valid, test, purged or live."),
)


def feature_view_definitions(view: FeatureView, views: Mapping[str, FeatureView]) -> dg.Definitions:
    """Return the asset of a view and its checks; `views` are those it may read, by name."""
    columns = (*KEY_COLUMNS, *view.columns)
    version = code_version(view.fingerprint, *_VIEW_RULES)

    @dg.asset(
        key=key(view.dataset),
        deps=[key(BARS), *(key(views[name].dataset) for name in view.upstream_views)],
        description=view.description,
        owners=[view.owner],
        group_name="features",
        kinds={"polars", "parquet", "duckdb"},
        tags={"version": view.version, **dict.fromkeys(view.tags, "")},
        code_version=version,
        metadata=asset_metadata(file=view.declared_in, columns=columns, lineage=_lineage(view)),
        automation_condition=refresh_when_inputs_change(),
        freshness_policy=content_freshness(),
    )
    def feature_view(
        snapshots: dg.ResourceParam[SnapshotStore],
        warehouse: dg.ResourceParam[Warehouse],
        actor: dg.ResourceParam[Principal],
    ) -> dg.MaterializeResult:
        bars = snapshots.head(BARS)
        upstream = {name: snapshots.head(views[name].dataset) for name in view.upstream_views}
        values = compute_view(
            view, _rows(snapshots, bars), {name: _rows(snapshots, head) for name, head in upstream.items()}
        )
        published = snapshots.publish(
            view.dataset,
            values.to_arrow(),
            provenance=Provenance(
                code_version=version,
                inputs={BARS: bars.fingerprint, **{head.dataset: head.fingerprint for head in upstream.values()}},
            ),
            actor=actor.name,
        )
        warehouse.rebuild()
        return snapshot_result(
            published,
            version=view.version,
            distributions=plot_metadata(plots.distributions(values, view.columns)),
            null_share=_null_shares(values, view.column_names),
        )

    return dg.Definitions(assets=[feature_view], asset_checks=view_checks(view, views))


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


def _frame(snapshots: SnapshotStore, dataset: str) -> pl.DataFrame:
    return _rows(snapshots, snapshots.head(dataset))


def _rows(snapshots: SnapshotStore, published: Snapshot) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(snapshots.read(published)))


def _from_bars(columns: Iterable[str], inputs: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    return {column: [(BARS, name) for name in inputs] for column in columns}


def _lineage(view: FeatureView) -> dict[str, list[tuple[str, str]]]:
    """Return where each column comes from, as its expression says; a derived input comes from what it is made of."""
    return {column.name: sorted(set(_sources(column))) for column in view.columns}


def _sources(column: Feature) -> Iterator[tuple[str, str]]:
    for name in column.bar_inputs:
        yield from ((BARS, source) for source in _MADE_OF.get(name, (name,)))
    yield from ((f"features/{one.view}", one.column) for one in column.upstream)


def _null_shares(values: pl.DataFrame, columns: Sequence[str]) -> dict[str, float]:
    return {name: round(values[name].null_count() / max(values.height, 1), 6) for name in columns}
