"""Does a view peek: compute it from what was known at a cut and compare with what it says of that time now.

The certificate is evidence over the cuts it tried, not a proof: a leak that shows at none of them passes. Where cuts
stand, and why, is in `cuts.py`. Every row known at a cut is compared, with the time it was known and all its values,
bit for bit: polars' shifts, rolling windows and exponential means give the same bits on a prefix of their input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import polars as pl

from mlops_assets.features.bar_rows import ROW
from mlops_assets.features.cuts import Cut, choose_cuts, sessions_of, truncated
from mlops_assets.features.knowledge import compute_known
from mlops_assets.features.spec import FeatureView

ROWS = "(rows)"
"""Stands for a column's name where rows are missing or too many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peek:
    """A column whose past moved when the future was cut off, with the first row that shows it."""

    view: str
    column: str
    cut: date
    why: str
    symbol: str
    date: date
    with_future: object
    without_future: object

    def __str__(self) -> str:
        return (
            f"{self.view}.{self.column} of {self.symbol} on {self.date} is {self.with_future}, but "
            f"{self.without_future} from what was known after {self.cut} (cut: {self.why})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Which cuts were tried, how many rows were compared over all of them, and what moved."""

    cuts: tuple[Cut, ...]
    rows_compared: int
    peeks: tuple[Peek, ...]

    @property
    def is_clean(self) -> bool:
        return not self.peeks and self.rows_compared > 0

    @property
    def cuts_by_reason(self) -> dict[str, int]:
        reasons = [cut.why for cut in self.cuts]
        return {why: reasons.count(why) for why in sorted(set(reasons))}


def certify(
    view: FeatureView,
    bars: pl.DataFrame,
    views: Mapping[str, FeatureView] | None = None,
    *,
    published: pl.DataFrame | None = None,
    random_cuts: int = 4,
    seed: int = 0,
) -> Certificate:
    """Compute `view`, and the views it reads, from what was known at each cut, and compare with what it says now.

    Args:
        bars: rows of bars; with `superseded_at`, and what was superseded, where bars were restated.
        views: those it may read, by name.
        published: the rows to judge; without them, what is computed from `bars`.
    """
    read, told = views or {}, with_superseded(bars)
    computed = dict[str, pl.DataFrame]()
    now = known_with_upstream(view, read, told, computed)
    judged = now if published is None else published.sort(*ROW, "known_at")
    cuts = choose_cuts(
        told, now, view.column_names, inputs=_inputs(view, told, computed), random_cuts=random_cuts, seed=seed
    )
    sessions = sessions_of(told)
    rows, peeks = 0, list[Peek]()
    if published is not None and sessions.dates:
        end = Cut(at=sessions.known[-1], date=sessions.dates[-1], why="published rows")
        rows, peeks = now.height, _differences(view, end, judged, now)
    for cut in cuts:
        expected = judged.filter(pl.col("known_at") <= cut.at)
        past = known_with_upstream(view, read, truncated(told, cut.at), {})
        if cut.why == "restatement":  # it may fall between the bars of a day
            expected, past = (one.filter(pl.col("date") <= cut.date) for one in (expected, past))
        rows += expected.height
        peeks += _differences(view, cut, expected, past)
    return Certificate(cuts=tuple(cuts), rows_compared=rows, peeks=tuple(peeks))


def known_with_upstream(
    view: FeatureView, views: Mapping[str, FeatureView], bars: pl.DataFrame, computed: dict[str, pl.DataFrame]
) -> pl.DataFrame:
    """Compute a view and, before it, every view it reads, at every instant that changed what was known of `bars`.

    Args:
        computed: what was computed from these bars already, by name; added to.
    """
    if view.name not in computed:
        upstream = {name: known_with_upstream(views[name], views, bars, computed) for name in view.upstream_views}
        computed[view.name] = compute_known(view, bars, upstream)
    return computed[view.name]


def with_superseded(bars: pl.DataFrame) -> pl.DataFrame:
    """Return bars with the column `superseded_at`; without it nothing was ever restated."""
    if "superseded_at" in bars.columns:
        return bars
    return bars.with_columns(superseded_at=pl.lit(None, pl.Datetime("us", "UTC")))


def _inputs(view: FeatureView, bars: pl.DataFrame, computed: Mapping[str, pl.DataFrame]) -> list[pl.DataFrame]:
    """Return the tables that the view reads, with the columns it reads: where they have gaps, leaks show."""
    stocks = bars.filter(~pl.col("is_index"))
    numbers = [name for name, kind in bars.schema.items() if kind.is_numeric()]
    upstream = [
        computed[name].select(*ROW, *(one.column for one in view.upstream if one.view == name))
        for name in view.upstream_views
    ]
    return [stocks.select(*ROW, *numbers), *upstream]


def _differences(view: FeatureView, cut: Cut, expected: pl.DataFrame, past: pl.DataFrame) -> list[Peek]:
    if not expected.select(ROW).equals(past.select(ROW)):
        return [_row_difference(view, cut, expected, past)]
    found = list[Peek]()
    for name in ("known_at", *view.column_names):
        before, after = expected[name], past[name]
        moved = before.ne_missing(after)
        if moved.any():
            index = moved.arg_true()[0]
            found.append(_peek(view, cut, name, expected.row(index, named=True), before[index], after[index]))
    return found


def _row_difference(view: FeatureView, cut: Cut, expected: pl.DataFrame, past: pl.DataFrame) -> Peek:
    here, there = (one.group_by(ROW).len().sort(*ROW) for one in (expected, past))
    counts = here.join(there, on=ROW, how="full", coalesce=True, suffix="_then").sort(*ROW).fill_null(0)
    row = counts.filter(pl.col("len") != pl.col("len_then")).row(0, named=True)
    return _peek(view, cut, ROWS, row, f"there {row['len']} times", f"there {row['len_then']} times")


def _peek(
    view: FeatureView, cut: Cut, column: str, row: Mapping[str, object], with_future: object, without_future: object
) -> Peek:
    symbol, day = row["symbol"], row["date"]
    assert isinstance(day, date)
    return Peek(
        view=view.name,
        column=column,
        cut=cut.date,
        why=cut.why,
        symbol=str(symbol),
        date=day,
        with_future=with_future,
        without_future=without_future,
    )
