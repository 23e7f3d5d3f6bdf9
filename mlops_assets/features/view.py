"""What a feature view's values are: its expressions evaluated over the bars, and the proof of their output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

import polars as pl

from mlops_assets.features.bar_rows import KEYS, ROW, TYPES, BarRows, on_days
from mlops_assets.features.spec import Feature, FeatureView, Partition
from mlops_assets.kernel.errors import MissingColumns, PlatformError

_OF_A_DAY = (Partition.INDEX, Partition.CALENDAR)
"""Partitions with one row for a day, whose value every stock gets."""


class BrokenView(PlatformError):
    """A view's expressions do not give what its declaration says."""

    code = "broken_view"


def compute_view(
    view: FeatureView, bars: pl.DataFrame | BarRows, upstream: Mapping[str, pl.DataFrame] | None = None
) -> pl.DataFrame:
    """Compute a view for every stock in `bars`.

    Args:
        bars: rows of `market/bars` in any order, one for each symbol and date, the index among them; or the same
            prepared, which pays when several views are computed from them.
        upstream: by name, the values of the views it reads, one row for each symbol and date.

    Returns:
        The keys and the view's columns, one row for each bar of a stock, sorted by symbol and date. A column that reads
        something which no row has is null in every row: see `unavailable`.

    Raises:
        BrokenBars: if the bars lack a key column, hold a wrong type or two rows for a symbol and date.
        BrokenView: if an expression fails, or gives another type, NaN or an infinite value; or if the values of a view
            that it reads are not one row for each symbol and date.
        MissingColumns: if a view that it reads is not given, or lacks a column.
    """
    prepared = _prepared(bars)
    rows = _inputs(view, prepared, upstream or {})
    missing = _unavailable(view, rows)
    available = [column for column in view.columns if column.name not in missing]
    values = rows.select(KEYS).with_columns(_evaluated(view, available, rows))
    values = values.with_columns(
        pl.lit(None, dtype=TYPES[column.type]).alias(column.name) for column in view.columns if column.name in missing
    )
    if view.partition in _OF_A_DAY:
        days = values.select("date", *view.column_names)
        values = prepared.stocks.select(KEYS).hstack(on_days(prepared.stocks["date"], days))
    return _proven(view, values.select(*KEYS, *view.column_names))


def unavailable(
    view: FeatureView, bars: pl.DataFrame | BarRows, upstream: Mapping[str, pl.DataFrame] | None = None
) -> dict[str, tuple[str, ...]]:
    """Return the columns that can't be computed, each with the inputs that no row has."""
    return _unavailable(view, _inputs(view, _prepared(bars), upstream or {}))


def with_upstream(
    view: FeatureView,
    views: Mapping[str, FeatureView],
    bars: pl.DataFrame | BarRows,
    known: dict[str, pl.DataFrame] | None = None,
) -> pl.DataFrame:
    """Compute a view and, before it, every view it reads, all from `bars` alone.

    Args:
        known: what has been computed from these bars already, by name; added to.
    """
    computed = {} if known is None else known
    if view.name not in computed:
        prepared = _prepared(bars)
        upstream = {name: with_upstream(views[name], views, prepared, computed) for name in view.upstream_views}
        computed[view.name] = compute_view(view, prepared, upstream)
    return computed[view.name]


def _prepared(bars: pl.DataFrame | BarRows) -> BarRows:
    return bars if isinstance(bars, BarRows) else BarRows(bars)


def _evaluated(view: FeatureView, columns: Sequence[Feature], rows: pl.DataFrame) -> list[pl.Series]:
    """Return the values of `columns` in the order of `rows`.

    All columns run in one plan over contiguous rows of a group: `.over()` would gather and scatter them once for each
    column. Columns that are fields of the same struct share its evaluation.
    """
    if not columns:
        return []
    places = _places(columns)
    expressions = [expr.alias(str(number)) for number, (expr, _) in enumerate(places)]
    try:
        if view.partition in _OF_A_DAY:
            values = rows.select(expressions)
        elif view.partition is Partition.DATE:
            values = _by_day(rows, expressions)
        else:
            values = _grouped(rows, "symbol", expressions)
        results = [
            (values[str(number)].struct.field(field) if field else values[str(number)]).alias(name)
            for number, (_, names) in enumerate(places)
            for name, field in names.items()
        ]
    except pl.exceptions.PolarsError as error:
        raise BrokenView(_broken(view, f"an expression fails: {error}")) from error
    if values.height != rows.height:
        problem = f"an expression gives {values.height} values for {rows.height} rows; give one for each row"
        raise BrokenView(_broken(view, problem))
    return results


