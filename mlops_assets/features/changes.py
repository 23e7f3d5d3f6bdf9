"""Which symbols or days a view has to compute anew: those whose inputs differ between two times it was published.

Versions of a dataset share the files of years in which nothing changed. Only the rows of the other files are compared,
bit for bit. Beside its own rows a group depends on which bars came late, and that on the bars of later days: see
`knowledge.later_days`. A view that reads the index depends on all of its bars.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from mlops_assets.features.knowledge import group_of, is_among, later_days, reads_index, was_seen
from mlops_assets.features.lineage import MADE_OF
from mlops_assets.features.spec import FeatureView
from mlops_assets.features.view import KEYS
from mlops_assets.market_data.knowledge import restatements_of
from mlops_assets.storage.parquet.files import SnapshotFile
from mlops_assets.storage.parquet.snapshots import Snapshot, SnapshotStore

_NEEDED = (*KEYS, "adjusted_close", "volume", "is_index", "superseded_at")
"""What is read of the bars beside the inputs of the view; split_factor asks whether there is a volume."""
_DAY = timedelta(days=1)
_PLACE = ("symbol", "date", "is_index")
_NO_PLACES = pl.DataFrame(schema={"symbol": pl.String, "date": pl.Date, "is_index": pl.Boolean})
_NO_ROWS_TOLD = _NO_PLACES.with_columns(
    pl.lit(None, pl.Datetime("us", "UTC")).alias(n) for n in ("known_at", "superseded_at")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The snapshots that a view is made from; `upstream` by the name of the view that is read."""

    bars: Snapshot
    restatements: Snapshot | None
    upstream: Mapping[str, Snapshot]

    @classmethod
    def of(cls, store: SnapshotStore, bars: Snapshot, upstream: Mapping[str, Snapshot]) -> Inputs:
        return cls(bars=bars, restatements=restatements_of(store, bars), upstream=upstream)


def bar_columns(view: FeatureView) -> list[str]:
    """Return the columns of bars and restatements that a view is computed from."""
    read = {column for name in view.bar_inputs for column in MADE_OF.get(name, (name,))}
    return sorted({*_NEEDED, *read})


def columns_read(view: FeatureView, upstream: str) -> list[str]:
    """Return the columns of another view that a view is computed from."""
    return [*KEYS, *(one.column for one in view.upstream if one.view == upstream)]


def changed_groups(view: FeatureView, store: SnapshotStore, before: Inputs, now: Inputs) -> set[object] | None:
    """Return the symbols (for a view of days: the dates) whose inputs differ, or None if all have to be computed.

    Raises:
        IntegrityViolation: if a file is damaged.
    """
    group, columns = group_of(view), bar_columns(view)
    if group == "date" and "split_factor" in view.bar_inputs:  # it runs through all days of a symbol
        return None
    bars = pl.concat(
        [
            _differing(store, before.bars, now.bars, columns),
            _differing(store, before.restatements, now.restatements, columns),
            _late_in_one(store, before, now),
        ]
    )
    if reads_index(view) and bars["is_index"].any():
        return None
    groups = set[object](bars.filter(~pl.col("is_index"))[group])
    for name in view.upstream_views:
        old, new, wanted = before.upstream[name], now.upstream[name], columns_read(view, name)
        if not {*wanted} <= old.schema.keys():
            return None
        groups |= set(_differing(store, old, new, wanted)[group])
    return groups


def rows_of_groups(
    store: SnapshotStore, published: Snapshot, columns: Sequence[str], group: str, groups: Collection[object]
) -> pl.DataFrame:
    """Return the rows of some symbols or dates; of dates, only the files that reach into them are read."""
    files = list(published.files)
    if group == "date":
        first, last = (pl.Series(list(groups), dtype=pl.Date).sort()[place] for place in (0, -1))
        files = [file for file in files if _reaches_into(file, first, last)] or files[:1]
    return pl.concat(frame.filter(is_among(group, groups)) for frame in _frames(store, published, files, columns))


def _reaches_into(file: SnapshotFile, first: date, last: date) -> bool:
    if file.first_at is None or file.last_at is None:
        return True
    return (
        file.first_at.date() - _DAY <= last and file.last_at.date() + _DAY >= first
    )  # a session may end past midnight


def _differing(
    store: SnapshotStore, before: Snapshot | None, now: Snapshot | None, columns: Sequence[str]
) -> pl.DataFrame:
    """Return `symbol, date, is_index` of the rows that one of two versions has and the other has not."""
    old, new = _own_rows(store, before, now, columns), _own_rows(store, now, before, columns)
    if old.columns != new.columns:
        return pl.concat([old.select(_PLACE), new.select(_PLACE)])
    left, right = bits(old), bits(new)
    return pl.concat(
        rows.join(others, on=rows.columns, how="anti", nulls_equal=True).select(_PLACE)
        for rows, others in ((left, right), (right, left))
    )


def _own_rows(
    store: SnapshotStore, version: Snapshot | None, other: Snapshot | None, columns: Sequence[str]
) -> pl.DataFrame:
    """Return the rows of a version's files that the other version has not."""
    shared = () if other is None else other.files
    files = () if version is None else [file for file in version.files if file not in shared]
    return pl.concat([_NO_PLACES, *_frames(store, version, files, columns)], how="diagonal")


def _late_in_one(store: SnapshotStore, before: Inputs, now: Inputs) -> pl.DataFrame:
    """Return `symbol, date, is_index` of bars that may count as late by one version of all bars alone."""
    if (before.bars, before.restatements) == (now.bars, now.restatements):
        return _NO_PLACES
    told = [_told(store, one) for one in (before, now)]
    old, new = (later_days(rows) for rows in told)
    moved = (
        old.join(new, on="date", how="full", coalesce=True, suffix="_now")
        .filter(pl.col("later").ne_missing(pl.col("later_now")))
        .select("date", since=pl.min_horizontal("later", "later_now"))
    )
    rows = pl.concat(told).join(moved, on="date")
    return rows.filter(pl.col("known_at") > pl.col("since")).select(_PLACE)


def _told(store: SnapshotStore, inputs: Inputs) -> pl.DataFrame:
    """Return when each version of each bar was told."""
    columns = [*_PLACE, "known_at", "superseded_at"]
    versions = [one for one in (inputs.bars, inputs.restatements) if one is not None]
    frames = (frame for one in versions for frame in _frames(store, one, one.files, columns))
    return pl.concat([_NO_ROWS_TOLD, *frames], how="diagonal").filter(was_seen())


def _frames(
    store: SnapshotStore, version: Snapshot | None, files: Sequence[SnapshotFile], columns: Sequence[str]
) -> Iterator[pl.DataFrame]:
    for file in files:
        assert version is not None
        present = [name for name in columns if name in version.schema]
        yield pl.read_parquet(store.verified_path(version, file), columns=present)


def bits(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with numbers as their bits: 0.0 and -0.0 compare as equal, and what is computed from them may not."""
    return rows.with_columns(pl.col(pl.Float64).reinterpret(dtype=pl.Int64))
