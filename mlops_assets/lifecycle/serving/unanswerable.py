"""Why a symbol has no complete features at a time: unknown, too early, too old, or without a value."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import polars as pl

from mlops_assets.features.retrieval import UsedView
from mlops_assets.features.spec import FeatureReference
from mlops_assets.kernel.errors import PlatformError
from mlops_assets.lifecycle.serving.answer import AsOfBeforeFirst, FeaturesMissing, FeaturesStale, UnknownSymbol
from mlops_assets.market_data.bars import BARS
from mlops_assets.storage.parquet.snapshots import Snapshot, SnapshotStore

_DAY = timedelta(days=1)


def why_incomplete(
    symbol: str,
    as_of: datetime,
    *,
    missing: Sequence[FeatureReference],
    views: Sequence[tuple[UsedView, bool]],
    snapshots: SnapshotStore,
) -> PlatformError:
    """Return what to tell the caller; it reads what is published of the symbol, which no good question has to.

    Args:
        views: the views that were read, and whether each had a row of the symbol that was young enough.
    """
    told = {one.view: _told(symbol, snapshots.get(one.dataset, one.snapshot), snapshots) for one, _ in views}
    if all(rows.is_empty() for rows in told.values()):
        return _never(symbol, as_of, missing, snapshots)
    without_row = [one for one, has_row in views if not has_row]
    before = {one.view: told[one.view].filter(pl.col("known_at") <= as_of) for one in without_row}
    if without_row and all(rows.is_empty() for rows in before.values()):
        firsts = [first for one in without_row if (first := _first(told[one.view])) is not None]
        if len(firsts) == len(without_row):
            return AsOfBeforeFirst(symbol=symbol, as_of=as_of, first=max(firsts))
    ages = {
        one.view: (last, one.ttl / _DAY) for one in without_row if (last := _last_event(before[one.view])) is not None
    }
    if ages:
        return FeaturesStale(symbol=symbol, as_of=as_of, ages=ages)
    return FeaturesMissing(
        symbol=symbol,
        as_of=as_of,
        missing=[str(one) for one in missing],
        because="there is too little history before that time, or the source of the bars lacks an input. "
        "`mlops features show` says what a feature needs; ask as of a later time, or leave the symbol out.",
    )


def _never(
    symbol: str, as_of: datetime, missing: Sequence[FeatureReference], snapshots: SnapshotStore
) -> PlatformError:
    """Say of a symbol with no features at all whether it has bars."""
    head = snapshots.find_head(BARS)
    known = [] if head is None else _symbols(head, snapshots)
    if symbol not in known:
        return UnknownSymbol(symbol=symbol, known=known)
    return FeaturesMissing(
        symbol=symbol,
        as_of=as_of,
        missing=[str(one) for one in missing],
        because="it has bars and no row in these views, as an index has none. Ask for a stock.",
    )


def _told(symbol: str, published: Snapshot, snapshots: SnapshotStore) -> pl.DataFrame:
    """Return the times of a symbol's rows in a view, whenever they were known."""
    return (
        pl.scan_parquet([snapshots.verified_path(published, file) for file in published.files])
        .filter(pl.col("symbol") == symbol)
        .select("event_at", "known_at")
        .collect()
    )


def _symbols(published: Snapshot, snapshots: SnapshotStore) -> list[str]:
    paths = [snapshots.verified_path(published, file) for file in published.files]
    return pl.scan_parquet(paths).select(pl.col("symbol").unique()).collect().to_series().sort().to_list()


def _first(rows: pl.DataFrame) -> datetime | None:
    found = rows["known_at"].min()
    return found.astimezone(UTC) if isinstance(found, datetime) else None


def _last_event(rows: pl.DataFrame) -> datetime | None:
    found = rows["event_at"].max()
    return found.astimezone(UTC) if isinstance(found, datetime) else None
