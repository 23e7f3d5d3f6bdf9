"""From a source to the table of bars: read, validate, build; and whether the stored bars are what the source holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol

import polars as pl

from mlops_assets.market_data.bars import BARS, build_bars
from mlops_assets.market_data.calendar import TradingCalendar
from mlops_assets.market_data.readings import Entries, last_reading
from mlops_assets.market_data.sources import BarSource, Progress
from mlops_assets.market_data.validation import Validation, validate
from mlops_assets.storage.parquet.snapshots import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingestion:
    """What one reading of a source gave: bars, what was set aside, and the fingerprint of the content read.

    `read_at` is when the reading began: what a vendor publishes while it lasts may be missing.
    """

    source: str
    read_at: datetime
    source_fingerprint: str
    bars: pl.DataFrame
    validation: Validation

    @property
    def inputs(self) -> Mapping[str, str]:
        """The inputs of the snapshots made from this."""
        return {source_key(self.source): self.source_fingerprint}


def ingest(source: BarSource, calendar: TradingCalendar, *, as_of: datetime, progress: Progress) -> Ingestion:
    """Read a source and judge its rows as of an instant.

    Raises:
        MalformedSource, SourceUnavailable, MissingColumns: from the source.
    """
    raw = source.fetch(progress)
    schedule = schedule_of(calendar, raw.rows["date"], as_of)
    validation = validate(raw.rows, schedule=schedule, required=source.columns, as_of=as_of)
    progress(
        f"accepted {validation.accepted.height:,} of {validation.row_count:,} rows, "
        f"set {validation.quarantined.height:,} aside"
    )
    bars = build_bars(
        validation.accepted,
        schedule=schedule,
        publication_lag=source.publication_lag,
        index_symbols=source.index_symbols,
    )
    return Ingestion(
        source=source.name, read_at=as_of, source_fingerprint=raw.fingerprint, bars=bars, validation=validation
    )


def schedule_of(calendar: TradingCalendar, days: pl.Series, as_of: datetime) -> pl.DataFrame:
    """Return the sessions from the first of `days` to the day of `as_of`."""
    first = days.min()
    return calendar.schedule(first if isinstance(first, date) else as_of.date(), as_of.date())


def expected_last_session(
    calendar: TradingCalendar, *, at: datetime, publication_lag: timedelta, history_ends: date | None
) -> date:
    """Return the last session whose bar a source should have at an instant; a closed history ends where it says."""
    published = calendar.latest_closed(at - publication_lag)
    return published if history_ends is None else min(published, history_ends)


def source_key(source: str) -> str:
    """Return the name of a source among the inputs of a snapshot."""
    return f"source/{source}"


class Heads(Protocol):
    """Knows the head of a dataset; the snapshot store does."""

    def find_head(self, dataset: str) -> Snapshot | None: ...


def bars_are_current(
    snapshots: Heads, ledger: Entries, source: BarSource, code_version: str, *, calendar: TradingCalendar, at: datetime
) -> bool:
    """Tell whether the stored bars were made from what `source` holds at an instant, by this code.

    A source that can't tell its content without a call is current if it was read after its last publication, whether
    or not the reading found something new.
    """
    head = snapshots.find_head(BARS)
    if head is None or head.code_version != code_version or source_key(source.name) not in head.inputs:
        return False
    if (found := source.fingerprint()) is not None:
        return head.inputs == {source_key(source.name): found}
    last_session = calendar.latest_closed(at - source.publication_lag)
    read_at = last_reading(ledger, head)
    return read_at is not None and read_at > calendar.close_of(last_session) + source.publication_lag
