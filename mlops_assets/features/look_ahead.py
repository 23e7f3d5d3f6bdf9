"""Does a view peek: recompute it on truncated history and compare with what it said before.

The certificate is evidence over the cuts it tried, not a proof. Cuts stand where leaks show: right after warm-up, on
consecutive rows, at the longest gap between sessions, near the end, and at random.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import polars as pl

from mlops_assets.features.spec import FeatureView
from mlops_assets.features.view import with_upstream

_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Peek:
    """A column whose past moved when the future was cut off, with the first row that shows it."""

    column: str
    cut: date
    symbol: str
    date: date
    with_future: float | None
    without_future: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Which cuts were tried and what moved."""

    cuts: tuple[date, ...]
    rows_compared: int
    peeks: tuple[Peek, ...]

    @property
    def is_clean(self) -> bool:
        return not self.peeks and self.rows_compared > 0


def certify(
    view: FeatureView,
    bars: pl.DataFrame,
    views: Mapping[str, FeatureView] | None = None,
    *,
    random_cuts: int = 4,
    seed: int = 0,
) -> Certificate:
    """Recompute `view`, and the views it reads, on bars up to each cut and compare with the values from all bars."""
    read = views or {}
    dates = bars["date"].unique().sort().to_list()
    cuts = choose_cuts(dates, warm_up_bars=view.warm_up_bars, random_cuts=random_cuts, seed=seed)
    complete = with_upstream(view, read, bars)
    rows, peeks = 0, list[Peek]()
    for cut in cuts:
        past = with_upstream(view, read, bars.filter(pl.col("date") <= cut))
        expected = complete.filter(pl.col("date") <= cut)
        rows += expected.height
        peeks += [
            peek for name in view.column_names if (peek := _first_difference(name, cut, expected, past)) is not None
        ]
    return Certificate(cuts=tuple(cuts), rows_compared=rows, peeks=tuple(peeks))


def choose_cuts(dates: Sequence[date], *, warm_up_bars: int, random_cuts: int, seed: int) -> list[date]:
    """Return the sessions after which history is cut, in order, each once."""
    last = len(dates) - 2
    if last < 0:
        return []
    gaps = [(later - earlier).days for earlier, later in pairwise(dates)]
    longest_gap = gaps.index(max(gaps))
    chosen = {warm_up_bars, warm_up_bars + 1, warm_up_bars + 2, longest_gap, longest_gap + 1, last, last - 1}
    chosen |= {random.Random(seed + number).randrange(last + 1) for number in range(random_cuts)}
    return [dates[index] for index in sorted(chosen) if 0 <= index <= last]


def _first_difference(column: str, cut: date, expected: pl.DataFrame, past: pl.DataFrame) -> Peek | None:
    before, after = expected[column], past[column]
    scale = before.abs().clip(lower_bound=1.0)
    moved = ((before - after).abs() > _TOLERANCE * scale).fill_null(value=False) | (before.is_null() != after.is_null())
    index = moved.arg_max()
    if index is None or not moved[index]:
        return None
    return Peek(
        column=column,
        cut=cut,
        symbol=expected["symbol"][index],
        date=expected["date"][index],
        with_future=before[index],
        without_future=after[index],
    )
