"""What was known then: the latest value of a feature at each row's time, never one that was learned later.

A feature row matches a question (symbol, t) iff t - TTL <= event <= t, both included to the microsecond, and it was
known by t. The latest event wins, then the latest knowledge; a null in the winner stays null; every question gets an
answer row. These are Feast's rules with its cut-off on created timestamps; `with_hindsight` drops that cut-off, as
Feast's default does. `as_of` asks what one would have answered on that date: nothing later has happened or is known.

Reading files does not belong here: `retrieval` reads, and asks a `Frontier` for each group of files which rows win.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from mlops_assets.kernel.errors import MissingColumns

Integers = npt.NDArray[np.int64]
Claims = npt.NDArray[np.bool_]

NEVER = np.iinfo(np.int64).max
NO_ROW = -1
_COMPOSITE_LIMIT = 2**62
_NULL = np.iinfo(np.int64).min
_US = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def point_in_time_join(
    entities: pl.DataFrame,
    features: pl.DataFrame,
    *,
    columns: Sequence[str],
    ttl: timedelta,
    as_of: datetime | None = None,
    with_hindsight: bool = False,
) -> pl.DataFrame:
    """Add `columns` of `features` to `entities` as they were known at each row's `at`.

    Args:
        entities: columns `symbol` and `at` (aware, any zone) beside any others; order and duplicates are kept. A row
            whose symbol or time is null, or whose symbol is unknown, gets nulls.
        features: columns `symbol`, `event_at`, `known_at` (aware) and `columns`, in any order of rows. A row whose
            `known_at` is null was never known. Of rows equal in all three the last one wins.
        ttl: how old an event may be; zero means any age.
        as_of: the last instant that exists for this question (aware).
        with_hindsight: use what is known today, or on `as_of`, also for rows before it was known. There, a null
            `known_at` loses against any other.

    Raises:
        MissingColumns: if a column is missing.
        TypeError: if a time has no zone or is no timestamp.
    """
    _require(entities, ("symbol", "at"), "the join's left side")
    _require(features, ("symbol", "event_at", "known_at", *columns), "the join's right side")
    questions = Questions.of(entities["symbol"], entities["at"])
    frontier = Frontier.of(features, as_of=as_of, with_hindsight=with_hindsight)
    answers = np.full(entities.height, NO_ROW, dtype=np.int64)
    answers[questions.position] = frontier.answer(questions, ttl=ttl).rows
    return pl.concat([entities, take(features.select(columns), answers)], how="horizontal")


def take(rows: pl.DataFrame, numbers: Integers) -> pl.DataFrame:
    """Return the rows of these numbers in their order; `NO_ROW` becomes nulls."""
    if rows.width == 0:
        return rows
    if rows.height == 0:
        return rows.clear(len(numbers))
    index = pl.Series(numbers, dtype=pl.Int64)
    if bool((numbers == NO_ROW).any()):
        index = pl.select(pl.when(index != NO_ROW).then(index)).to_series()
    return rows.select(pl.all().gather(index))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Questions:
    """Pairs (symbol, t) in order of symbol and time; `position` says which row of the caller each one is."""

    symbols: Sequence[str]
    symbol: Integers
    at: Integers
    position: Integers

    @classmethod
    def of(cls, symbols: pl.Series, times: pl.Series) -> Questions:
        """Prepare a column of symbols and one of aware times; pairs with a null ask nothing."""
        at = microseconds(times, round_up=False)
        names, codes = _codes(symbols)
        is_asked = (codes != NO_ROW) & ~times.is_null().to_numpy()
        position = np.flatnonzero(is_asked)
        codes, at = codes[position], at[position]
        order = np.argsort(_Order.of(codes, at, len(names)).key)
        return cls(symbols=names, symbol=codes[order], at=at[order], position=position[order])

    @classmethod
    def at_once(cls, symbols: Sequence[str | None], at: datetime) -> Questions:
        """Prepare the same aware time for each symbol; it costs a tenth of `of` where there are few."""
        names = sorted({name for name in symbols if name is not None})
        code_of = {name: code for code, name in enumerate(names)}
        codes = np.array([NO_ROW if name is None else code_of[name] for name in symbols], dtype=np.int64)
        position = np.argsort(codes, kind="stable")[np.count_nonzero(codes == NO_ROW) :]
        return cls(
            symbols=names,
            symbol=codes[position],
            at=np.full(len(position), _instant(at), dtype=np.int64),
            position=position,
        )

    def only(self, wanted: Claims | Integers) -> Questions:
        """Return some of them, in the same order."""
        return Questions(
            symbols=self.symbols, symbol=self.symbol[wanted], at=self.at[wanted], position=self.position[wanted]
        )

    def __len__(self) -> int:
        return len(self.at)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """For each question the row that wins, or `NO_ROW`; `is_final` unless an older row could still win."""

    rows: Integers
    is_final: Claims


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frontier:
    """The rows that were the best known at some time, by symbol, in order of the time from which on they were.

    A row is usable from the later of its event and its knowledge. Rank rows by (event, known): at t the winner is the
    highest rank among those usable. So a row matters only if no higher one is usable as early, and what remains rises
    in both: one binary search answers a question. `order` holds symbol and time of use in one integer, `first` the
    place at which each symbol begins.
    """

    code_of: Mapping[str, int]
    first: Integers
    order: _Order
    event_at: Integers
    row: Integers
    as_of: int

    @classmethod
    def of(cls, keys: pl.DataFrame, *, as_of: datetime | None = None, with_hindsight: bool = False) -> Frontier:
        """Build it from rows with `symbol`, `event_at` and `known_at`; fastest if they are sorted by these."""
        last = NEVER if as_of is None else _instant(as_of)
        names, codes = _codes(keys["symbol"])
        event, known = (microseconds(keys[name], round_up=True) for name in ("event_at", "known_at"))
        row: Integers | None = None  # as they stand; arrays are spared here, because new memory is what this costs
        counts = _that_count(keys, known, as_of=as_of, last=last, with_hindsight=with_hindsight)
        if counts is not None:
            row = np.flatnonzero(counts)
            codes, event, known = codes[row], event[row], known[row]
        if not _is_ranked(codes, event, known):
            by_rank = np.lexsort((known, event, codes))  # stable: of equal rows the last one stays last
            codes, event, known = codes[by_rank], event[by_rank], known[by_rank]
            row = by_rank if row is None else row[by_rank]
        order = _Order.of(codes, event if with_hindsight else np.maximum(event, known), len(names))
        best = np.flatnonzero(_is_below_all_later(order.key))
        order = replace(order, key=order.key[best])
        return cls(
            code_of={name: code for code, name in enumerate(names)},
            first=np.searchsorted(order.key, np.arange(len(names) + 1) * order.stride),
            order=order,
            event_at=event[best],
            row=best if row is None else row[best],
            as_of=last,
        )

    def answer(self, questions: Questions, *, ttl: timedelta) -> Answers:
        """Return which row answers each question."""
        translation = np.array([self.code_of.get(name, NO_ROW) for name in questions.symbols] or [0], dtype=np.int64)
        codes = translation[questions.symbol]
        place = np.searchsorted(
            self.order.key, self.order.key_of(codes, np.minimum(questions.at, self.as_of)), side="right"
        )
        is_final = (codes != NO_ROW) & (place > self.first[codes])
        rows = np.full(len(codes), NO_ROW, dtype=np.int64)
        winners = place[is_final] - 1
        rows[is_final] = self.row[winners]
        if ttl > timedelta(0):
            is_stale = self.event_at[winners] < questions.at[is_final] - ttl // _US
            rows[np.flatnonzero(is_final)[is_stale]] = NO_ROW
        return Answers(rows=rows, is_final=is_final)

    @property
    def nbytes(self) -> int:
        return self.order.key.nbytes + self.event_at.nbytes + self.row.nbytes + self.first.nbytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Order:
    """Pairs (code, time) as one rising integer each, and how to place another pair among them.

    Where code and time do not fit into one integer, `distinct` times stand in for microseconds by their rank.
    """

    key: Integers
    lowest: int
    highest: int
    stride: int
    distinct: Integers | None = None

    @classmethod
    def of(cls, codes: Integers, times: Integers, count: int) -> _Order:
        lowest, highest = (int(times.min()), int(times.max())) if len(times) else (0, 0)
        stride = highest - lowest + 2
        if stride * count <= _COMPOSITE_LIMIT:
            key = codes * stride
            key += times
            key -= lowest - 1
            return cls(key=key, lowest=lowest, highest=highest, stride=stride)
        distinct = np.unique(times)
        ranks = np.searchsorted(distinct, times, side="right")
        stride = len(distinct) + 1
        return cls(key=codes * stride + ranks, lowest=lowest, highest=highest, stride=stride, distinct=distinct)

    def key_of(self, codes: Integers, times: Integers) -> Integers:
        if self.distinct is not None:
            return codes * self.stride + np.searchsorted(self.distinct, times, side="right")
        return codes * self.stride + (np.clip(times, self.lowest - 1, self.highest) - self.lowest + 1)


def microseconds(times: pl.Series, *, round_up: bool) -> Integers:
    """Return aware times as microseconds since 1970 in UTC, null as the least integer.

    Nanoseconds are rounded: an event up and a question down, so that rounding never shows the future.

    Raises:
        TypeError: if the column is no timestamp or has no time zone.
    """
    kind = times.dtype
    if not isinstance(kind, pl.Datetime) or kind.time_zone is None:
        raise TypeError(
            f"column {times.name!r} is {kind}, and a time needs a zone. "
            f"Say which it is in: pl.col({times.name!r}).dt.replace_time_zone('UTC')"
        )
    physical = times.to_physical()
    stored = (physical.fill_null(_NULL) if physical.null_count() else physical).to_numpy()
    if kind.time_unit == "us":
        return stored
    if kind.time_unit == "ms":
        return np.where(stored == _NULL, _NULL, stored * 1000)
    return np.where(stored == _NULL, _NULL, -(-stored // 1000) if round_up else stored // 1000)


def _instant(at: datetime) -> int:
    if at.tzinfo is None:
        raise TypeError(f"{at} has no time zone; write it like {at.isoformat()}+00:00")
    return (at - _EPOCH) // _US


def _codes(symbols: pl.Series) -> tuple[Sequence[str], Integers]:
    """Number the distinct symbols in order of their names and return each row's number; null is `NO_ROW`."""
    runs = (
        symbols.rle().struct.unnest() if len(symbols) else pl.DataFrame(schema={"len": pl.UInt32, "value": pl.String})
    )
    values = runs["value"].cast(pl.String)
    names = values.drop_nulls().unique().sort()
    numbers = values.cast(pl.Enum(names)).to_physical().cast(pl.Int64).fill_null(NO_ROW)
    return names.to_list(), np.repeat(numbers.to_numpy(), runs["len"].to_numpy())


