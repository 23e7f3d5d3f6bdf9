"""Feature views and their published rows, made up for tests of retrieval."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from mlops_assets.features.spec import Feature, FeatureView
from mlops_assets.storage.parquet.snapshots import Provenance, Snapshot, SnapshotStore

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
TIME = pl.Datetime("us", "UTC")


def view_of(name: str, *columns: str, ttl: timedelta = timedelta(0), version: str = "1.0.0") -> FeatureView:
    return FeatureView(
        name=name,
        version=version,
        owner="team:quant",
        description="Made up for a test.",
        columns=tuple(Feature(name=column, description="A number.", expr=pl.col("close")) for column in columns),
        warm_up_bars=0,
        declared_in=Path(__file__),
        ttl=ttl,
    )


def rows_of(rows: Sequence[tuple[str | None, datetime, datetime | None, float | None]], column: str) -> pl.DataFrame:
    """Return feature rows (symbol, event, known, value)."""
    schema = {"symbol": pl.String, "event_at": TIME, "known_at": TIME, column: pl.Float64}
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def publish(
    snapshots: SnapshotStore, view: FeatureView, rows: pl.DataFrame, *, borders: Sequence[datetime] = ()
) -> Snapshot:
    """Publish rows as the store lays them out: cut at `borders` of event time, each part sorted by its keys."""
    by_rank = rows.sort("symbol", "event_at", "known_at", nulls_last=False)
    inner = [pl.lit(border, dtype=TIME) for border in borders]
    chunks = [
        by_rank.filter(
            (pl.col("event_at") >= low if low is not None else True)
            & (pl.col("event_at") < high if high is not None else True)
        )
        for low, high in zip([None, *inner], [*inner, None], strict=True)
    ]
    return snapshots.publish(
        view.dataset,
        [chunk.to_arrow() for chunk in chunks if chunk.height] or [by_rank.to_arrow()],
        provenance=Provenance(code_version="made up", inputs={}),
        actor="ana",
    )
