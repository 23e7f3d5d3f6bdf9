"""Serving reads: decoded columns remembered between calls, and proof that they say what training sets say.

A file of a snapshot never changes, so what was decoded from it is remembered by its hash and needs no invalidation: a
new snapshot has new files, and shares the old ones. The rows that win are found by the same rule as offline.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

import polars as pl

from mlops_assets.features.chunks import FileReader, Files, Group, Rule
from mlops_assets.features.point_in_time import Frontier, Integers
from mlops_assets.storage.parquet.snapshots import Snapshot

REMEMBERED_BYTES = 2**30

_Key = tuple[tuple[str, ...], str]
_Decoded = Frontier | pl.Series | pl.DataFrame


class Remembered:
    """What was decoded lately, by the hashes of its files; the least recently used goes first when memory is full."""

    def __init__(self, limit_bytes: int = REMEMBERED_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._kept: OrderedDict[_Key, _Decoded] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def find(self, key: _Key) -> _Decoded | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, key: _Key, decoded: _Decoded) -> None:
        with self._lock:
            if key not in self._kept:
                self._bytes += _bytes_of(decoded)
            self._kept[key] = decoded
            while self._bytes > self._limit_bytes and len(self._kept) > 1:
                self._bytes -= _bytes_of(self._kept.popitem(last=False)[1])


class RememberedReader:
    """Reads groups of files, from memory where it can."""

    def __init__(self, files: Files, published: Snapshot, remembered: Remembered) -> None:
        self._published = published
        self._files = FileReader(files, published)
        self._remembered = remembered

    def frontier(self, group: Group, rule: Rule) -> Frontier:
        if rule.as_of is not None or rule.with_hindsight:
            raise ValueError("a serving read asks at one time, as known then: that time is in the question")
        key = (_hashes(group), "")
        found = self._remembered.find(key)
        if not isinstance(found, Frontier):
            found = self._files.frontier(group, rule)
            self._remembered.keep(key, found)
        return found

    def rows(self, group: Group, columns: Sequence[str], numbers: Integers) -> pl.DataFrame:
        hashes = _hashes(group)
        found = {name: self._remembered.find((hashes, name)) for name in columns}
        decoded = {name: one for name, one in found.items() if isinstance(one, pl.Series)}
        if missing := [name for name in columns if name not in decoded]:
            for series in self._files.columns(group, missing):
                self._remembered.keep((hashes, series.name), series)
                decoded[series.name] = series
        return pl.DataFrame([decoded[name] for name in columns])[numbers]

    def no_rows(self, columns: Sequence[str]) -> pl.DataFrame:
        key = (tuple(file.sha256 for file in self._published.files), ",".join(columns))
        found = self._remembered.find(key)
        if not isinstance(found, pl.DataFrame):
            found = self._files.no_rows(columns)
            self._remembered.keep(key, found)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Skew:
    """In how many of the sampled rows a serving read differed from a training set, by feature."""

    rows: int
    differing: Mapping[str, int]
    examples: tuple[str, ...]

    @property
    def is_none(self) -> bool:
        return not any(self.differing.values())


def skew(online: pl.DataFrame, offline: pl.DataFrame, names: Sequence[str], *, most_examples: int = 5) -> Skew:
    """Compare the same (symbol, `at`) rows as served and as a training set has them.

    Values are equal if they are the same number, both null or both NaN; there is no tolerance.

    Raises:
        ValueError: if the rows are not the same ones in the same order.
    """
    keys = ["symbol", "at"]
    if not online.select(keys).equals(offline.select(keys)):
        raise ValueError("online and offline rows are not those of the same symbols and times in the same order")
    differs = {name: ~online[name].eq_missing(offline[name]) for name in names}
    return Skew(
        rows=online.height,
        differing={name: int(mask.sum()) for name, mask in differs.items()},
        examples=tuple(_examples(online, offline, differs))[:most_examples],
    )


def _examples(online: pl.DataFrame, offline: pl.DataFrame, differs: Mapping[str, pl.Series]) -> Iterator[str]:
    for name, mask in differs.items():
        for row in mask.arg_true().head(1).to_list():
            symbol, at = online["symbol"][row], online["at"][row]
            yield f"{symbol} at {at}: {name} is {online[name][row]} online and {offline[name][row]} offline"


def _hashes(group: Group) -> tuple[str, ...]:
    return tuple(file.sha256 for file in group.files)


def _bytes_of(decoded: _Decoded) -> int:
    return decoded.nbytes if isinstance(decoded, Frontier) else int(decoded.estimated_size())
