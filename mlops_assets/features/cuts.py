"""Where history is cut to see whether a value peeks: the places where leaks show, and some at random.

A cut is an instant: what was known by then stays, the rest is removed. Random cuts alone miss a leak that shows on few
rows. So cuts also stand where windows fill, where bars or values are missing, at the borders of weeks, months and
years, around restatements, where a stock is listed or ends, and on consecutive sessions.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import TypeVar

import polars as pl

_USUAL_GAP_DAYS = 4
"""A weekend and a holiday beside it."""
_T = TypeVar("_T")
_PLACES_OF_A_KIND = 3
_JUST_BEFORE = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Cut:
    """History up to an instant, and why it is cut there; `date` is the last session known by then."""

    at: datetime
    date: date
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """The days on which stocks have bars, each with the instant at which the bars of the day were told."""

    dates: list[date]
    known: list[datetime]

    def complete_at(self, at: datetime) -> date | None:
        """Return the last day whose bars, and those of the days before, were all told at an instant."""
        later = next((place for place, known in enumerate(self.known) if known > at), len(self.known))
        return self.dates[later - 1] if later else None

    @property
    def last_cut(self) -> int:
        """The last session that something follows."""
        return len(self.dates) - 2

    def position(self, day: date) -> int:
        return self.dates.index(day)


def choose_cuts(
    bars: pl.DataFrame,
    values: pl.DataFrame,
    columns: Sequence[str],
    *,
    inputs: Iterable[pl.DataFrame] = (),
    random_cuts: int = 4,
    seed: int = 0,
) -> list[Cut]:
    """Return the cuts to try, in order, each instant once.

    Args:
        bars: rows of bars, with `superseded_at` and what was superseded where bars were restated.
        values: what was computed from them, with `symbol`, `date` and `columns`.
        inputs: tables with `symbol` and `date` whose gaps inside a symbol are places to cut at.
    """
    stocks = bars.filter(~pl.col("is_index"))
    sessions = sessions_of(bars)
    if sessions.last_cut < 0:
        return []
    places: dict[int, str] = {}
    for why, found in _places(sessions, stocks, values, columns, inputs, random.Random(seed), random_cuts).items():
        for position in found:
            if 0 <= position <= sessions.last_cut:
                places.setdefault(position, why)
    cuts = {
        sessions.known[position]: Cut(at=sessions.known[position], date=sessions.dates[position], why=why)
        for position, why in places.items()
    }
    for cut in _restatement_cuts(sessions, bars):
        cuts.setdefault(cut.at, cut)
    return sorted(cuts.values())


def truncated(bars: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """Return what was known of the bars at an instant: rows told by then, superseded only by what was told by then."""
    known = bars.filter(pl.col("known_at") <= at)
    if "superseded_at" not in known.columns:
        return known
    return known.with_columns(superseded_at=pl.when(pl.col("superseded_at") <= at).then("superseded_at"))


def sessions_of(bars: pl.DataFrame) -> Sessions:
    """Return the days of the stocks' bars, each with the instant at which all bars of the day were told.

    A bar that was told only after one of a later day does not hold its day up.
    """
    told = bars.group_by("symbol", "date").agg(pl.col("known_at").min(), pl.col("is_index").first())
    days = told.group_by("date").agg(first=pl.col("known_at").min()).sort("date")
    later = days.select("date", later=pl.col("first").shift(-1).cum_min(reverse=True))
    in_time = (pl.col("known_at") <= pl.col("later")).fill_null(value=True)
    complete = (
        told.join(later, on="date")
        .group_by("date")
        .agg(at=pl.col("known_at").filter(in_time).max(), has_stocks=(~pl.col("is_index")).any())
        .filter("has_stocks", pl.col("at").is_not_null())
        .sort("date")
    )
    return Sessions(dates=complete["date"].to_list(), known=complete["at"].to_list())


def _places(
    sessions: Sessions,
    stocks: pl.DataFrame,
    values: pl.DataFrame,
    columns: Sequence[str],
    inputs: Iterable[pl.DataFrame],
    chance: random.Random,
    random_cuts: int,
) -> Mapping[str, Sequence[int]]:
    """Return positions of sessions by the reason to cut there, the most telling reason first."""
    last, warm = sessions.last_cut, _warm_up_ends(values, columns)
    filled = [sessions.position(day) for day in warm]
    start = max(filled, default=0)
    drawn = [chance.randrange(last + 1) for _ in range(random_cuts)]
    middle = chance.randrange(last + 1)
    return {
        "end": (last, last - 1),
        "warm-up": _runs(filled, before=1, after=2),
        "gap between sessions": _session_gaps(sessions),
        "listing or end of a stock": _borders_of_stocks(sessions, stocks, values, columns),
        "gap of a stock": _gaps_of_stocks(sessions, stocks),
        "missing values": [place for one in inputs for place in _missing_values(sessions, one)],
        "border of a period": _period_borders(sessions, start, chance),
        "consecutive": (middle, middle + 1, middle + 2),
        "random": drawn,
    }


def _runs(positions: Iterable[int], *, before: int, after: int) -> list[int]:
    return sorted({position + step for position in positions for step in range(-before, after + 1)})


def _warm_up_ends(values: pl.DataFrame, columns: Sequence[str]) -> list[date]:
    """Return the day on which each column has its first value, each day once."""
    first = (values.filter(pl.col(name).is_not_null())["date"].min() for name in columns)
    return sorted({day for day in first if isinstance(day, date)})


def _session_gaps(sessions: Sessions) -> list[int]:
    """Return the ends of the first unusual and of the longest stretch without a session."""
    days = [(later - earlier).days for earlier, later in pairwise(sessions.dates)]
    longest = days.index(max(days))
    unusual = next((position for position, gap in enumerate(days) if gap > _USUAL_GAP_DAYS), longest)
    return [unusual - 1, unusual, longest, longest + 1]


def _borders_of_stocks(
    sessions: Sessions, stocks: pl.DataFrame, values: pl.DataFrame, columns: Sequence[str]
) -> list[int]:
    """Return where late stocks are listed and have their first values, and where others end."""
    lives = stocks.group_by("symbol").agg(first=pl.col("date").min(), last=pl.col("date").max()).sort("first", "symbol")
    late = _spread(lives.filter(pl.col("first") > sessions.dates[0])["symbol"].to_list())
    found = list[int]()
    for symbol in late:
        own = values.filter(pl.col("symbol") == symbol)
        listed = sessions.position(lives.filter(pl.col("symbol") == symbol)["first"].item())
        warm = [sessions.position(day) for day in _warm_up_ends(own, columns)]
        found += [listed - 1, listed, *_runs([*warm[:1], *warm[-1:]], before=0, after=1)]
    ended = lives.filter(pl.col("last") < sessions.dates[-1])["last"].unique().sort().to_list()
    return found + _runs([sessions.position(day) for day in _spread(ended)], before=1, after=0)


def _gaps_of_stocks(sessions: Sessions, stocks: pl.DataFrame) -> list[int]:
    """Return the bar before, and the sessions without a bar in, gaps of single stocks: the first, longest and last."""
    numbered = pl.DataFrame({"date": sessions.dates}).with_row_index("position").cast({"position": pl.Int64})
    gaps = (
        stocks.select("symbol", "date")
        .join(numbered, on="date")
        .sort("symbol", "position")
        .with_columns(sessions_missed=pl.col("position").diff().over("symbol") - 1)
        .filter(pl.col("sessions_missed") > 0)
        .select(start=pl.col("position") - pl.col("sessions_missed") - 1, length="sessions_missed")
        .sort("start", "length")
    )
    return _around(gaps)


def _missing_values(sessions: Sessions, table: pl.DataFrame) -> list[int]:
    """Return the row before, and the rows in, runs of nulls between two values of one stock, for each column."""
    numbered = pl.DataFrame({"date": sessions.dates}).with_row_index("position").cast({"position": pl.Int64})
    rows = table.join(numbered, on="date").sort("symbol", "position")
    found = list[int]()
    for name in (name for name in table.columns if name not in {"symbol", "date"}):
        if table[name].null_count() in (0, table.height):
            continue
        known = rows.select("symbol", "position", order=pl.int_range(pl.len()).over("symbol"), value=name).drop_nulls()
        runs = known.with_columns(
            length=pl.col("order").diff().over("symbol") - 1, start=pl.col("position").shift(1).over("symbol")
        ).filter(pl.col("length") > 0)
        found += _around(runs.select("start", "length").sort("start", "length"))
    return found


def _around(gaps: pl.DataFrame) -> list[int]:
    """Return places at and inside the first, the longest and the last of `gaps`, sorted by `start`."""
    if gaps.is_empty():
        return []
    longest = gaps.sort("length", descending=True, maintain_order=True).row(0)
    chosen = {gaps.row(0), longest, gaps.row(-1)}
    return sorted({place for start, length in chosen for place in (start, start + 1, start + length)})


def _period_borders(sessions: Sessions, start: int, chance: random.Random) -> list[int]:
    """Return the last sessions of a week, months and a year after `start`, and of a month drawn; and those before."""
    following = list(pairwise(sessions.dates))
    months = [place for place, (day, later) in enumerate(following) if day.month != later.month]
    weeks = [place for place, (day, later) in enumerate(following) if later.weekday() < day.weekday()]
    years = [place for place, (day, later) in enumerate(following) if day.year != later.year]
    quiet = [place for place in months if sessions.dates[place].month % 3]
    chosen = [next((place for place in kind if place >= start), None) for kind in (weeks, quiet, months, years)]
    drawn = [chance.choice(months)] if months else []
    return _runs([place for place in (*chosen, *drawn) if place is not None], before=1, after=0)


def _spread(several: Sequence[_T]) -> list[_T]:
    """Return the first, the middle and the last of several."""
    if len(several) <= _PLACES_OF_A_KIND:
        return list(several)
    return [several[0], several[len(several) // 2], several[-1]]


def _restatement_cuts(sessions: Sessions, bars: pl.DataFrame) -> list[Cut]:
    """Return cuts just before and at instants at which bars were restated, and after days that were restated later."""
    if "superseded_at" not in bars.columns:
        return []
    restated = bars.filter(pl.col("superseded_at").is_not_null())
    cuts = list[Cut]()
    for instant in _spread(restated["superseded_at"].unique().sort().to_list()):
        for at in (instant - _JUST_BEFORE, instant):
            if (day := sessions.complete_at(at)) is not None:
                cuts.append(Cut(at=at, date=day, why="restatement"))
    known_since = dict(zip(sessions.dates, sessions.known, strict=True))
    for day in _spread(restated["date"].unique().sort().to_list()):
        if day in known_since:
            cuts.append(Cut(at=known_since[day], date=day, why="restated day"))
    return cuts
