"""What a feature view's values are: its expressions evaluated over the bars, and the proof of their output."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from mlops_assets.features.spec import KEY_COLUMNS, Feature, FeatureView, Partition
from mlops_assets.kernel.columns import ColumnType
from mlops_assets.kernel.errors import PlatformError

KEYS = tuple(column.name for column in KEY_COLUMNS)
_ROW = ("symbol", "date")
_TYPES: Mapping[ColumnType, pl.DataType] = {
    "float": pl.Float64(),
    "integer": pl.Int64(),
    "string": pl.String(),
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "timestamp": pl.Datetime("us", "UTC"),
}


class BrokenView(PlatformError):
    """A view's expressions do not give what its declaration says."""

    code = "broken_view"


def compute_view(
    view: FeatureView, bars: pl.DataFrame, upstream: Mapping[str, pl.DataFrame] | None = None
) -> pl.DataFrame:
    """Compute a view for every stock in `bars`.

    Args:
        bars: rows of `market/bars`, one for each symbol and date; the index among them.
        upstream: by name, the values of the views it reads, one row for each symbol and date.

    Returns:
        The keys and the view's columns, one row for each bar of a stock, sorted by symbol and date. A column that reads
        something which no row has is null in every row: see `unavailable`.

    Raises:
        BrokenView: if an expression fails, or gives another type, NaN or an infinite value.
    """
    rows = _inputs(view, bars, upstream or {})
    missing = _unavailable(view, rows)
    available = [column for column in view.columns if column.name not in missing]
    try:
        values = rows.with_columns(_over(view, column) for column in available)
    except pl.exceptions.PolarsError as error:
        raise BrokenView(_broken(view, f"an expression fails: {error}")) from error
    empty = [pl.lit(None, dtype=_TYPES[column.type]).alias(column.name) for column in view.columns]
    values = values.with_columns(one for one, column in zip(empty, view.columns, strict=True) if column.name in missing)
    if view.partition is Partition.INDEX:
        values = _stocks(bars).select(KEYS).join(values.drop(*KEYS, strict=False), on="date", how="left")
    return _proven(view, values.select(*KEYS, *view.column_names))


def unavailable(
    view: FeatureView, bars: pl.DataFrame, upstream: Mapping[str, pl.DataFrame] | None = None
) -> dict[str, tuple[str, ...]]:
    """Return the columns that can't be computed, each with the inputs that no row has."""
    return _unavailable(view, _inputs(view, bars, upstream or {}))


def with_upstream(
    view: FeatureView,
    views: Mapping[str, FeatureView],
    bars: pl.DataFrame,
    known: dict[str, pl.DataFrame] | None = None,
) -> pl.DataFrame:
    """Compute a view and, before it, every view it reads, all from `bars` alone.

    Args:
        known: what has been computed from these bars already, by name; added to.
    """
    computed = {} if known is None else known
    if view.name not in computed:
        upstream = {name: with_upstream(views[name], views, bars, computed) for name in view.upstream_views}
        computed[view.name] = compute_view(view, bars, upstream)
    return computed[view.name]


def _over(view: FeatureView, column: Feature) -> pl.Expr:
    over = "date" if view.partition is Partition.DATE else "symbol"
    return column.expr.over(over).alias(column.name)


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


def _stocks(bars: pl.DataFrame) -> pl.DataFrame:
    return bars.filter(~pl.col("is_index")).sort(*_ROW)


def _inputs(view: FeatureView, bars: pl.DataFrame, upstream: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Return the rows that the view's expressions are evaluated on, sorted by symbol and date."""
    index = _index(bars)
    wanted = {*KEYS, *view.bar_inputs}
    rows = (index if view.partition is Partition.INDEX else _stocks(bars)).with_columns(**_derived(bars.columns))
    if "index_adjusted_close" in wanted:
        rows = rows.join(index.select("date", index_adjusted_close="adjusted_close"), on="date", how="left")
    rows = rows.select(name for name in rows.columns if name in wanted)
    for name, values in upstream.items():
        columns = {str(one): one.column for one in view.upstream if one.view == name}
        rows = rows.join(values.select(*_ROW, **columns), on=_ROW, how="left")  # keeps the order of the left side
    return rows.sort(*_ROW)


def _derived(available: list[str]) -> dict[str, pl.Expr]:
    """Return the inputs that are made from the bar's own columns; a missing split coefficient means no split."""
    derived = dict[str, pl.Expr]()
    if "close" in available:
        factor = pl.col("adjusted_close") / pl.col("close")
        derived |= {f"adjusted_{name}": pl.col(name) * factor for name in ("open", "high", "low") if name in available}
    if "volume" in available:
        splits = pl.col("split_coefficient") if "split_coefficient" in available else pl.lit(None, dtype=pl.Float64)
        derived["split_factor"] = splits.fill_null(1.0).cum_prod().over("symbol")
    return derived


def _index(bars: pl.DataFrame) -> pl.DataFrame:
    """Return the bars of the market's index: of several, the first by name."""
    indexes = bars.filter("is_index")
    return indexes.filter(pl.col("symbol") == pl.col("symbol").min()).sort("date")


def _proven(view: FeatureView, values: pl.DataFrame) -> pl.DataFrame:
    for column in view.columns:
        found = values[column.name]
        if found.dtype != _TYPES[column.type]:
            raise BrokenView(_broken(view, f"column {column.name} is {found.dtype}, declared {column.type}"))
        if column.type == "float" and (found.is_nan() | found.is_infinite()).any():
            where = values.filter(found.is_nan() | found.is_infinite()).row(0, named=True)
            place = f"{where['symbol']} on {where['date']}"
            raise BrokenView(
                _broken(view, f"column {column.name} is NaN or infinite for {place}; unknown values are null")
            )
    return values


def _broken(view: FeatureView, problem: str) -> str:
    return f"feature view {view.name} {view.version}: {problem}. See {view.declared_in}."