def _is_ranked(codes: Integers, event: Integers, known: Integers) -> bool:
    """Tell whether rows are sorted by symbol, event and knowledge."""
    before, after = slice(None, -1), slice(1, None)
    is_later = (event[after] > event[before]) | ((event[after] == event[before]) & (known[after] >= known[before]))
    return bool(((codes[after] > codes[before]) | ((codes[after] == codes[before]) & is_later)).all())


def _is_below_all_later(key: Integers) -> Claims:
    """Tell for each place whether its key is less than every later one."""
    is_below = np.ones(len(key), dtype=np.bool_)
    is_below[:-1] = key[:-1] < np.minimum.accumulate(key[::-1])[::-1][1:]
    return is_below


def _that_count(
    keys: pl.DataFrame, known: Integers, *, as_of: datetime | None, last: int, with_hindsight: bool
) -> Claims | None:
    """Tell which rows may ever answer: those with a key, and known by then; None if all of them may."""
    is_known_needed = not with_hindsight or as_of is not None
    needed = ["symbol", "event_at", "known_at"] if is_known_needed else ["symbol", "event_at"]
    counts: Claims | None = None
    if any(keys[name].null_count() for name in needed):
        counts = keys.select(pl.all_horizontal(pl.col(needed).is_not_null())).to_series().to_numpy()
    if is_known_needed and last != NEVER:
        counts = (known <= last) if counts is None else counts & (known <= last)
    return counts


def _require(frame: pl.DataFrame, names: Sequence[str], side: str) -> None:
    if missing := [name for name in names if name not in frame.columns]:
        raise MissingColumns(asked_by=side, missing=missing, available=frame.columns, remedy="Rename or add them.")
