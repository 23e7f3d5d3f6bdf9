"""Whether stored bars can be relied on: pure findings over the stored table, made again and apart from validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from mlops_assets.market_data.sources import PRICE_COLUMNS
from mlops_assets.market_data.validation import KEY, find_gaps

_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The answer of one check, in words, with its numbers."""

    is_passed: bool
    words: str
    numbers: Mapping[str, int | str] = field(default_factory=dict[str, int | str])


def no_duplicate_keys(bars: pl.DataFrame) -> Finding:
    """Judge whether every (symbol, date) occurs once."""
    twice = bars.group_by(KEY).len().filter(pl.col("len") > 1).sort(KEY)
    words = f"{bars.height:,} bars, one per symbol and day" if twice.is_empty() else f"more than once: {listed(twice)}"
    return Finding(is_passed=twice.is_empty(), words=words, numbers={"duplicate_keys": twice.height})


def prices_are_valid(bars: pl.DataFrame) -> Finding:
    """Judge whether every price is finite and positive, an adjusted close is there, and high is not below low."""
    price = pl.col(PRICE_COLUMNS)
    bad = bars.filter(
        pl.col("adjusted_close").is_null()
        | pl.any_horizontal(~price.is_finite() | (price <= 0)).fill_null(False)
        | (pl.col("high") < pl.col("low")).fill_null(False)
    )
    words = "every price is finite and positive" if bad.is_empty() else f"invalid prices: {listed(bad)}"
    return Finding(is_passed=bad.is_empty(), words=words, numbers={"invalid_rows": bad.height})


def latest_trading_day_present(bars: pl.DataFrame, *, expected: date, history_ends: date | None) -> Finding:
    """Judge whether every symbol has the last session its source should have by now."""
    last = bars.group_by("symbol").agg(date=pl.col("date").max()).sort("symbol")
    late = last.filter(pl.col("date") < expected)
    why = "the last published session" if history_ends is None else f"the source's history is closed on {history_ends}"
    words = (
        f"every symbol reaches {expected} ({why})"
        if late.is_empty()
        else f"{expected} is expected ({why}), but these end earlier: {listed(late)}"
    )
    return Finding(is_passed=late.is_empty(), words=words, numbers={"expected": str(expected), "late": late.height})


def complete_against_calendar(bars: pl.DataFrame, schedule: pl.DataFrame) -> Finding:
    """Judge whether a symbol has a bar for each session between its first and its last."""
    gaps = find_gaps(bars, schedule)
    words = "no session is missing" if gaps.is_empty() else f"missing: {listed(gaps)}"
    return Finding(
        is_passed=gaps.is_empty(), words=words, numbers={"gaps": gaps.height, "symbols": gaps["symbol"].n_unique()}
    )


def listed(rows: pl.DataFrame) -> str:
    """Name the first rows by symbol and date, and how many more there are."""
    shown = [f"{symbol} {day}" for symbol, day in rows.select(KEY).head(_SHOWN).iter_rows()]
    return ", ".join(shown) + (f" and {rows.height - _SHOWN:,} more" if rows.height > _SHOWN else "")
