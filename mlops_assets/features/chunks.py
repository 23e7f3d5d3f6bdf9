"""Which files of a snapshot a question needs, read newest first and a slice at a time.

A published feature view is a list of files in order of time, each sorted by symbol, event and knowledge. The winner of
a question is in the newest file that holds any usable row of its symbol, so files are asked from the newest to the
oldest, each only about what is still open, and only those that reach into [min t - TTL, max t] are opened. Memory holds
one file's keys, one slice of its columns, and the answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl

from mlops_assets.features.point_in_time import NO_ROW, Frontier, Integers, Questions, take
from mlops_assets.storage.parquet.files import SnapshotFile
from mlops_assets.storage.parquet.snapshots import Snapshot

SLICE_ROWS = 1_048_576
"""Rows of a file decoded at once; 16 row groups."""
KEYS = ("symbol", "event_at", "known_at")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


class Files(Protocol):
    """Where the files of snapshots are; a path is given only after the file's bytes were checked."""

    def verified_path(self, published: Snapshot, file: SnapshotFile) -> Path: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Files whose times overlap, which have to be asked together; almost always a single file."""

    files: tuple[SnapshotFile, ...]

    @property
    def first_at(self) -> int | None:
        """The earliest event, in microseconds since 1970; None if a file does not say."""
        return _earliest(self.files)

    @property
    def last_at(self) -> int | None:
        return _latest(self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Which rows may answer: how old they may be, the last instant that exists, and whether hindsight is wanted."""

    ttl: timedelta
    as_of: datetime | None = None
    with_hindsight: bool = False


class Reader(Protocol):
    """Reads groups of files of one snapshot."""

    def frontier(self, group: Group, rule: Rule) -> Frontier: ...

    def rows(self, group: Group, columns: Sequence[str], numbers: Integers) -> pl.DataFrame:
        """Return these rows of the group, in the order of `numbers`; none is `NO_ROW`."""
        ...

    def no_rows(self, columns: Sequence[str]) -> pl.DataFrame:
        """Return an empty frame with the types of the columns."""
        ...


def groups_of(files: Sequence[SnapshotFile]) -> list[Group]:
    """Group files whose times overlap, newest first. Files that do not say their times overlap with all."""
    filled = [file for file in files if file.row_count]
    if not filled:
        return []
    if any(file.first_at is None or file.last_at is None for file in filled):
        return [Group(files=tuple(filled))]
    ordered = sorted(filled, key=lambda file: (_earliest([file]), _latest([file])))
    together = [[ordered[0]]]
    for file in ordered[1:]:
        reached, begins = _latest(together[-1]), _earliest([file])
        if reached is not None and begins is not None and begins <= reached:
            together[-1].append(file)
        else:
            together.append([file])
    return [Group(files=tuple(group)) for group in reversed(together)]


def answer(
    questions: Questions, groups: Sequence[Group], reader: Reader, columns: Sequence[str], rule: Rule, count: int
) -> pl.DataFrame:
    """Return the columns for each of `count` rows, of which `questions` are those that ask something."""
    place = np.full(count, NO_ROW, dtype=np.int64)
    parts = list[pl.DataFrame]()
    filled, still_open = 0, questions
    for group in groups:
        asked = still_open.only(_may_know(still_open, group, rule))
        if not len(asked):
            continue
        answers = reader.frontier(group, rule).answer(asked, ttl=rule.ttl)
        is_found = answers.rows != NO_ROW
        if is_found.any():
            part = reader.rows(group, columns, answers.rows[is_found])
            place[asked.position[is_found]] = np.arange(filled, filled + part.height)
            filled += part.height
            parts.append(part)
        is_decided = np.zeros(count, dtype=np.bool_)
        is_decided[asked.position[answers.is_final]] = True
        still_open = still_open.only(~is_decided[still_open.position])
        if not len(still_open):
            break
    # One piece of memory: gathering from many costs six times as much.
    found = pl.concat(parts, rechunk=True) if parts else reader.no_rows(columns)
    return found if np.array_equal(place, np.arange(found.height)) else take(found, place)


def _may_know(questions: Questions, group: Group, rule: Rule) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Tell which questions a group of files could answer, by its times alone."""
    known = np.ones(len(questions), dtype=np.bool_)
    if group.first_at is not None:
        known &= questions.at >= group.first_at
        if rule.as_of is not None and (rule.as_of - _EPOCH) // _US < group.first_at:
            known[:] = False
    if group.last_at is not None and rule.ttl > timedelta(0):
        known &= questions.at - rule.ttl // _US <= group.last_at
    return known


class FileReader:
    """Reads from verified Parquet files and remembers nothing but the group at hand."""

    def __init__(self, files: Files, published: Snapshot) -> None:
        self._files, self._published = files, published
        self._paths: dict[SnapshotFile, Path] = {}

    def frontier(self, group: Group, rule: Rule) -> Frontier:
        keys = pl.concat(pl.read_parquet(self._path(file), columns=list(KEYS)) for file in group.files)
        return Frontier.of(keys, as_of=rule.as_of, with_hindsight=rule.with_hindsight)

    def rows(self, group: Group, columns: Sequence[str], numbers: Integers) -> pl.DataFrame:
        order = None if _rises(numbers) else np.argsort(numbers, kind="stable")
        rising = numbers if order is None else numbers[order]
        found = pl.concat(self._slices(group, columns, rising))
        return found if order is None else take(found, np.argsort(order))

    def no_rows(self, columns: Sequence[str]) -> pl.DataFrame:
        return pl.read_parquet(self._path(self._published.files[-1]), columns=list(columns), n_rows=0)

    def columns(self, group: Group, columns: Sequence[str]) -> list[pl.Series]:
        """Return whole columns of the group."""
        parts = [pl.read_parquet(self._path(file), columns=list(columns)) for file in group.files]
        return pl.concat(parts).select(columns).get_columns()

    def _slices(self, group: Group, columns: Sequence[str], rising: Integers) -> Iterator[pl.DataFrame]:
        before = 0
        for file in group.files:
            for offset in range(0, file.row_count, SLICE_ROWS):
                low, high = np.searchsorted(
                    rising, (before + offset, before + min(offset + SLICE_ROWS, file.row_count))
                )
                if low < high:
                    local = rising[low:high] - before
                    first, last = int(local[0]), int(local[-1])
                    scan = pl.scan_parquet(self._path(file)).select(columns).slice(first, last - first + 1)
                    yield take(scan.collect(), local - first)
            before += file.row_count

    def _path(self, file: SnapshotFile) -> Path:
        if file not in self._paths:
            self._paths[file] = self._files.verified_path(self._published, file)
        return self._paths[file]


def _rises(numbers: Integers) -> bool:
    return bool((numbers[1:] >= numbers[:-1]).all())


def _earliest(files: Sequence[SnapshotFile]) -> int | None:
    moments = [file.first_at for file in files if file.first_at is not None]
    return min((moment - _EPOCH) // _US for moment in moments) if len(moments) == len(files) else None


def _latest(files: Sequence[SnapshotFile]) -> int | None:
    moments = [file.last_at for file in files if file.last_at is not None]
    return max((moment - _EPOCH) // _US for moment in moments) if len(moments) == len(files) else None
