"""What is checked of a published feature view: it does not peek, stays in range and is served as published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg
import polars as pl
from dagster_duckdb import DuckDBResource

from mlops_assets.features.look_ahead import certify
from mlops_assets.features.quality import out_of_range
from mlops_assets.features.spec import FeatureView
from mlops_assets.orchestration.declared import key
from mlops_assets.orchestration.timing import check_when_refreshed
from mlops_assets.storage.parquet.snapshots import SnapshotStore

BARS = "market/bars"


def view_checks(view: FeatureView, views: Mapping[str, FeatureView]) -> list[dg.AssetChecksDefinition]:
    """Return the checks of a view; `views` are those it may read, by name."""
    asset = key(view.dataset)

    @dg.asset_check(
        asset=asset,
        automation_condition=check_when_refreshed(),
        blocking=True,
        description="Values before a cut stay the same without what follows.",
    )
    def look_ahead(snapshots: dg.ResourceParam[SnapshotStore]) -> dg.AssetCheckResult:
        certificate = certify(view, _frame(snapshots, BARS), views)
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
    return pl.DataFrame(pl.from_arrow(snapshots.read(snapshots.head(dataset))))
