"""The graph of the feature store: `features/<view>` from bars, `datasets/<name>` from views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import dagster as dg
import polars as pl

from mlops_assets.features import plots
from mlops_assets.features.freezing import publish_training_set
from mlops_assets.features.knowledge import latest_known
from mlops_assets.features.lineage import training_set_sources, view_sources
from mlops_assets.features.publication import publish_view
from mlops_assets.features.registry import FeatureRegistry
from mlops_assets.features.spec import KEY_COLUMNS, FeatureReference, FeatureView, TrainingSet
from mlops_assets.features.training_set import check_features
from mlops_assets.features.training_set_checks import training_set_checks
from mlops_assets.features.versions.releases import ReleaseFolder
from mlops_assets.features.versions.serving import fix_release, refuse_archived, view_to_compute
from mlops_assets.features.view_checks import view_checks
from mlops_assets.features.warehouse import Warehouse
from mlops_assets.kernel.columns import Column
from mlops_assets.kernel.identity import Principal
from mlops_assets.market_data.bars import BARS
from mlops_assets.orchestration.declared import asset_metadata, code_version, key
from mlops_assets.orchestration.results import plot_metadata, snapshot_result
from mlops_assets.orchestration.timing import content_freshness, refresh_when_inputs_change
from mlops_assets.storage.parquet.snapshots import Snapshot, SnapshotStore

_VIEW_RULES = (
    "mlops_assets.features.bar_rows",
    "mlops_assets.features.view",
    "mlops_assets.features.indicators",
    "mlops_assets.features.cross_section",
    "mlops_assets.features.knowledge",
    "mlops_assets.features.changes",
    "mlops_assets.features.publication",
)
_TRAINING_SET_RULES = (
    "mlops_assets.features.freezing",
    "mlops_assets.features.point_in_time",
    "mlops_assets.features.training_set",
)

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
        metadata=asset_metadata(file=view.declared_in, columns=columns, lineage=view_sources(view)),
        automation_condition=refresh_when_inputs_change(),
        freshness_policy=content_freshness(),
    )
    def feature_view(
        snapshots: dg.ResourceParam[SnapshotStore],
        warehouse: dg.ResourceParam[Warehouse],
        feature_registry: dg.ResourceParam[FeatureRegistry],
        feature_releases: dg.ResourceParam[ReleaseFolder],
        actor: dg.ResourceParam[Principal],
    ) -> dg.MaterializeResult:
        fix_release(view, registry=feature_registry, releases=feature_releases, actor=actor.name)
        computed = view_to_compute(view, views, registry=feature_registry, releases=feature_releases)
        made_by = code_version(computed.fingerprint, *_VIEW_RULES)
        done = publish_view(computed, views, snapshots, code_version=made_by, actor=actor.name)
        warehouse.rebuild()
        values = latest_known(done.rows)
        return snapshot_result(
            done.snapshot,
            version=computed.version,
            distributions=plot_metadata(plots.distributions(values, computed.columns)),
            null_share=_null_shares(values, computed.column_names),
            statistics=_statistics_table(done.snapshot),
            unavailable=dg.MetadataValue.json({name: list(lacks) for name, lacks in done.lacking.items()}),
            restated_rows=done.restated_rows,
            groups_computed="all" if done.groups_computed is None else done.groups_computed,
        )

    return dg.Definitions(assets=[feature_view], asset_checks=view_checks(view, views))


def training_set_definitions(spec: TrainingSet, views: Mapping[str, FeatureView]) -> dg.Definitions:
    """Return the asset of a frozen training set and its checks; `views` are all that are declared, by name."""
    check_features(spec, views)
    used = {name: views[name] for name in spec.views}
    declared = {str(one): column for one, column in _declared(spec, used)}
    columns = (*KEY_COLUMNS, *(declared[str(feature)] for feature in spec.features), *LABEL_COLUMNS)
    version = code_version(spec.fingerprint, *_TRAINING_SET_RULES)

    @dg.asset(
        key=key(spec.dataset),
        deps=[key(BARS), *(key(view.dataset) for view in used.values())],
        description=spec.description,
        owners=[spec.owner],
        group_name="datasets",
        kinds={"polars", "parquet"},
        tags=dict.fromkeys(spec.tags, ""),
        code_version=version,
        metadata=asset_metadata(file=spec.declared_in, columns=columns, lineage=training_set_sources(spec)),
        automation_condition=refresh_when_inputs_change(),
        freshness_policy=content_freshness(),
    )
    def training_set(
        snapshots: dg.ResourceParam[SnapshotStore],
        feature_registry: dg.ResourceParam[FeatureRegistry],
        actor: dg.ResourceParam[Principal],
    ) -> dg.MaterializeResult:
        refuse_archived(spec, feature_registry)
        frozen = publish_training_set(spec, used, snapshots, code_version=version, actor=actor.name)
        rows = frozen.rows
        return snapshot_result(
            frozen.snapshot,
            rows_by_fold=dict(rows.group_by("fold").len().sort("fold").iter_rows()),
            folds=plot_metadata(plots.folds(rows)),
            distributions=plot_metadata(plots.distributions(rows, columns[len(KEY_COLUMNS) : -len(LABEL_COLUMNS)])),
            statistics=_statistics_table(frozen.snapshot),
            frozen=dg.MetadataValue.json({name: frozen.snapshot.details[name] for name in ("query", "snapshots")}),
        )

    return dg.Definitions(assets=[training_set], asset_checks=training_set_checks(spec, views))


def _declared(spec: TrainingSet, used: Mapping[str, FeatureView]) -> Iterator[tuple[FeatureReference, Column]]:
    for feature in spec.features:
        yield from ((feature, column) for column in used[feature.view].columns if column.name == feature.column)


def _statistics_table(published: Snapshot) -> dg.TableMetadataValue:
    """Show what a snapshot says of its columns in figures, one row for each column."""
    found = cast("Mapping[str, Mapping[str, object]]", published.details.get("statistics", {}))
    shown = ("nulls", "mean", "std", "min", "p50", "max", "top")  # more would not fit the page
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord({"column": name, **{one: _cell(figures.get(one)) for one in shown}})
            for name, figures in found.items()
        ],
        schema=dg.TableSchema(columns=[dg.TableColumn(name, "string") for name in ("column", *shown)]),
    )


def _cell(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{word} {count:,}" for word, count in value.items())
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _null_shares(values: pl.DataFrame, columns: Sequence[str]) -> dict[str, float]:
    return {name: round(values[name].null_count() / max(values.height, 1), 6) for name in columns}
