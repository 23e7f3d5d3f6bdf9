"""Is a table what its reader relies on: columns, types, zones, one row for a key, and clocks in their order."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from mlops_assets.features.bar_rows import TYPES
from mlops_assets.kernel.columns import Column
from mlops_assets.kernel.errors import MissingColumns, PlatformError

_PLACE = ("symbol", "date")


class MalformedTable(PlatformError):
    """A table has the columns asked for, but not of the type or with the keys that its reader relies on."""

    code = "malformed_table"

    def __init__(self, *, table: str, column: str, problem: str, remedy: str) -> None:
        self.table, self.column = table, column
        super().__init__(f"{table}: {column}: {problem}. {remedy}")


def expect_shape(frame: pl.DataFrame, *, table: str, columns: Sequence[Column], key: Sequence[str] = ()) -> None:
    """Check a table before it is read. The order of its rows is free, further columns too, and it may be empty.

    Args:
        key: the columns that no two rows share; none are not looked at.

    Raises:
        MissingColumns: naming what lacks.
        MalformedTable: for a wrong type, a time without zone, a null or repeated key, or a row known too early.
    """
    names = [column.name for column in columns]
    if missing := [name for name in names if name not in frame.columns]:
        raise MissingColumns(
            asked_by=table, missing=missing, available=frame.columns, remedy="Materialise the dataset again."
        )
    for column in columns:
        _expect_type(frame.schema[column.name], table, column)
    for name in key:
        if nulls := frame[name].null_count():
            raise MalformedTable(
                table=table, column=name, problem=f"{nulls} rows have none", remedy="A row without its key is no row."
            )
    if key:
        expect_unique(frame, table=table, key=key)
    if {"event_at", "known_at"} <= set(names):
        _expect_clocks(frame, table, key or _PLACE)


def expect_unique(frame: pl.DataFrame, *, table: str, key: Sequence[str]) -> None:
    """Check that no two rows have the same key; fastest if they are sorted by it.

    Raises:
        MalformedTable: naming the first rows that have.
    """
    if _rises(frame, key):
        return
    twice = frame.select(key).filter(pl.struct(key).is_duplicated())
    if not twice.is_empty():
        raise MalformedTable(
            table=table,
            column=", ".join(key),
            problem=f"{twice.height} rows share their key with another, first {_words(twice.sort(key).row(0))}",
            remedy="Keep one row for each key.",
        )


def _rises(frame: pl.DataFrame, key: Sequence[str]) -> bool:
    later = pl.lit(value=False)
    for name in reversed(key):
        value, before = pl.col(name), pl.col(name).shift()
        later = (value > before) | ((value == before) & later)
    return bool(frame.select(later.slice(1).all()).item())


def _expect_type(found: pl.DataType, table: str, column: Column) -> None:
    expected = TYPES[column.type]
    if found == expected:
        return
    remedy = f"Declared is {column.type}."
    if column.type == "timestamp" and isinstance(found, pl.Datetime):
        remedy = "Give it the zone UTC and microseconds: a time without zone is no instant."
    raise MalformedTable(table=table, column=column.name, problem=f"its type is {found}, not {expected}", remedy=remedy)


def _expect_clocks(frame: pl.DataFrame, table: str, key: Sequence[str]) -> None:
    early = frame.filter(pl.col("known_at") < pl.col("event_at"))
    if not early.is_empty():
        first = early.sort(key).row(0, named=True)
        raise MalformedTable(
            table=table,
            column="known_at",
            problem=(
                f"{early.height} rows were known before they happened, first {_words([first[name] for name in key])}: "
                f"known at {first['known_at']}, event at {first['event_at']}"
            ),
            remedy="Correct the publication lag of the source.",
        )


def _words(values: Sequence[object]) -> str:
    return " ".join(str(value) for value in values)
