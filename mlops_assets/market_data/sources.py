"""Where bars come from: one protocol, and the shape of rows before anything has judged them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import ClassVar, Protocol

import polars as pl

from mlops_assets.kernel.errors import PlatformError

Progress = Callable[[str], None]
"""Called with one plain sentence whenever there is something to show."""

PRICE_COLUMNS = ("open", "high", "low", "close", "adjusted_close")
VALUE_COLUMNS = (*PRICE_COLUMNS, "volume", "dividend_amount", "split_coefficient")

RAW_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "date": pl.Date(),
        **{name: pl.Float64() for name in PRICE_COLUMNS},
        "volume": pl.Int64(),
        "dividend_amount": pl.Float64(),
        "split_coefficient": pl.Float64(),
        "problem": pl.String(),
        "problem_detail": pl.String(),
        "origin": pl.String(),
        "origin_row": pl.Int64(),
    }
)
"""Rows as read. `problem` is a quarantine reason the source itself found, null for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBars:
    """All rows of one reading, in the source's order, and the fingerprint of exactly the content read."""

    rows: pl.DataFrame
    fingerprint: str

    def __post_init__(self) -> None:
        if self.rows.schema != RAW_SCHEMA:
            raise ValueError(f"raw bars have the schema {RAW_SCHEMA}, got {self.rows.schema}")


class BarSource(Protocol):
    """A vendor, a folder or a package that has daily bars."""

    @property
    def name(self) -> str:
        """A short name for lineage: provenance records `source/<name>`."""
        ...

    @property
    def description(self) -> str:
        """Say what this is, from whom, and under which licence if that matters."""
        ...

    @property
    def columns(self) -> frozenset[str]:
        """Name the bar columns that every row of this source fills; the others are null."""
        ...

    @property
    def publication_lag(self) -> timedelta:
        """How long after the exchange's close a bar can be known."""
        ...

    @property
    def index_symbols(self) -> frozenset[str]:
        """Name the symbols that are an index and not tradable."""
        ...

    def fingerprint(self) -> str | None:
        """Return the identity of the content, or None when only a fetch can tell."""
        ...

    def history_ends(self) -> date | None:
        """Return the last day of a closed history, or None for a source that goes on."""
        ...

    def fetch(self, progress: Progress) -> RawBars:
        """Read everything.

        Raises:
            MalformedSource: a file or answer is not a table of bars at all.
            SourceUnavailable: the vendor did not answer, or refused.
            MissingColumns: a required column is absent.
        """
        ...


class MalformedSource(PlatformError):
    """A file or an answer can't be read as bars."""

    code: ClassVar[str] = "malformed_source"

    def __init__(
        self, *, file: str, problem: str, remedy: str, row: int | None = None, field: str | None = None
    ) -> None:
        self.file, self.row, self.field, self.problem, self.remedy = file, row, field, problem, remedy
        place = [file]
        if row is not None:
            place.append(f"row {row}")
        if field is not None:
            place.append(f"field {field!r}")
        super().__init__(f"{', '.join(place)}: {problem}. {remedy}")


class SourceUnavailable(PlatformError):
    """A source can't be reached, or refuses to answer."""

    code: ClassVar[str] = "source_unavailable"

    def __init__(self, *, source: str, problem: str, remedy: str) -> None:
        self.source, self.problem, self.remedy = source, problem, remedy
        super().__init__(f"source {source}: {problem}. {remedy}")