def _places(columns: Sequence[Feature]) -> list[tuple[pl.Expr, dict[str, str]]]:
    """Return what to evaluate, each once, and for each the columns it holds with their field ("" for all of it)."""
    places = list[tuple[pl.Expr, dict[str, str]]]()
    for column in columns:
        whole, field = _struct_and_field(column.expr)
        for expr, names in places:
            if field and expr.meta.eq(whole):
                names[column.name] = field
                break
        else:
            places.append((whole, {column.name: field}))
    return places


def _struct_and_field(expr: pl.Expr) -> tuple[pl.Expr, str]:
    """Take `struct.field(name)` apart; any other expression is returned with an empty name."""
    inputs = expr.meta.pop()
    if len(inputs) == 1:
        field = expr.meta.output_name(raise_if_undetermined=False)
        if field and inputs[0].struct.field(field).meta.eq(expr):
            return inputs[0], field
    return expr, ""


def _grouped(rows: pl.DataFrame, group: str, expressions: Sequence[pl.Expr]) -> pl.DataFrame:
    """Evaluate expressions over each group of rows that lie together; one value for a group stands for all its rows."""
    lazy = rows.lazy().with_columns(pl.col(group).set_sorted()).group_by(group, maintain_order=True)
    groups = lazy.agg(*expressions, pl.len().alias("rows__")).drop(group).collect()
    single = [name for name, kind in groups.schema.items() if name != "rows__" and not isinstance(kind, pl.List)]
    lists = groups.with_columns(pl.col(single).repeat_by("rows__")) if single else groups
    lists = lists.drop("rows__")
    return lists.explode(lists.columns)


def _by_day(rows: pl.DataFrame, expressions: Sequence[pl.Expr]) -> pl.DataFrame:
    order = rows.select("date").with_row_index("row__").sort("date", maintain_order=True)["row__"]
    needed = sorted({"date", *(name for expr in expressions for name in expr.meta.root_names())})
    values = _grouped(rows.select(needed)[order], "date", expressions)
    if values.height != rows.height:
        return values
    return values.with_columns(order).sort("row__").drop("row__")


def _unavailable(view: FeatureView, rows: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    absent = {
        name
        for column in view.columns
        for name in column.inputs
        if name not in rows.columns or rows[name].null_count() == rows.height
    }
    return {
        column.name: lacking
        for column in view.columns
        if (lacking := tuple(name for name in column.inputs if name in absent))
    }


def _inputs(view: FeatureView, bars: BarRows, upstream: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Return the rows that the view's expressions are evaluated on, sorted by symbol and date."""
    rows = bars.inputs(view.bar_inputs, view.partition)
    for name in view.upstream_views:
        columns = {str(one): one.column for one in view.upstream if one.view == name}
        if name not in upstream:
            raise MissingColumns(
                asked_by=_broken(view, "it"), missing=columns, available=upstream, remedy=f"Materialise {name} first."
            )
        if lacking := [column for column in (*ROW, *columns.values()) if column not in upstream[name].columns]:
            raise MissingColumns(
                asked_by=_broken(view, "it"),
                missing=[f"{name}.{column}" for column in lacking],
                available=upstream[name].columns,
                remedy=f"Materialise {name} as it is declared now.",
            )
        rows = _with_columns_of(view, rows, name, upstream[name].select(*ROW, **columns))
    return rows


def _with_columns_of(view: FeatureView, rows: pl.DataFrame, name: str, values: pl.DataFrame) -> pl.DataFrame:
    """Add the values of the view called `name`, row by row; a row that it lacks is null."""
    if values.select(ROW).equals(rows.select(ROW)):
        return rows.with_columns(values.drop(ROW).get_columns())
    if (twice := values.select(ROW).is_duplicated()).any():
        first = values.filter(twice).row(0, named=True)
        problem = (
            f"{name} has two rows for {first['symbol']} on {first['date']}; give the latest known row of each bar only"
        )
        raise BrokenView(_broken(view, problem))
    return rows.join(values, on=ROW, how="left", maintain_order="left")


def _proven(view: FeatureView, values: pl.DataFrame) -> pl.DataFrame:
    for column in view.columns:
        found = values[column.name]
        if found.dtype != TYPES[column.type]:
            raise BrokenView(_broken(view, f"column {column.name} is {found.dtype}, declared {column.type}"))
        # A sum is finite if all are, and costs a third of asking each; one that overflows asks each.
        if column.type == "float" and not isfinite(found.sum()) and not found.is_finite().all():
            where = values.filter(~found.is_finite()).row(0, named=True)
            place = f"{where['symbol']} on {where['date']}"
            raise BrokenView(
                _broken(view, f"column {column.name} is NaN or infinite for {place}; unknown values are null")
            )
    return values


def _broken(view: FeatureView, problem: str) -> str:
    return f"feature view {view.name} {view.version}: {problem}. See {view.declared_in}."
