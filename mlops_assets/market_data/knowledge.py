"""Every version of every bar with the time it was known, read from the store."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import polars as pl

from mlops_assets.kernel.errors import IntegrityViolation, MissingColumns
from mlops_assets.market_data.bars import BAR_COLUMNS, BARS
from mlops_assets.market_data.restatements import RESTATEMENT_COLUMNS, RESTATEMENTS, Held
from mlops_assets.storage.parquet.snapshots import Snapshot

if TYPE_CHECKING:
    from mlops_assets.kernel.fingerprint import Json

_KEYS = ("symbol", "date", "known_at")
_LAG, _RESTATEMENTS = "publication_lag_seconds", "restatements_version"


class Store(Protocol):
    """Reads versions of datasets; the snapshot store does."""

    def head(self, dataset: str) -> Snapshot: ...

    def find_head(self, dataset: str) -> Snapshot | None: ...

    def get(self, dataset: str, version: int) -> Snapshot: ...

    def frame(self, published: Snapshot, columns: Sequence[str] | None = None) -> pl.DataFrame: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BarsKnowledge:
    """Rows of bars and of restatements: bar columns and `superseded_at`, null while nothing else is known."""

    bars: Snapshot
    restatements: Snapshot | None
    rows: pl.DataFrame

    @property
    def inputs(self) -> Mapping[str, str]:
        """The inputs of a snapshot made from this."""
        used = (self.bars,) if self.restatements is None else (self.bars, self.restatements)
        return {one.dataset: one.fingerprint for one in used}


def bar_details(publication_lag: timedelta, restatements: Snapshot) -> Mapping[str, Json]:
    """Return what a version of the bars says of itself: its lag, and the restatements it belongs to.

    Bars name their restatements because a run killed between publishing the two leaves restatements that no bars
    belong to.
    """
    return {_LAG: publication_lag.total_seconds(), _RESTATEMENTS: restatements.version}


def read_knowledge(store: Store, bars: Snapshot | None = None, columns: Collection[str] | None = None) -> BarsKnowledge:
    """Read everything that is known of the bars; of their head, and all columns, unless told otherwise.

    Raises:
        NotFound: if there are no bars yet.
        MissingColumns: if they are no bars.
        IntegrityViolation: if a file is damaged.
    """
    chosen = bars or store.head(BARS)
    if missing := {*_KEYS} - chosen.schema.keys():
        raise MissingColumns(
            asked_by=chosen.id, missing=missing, available=chosen.schema, remedy=f"Materialise {BARS} again."
        )
    restatements = restatements_of(store, chosen)
    latest = _frame(store, chosen, columns).with_columns(superseded_at=pl.lit(None, pl.Datetime("us", "UTC")))
    earlier = latest.head(0) if restatements is None else _frame(store, restatements, columns)
    rows = pl.concat([latest, earlier.select(latest.columns)]).sort("symbol", "date", "known_at")
    return BarsKnowledge(bars=chosen, restatements=restatements, rows=rows)


def restatements_of(store: Store, bars: Snapshot) -> Snapshot | None:
    """Return the restatements that a version of the bars belongs to; None if it was published without."""
    version = bars.details.get(_RESTATEMENTS)
    return store.get(RESTATEMENTS, version) if isinstance(version, int) else None


def read_held(store: Store, source: str) -> Held | None:
    """Return what is known of a source's bars, or None if its bars were never published or another source's were last.

    If the head is damaged, the newest version of the source that can be read stands in: what changed since is then
    known later than it was, never earlier.
    """
    for version in _line(store, store.find_head(BARS)):
        if source not in version.inputs:
            return None
        try:
            restatements = restatements_of(store, version)
            bars = _frame(store, version)
            superseded = _empty() if restatements is None else _frame(store, restatements)
        except IntegrityViolation:
            continue
        seconds = version.details.get(_LAG)
        lag = timedelta(seconds=seconds) if isinstance(seconds, int | float) else None
        return Held(bars=bars, superseded=superseded, publication_lag=lag)
    return None


def _line(store: Store, version: Snapshot | None) -> Iterator[Snapshot]:
    while version is not None:
        yield version
        version = None if version.parent is None else store.get(version.dataset, version.parent)


def _empty() -> pl.DataFrame:
    from mlops_assets.market_data.bars import arrow_schema

    return pl.DataFrame(arrow_schema(RESTATEMENT_COLUMNS).empty_table())


def _frame(store: Store, published: Snapshot, columns: Collection[str] | None = None) -> pl.DataFrame:
    wanted = {column.name for column in (*BAR_COLUMNS, *RESTATEMENT_COLUMNS)}
    wanted &= wanted if columns is None else {*columns}
    return store.frame(published, [name for name in published.schema if name in wanted])
