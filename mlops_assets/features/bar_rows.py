"""What a view's expressions read: the bars of the stocks and of the index, proven, sorted and with derived inputs.

One `BarRows` serves several views: it is checked and sorted once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

import polars as pl

from mlops_assets.features.spec import KEY_COLUMNS, Partition
from mlops_assets.kernel.columns import ColumnType
from mlops_assets.kernel.errors import MissingColumns, PlatformError

KEYS = tuple(column.name for column in KEY_COLUMNS)
ROW = ("symbol", "date")
TYPES: Mapping[ColumnType, pl.DataType] = {
    "float": pl.Float64(),
    "integer": pl.Int64(),
    "string": pl.String(),
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "timestamp": pl.Datetime("us", "UTC"),
}

_NEEDED: Mapping[str, pl.DataType] = {
    **{column.name: TYPES[column.type] for column in KEY_COLUMNS},
    "is_index": TYPES["boolean"],
}
_OPTIONAL: Mapping[str, pl.DataType] = {
    **dict.fromkeys(
        ("open", "high", "low", "close", "adjusted_close", "dividend_amount", "split_coefficient"), TYPES["float"]
    ),
    "volume": TYPES["integer"],
}
_REMEDIES = {
    "timestamp": "Give aware times in microseconds: .dt.replace_time_zone('UTC').dt.cast_time_unit('us').",
    "other": "Cast the column first; market/bars has these types.",
}


class BrokenBars(PlatformError):
    """Bars from which features can't be computed."""

    code = "broken_bars"


class BarRows:
    """Bars ready for expressions: one row for each symbol and date, sorted by them; stocks and index apart."""

    def __init__(self, bars: pl.DataFrame) -> None:
        """Check and sort `bars`, given in any order.

        Raises:
            MissingColumns: if a key column or `is_index` is missing.
            BrokenBars: if a column has another type than in `market/bars`, a key is null or a bar is there twice.
        """
        _check_types(bars)
        self.stocks = _sorted(bars.filter(~pl.col("is_index")))
        self._indexes = _sorted(bars.filter("is_index"))

    @cached_property
    def index(self) -> pl.DataFrame:
        """The bars of the market's index: of several, the first by name."""
        return self._indexes.filter(pl.col("symbol") == pl.col("symbol").min())

    @cached_property
    def index_adjusted_close(self) -> pl.Series:
        """The close of the index on the day of each row of `stocks`; null where the index has none."""
        closes = self.index.select("date", index_adjusted_close="adjusted_close")
        return on_days(self.stocks["date"], closes).to_series()

    @cached_property
    def days(self) -> pl.DataFrame:
        """A bar for each day on which any stock has one, in order."""
        return self.stocks.unique("date", keep="first").sort("date")

    def inputs(self, names: Iterable[str], partition: Partition) -> pl.DataFrame:
        """Return the keys and those of `names` that the bars have or give, on the rows that a partition runs over."""
        of_index = partition is Partition.INDEX
        rows = self.index if of_index else self.days if partition is Partition.CALENDAR else self.stocks
        derived = _derived(rows.columns)
        wanted = [name for name in names if name not in KEYS]
        rows = rows.select(
            *KEYS, *(derived.get(name, pl.col(name)) for name in wanted if name in {*rows.columns, *derived})
        )
        if "index_adjusted_close" in wanted and "adjusted_close" in self.index.columns:
            closes = rows["adjusted_close"] if of_index else self.index_adjusted_close
            rows = rows.with_columns(closes.alias("index_adjusted_close"))
        return rows


def on_days(dates: pl.Series, of_day: pl.DataFrame) -> pl.DataFrame:
    """Return the other columns of `of_day` for each of `dates`; null where it lacks the day. It has a day once.

    A place in a calendar instead of a join: it costs a third.
    """
    if dates.is_empty():
        return of_day.drop("date").clear()
    first = dates.min()
    calendar = pl.select(date=pl.date_range(pl.lit(first), pl.lit(dates.max())))
    values = calendar.join(of_day, on="date", how="left", maintain_order="left").drop("date")
    return values[pl.select((dates - first).dt.total_days().cast(pl.UInt32)).to_series()]


def _derived(available: list[str]) -> dict[str, pl.Expr]:
    """Return the inputs that are made from the bar's own columns; a missing split coefficient means no split."""
    derived = dict[str, pl.Expr]()
    if {"close", "adjusted_close"} <= {*available}:
        factor = pl.col("adjusted_close") / pl.col("close")
        for name in ("open", "high", "low"):
            if name in available:
                derived[f"adjusted_{name}"] = (pl.col(name) * factor).alias(f"adjusted_{name}")
    if "volume" in available:
        splits = pl.col("split_coefficient") if "split_coefficient" in available else pl.lit(1.0)
        derived["split_factor"] = splits.fill_null(1.0).cum_prod().over("symbol").alias("split_factor")
    return derived


def _check_types(bars: pl.DataFrame) -> None:
    if missing := _NEEDED.keys() - set(bars.columns):
        raise MissingColumns(
            asked_by="a feature view's bars",
            missing=missing,
            available=bars.columns,
            remedy="Give rows of market/bars with every key column.",
        )
    for name, wanted in {**_NEEDED, **_OPTIONAL}.items():
        found = bars.schema.get(name, wanted)
        if found != wanted and not (found == pl.Null and name in _OPTIONAL):
            remedy = _REMEDIES["timestamp" if isinstance(wanted, pl.Datetime) else "other"]
            raise BrokenBars(f"bars: column {name} is {found}, it must be {wanted}. {remedy}")
    for name in _NEEDED:
        if bars[name].null_count():
            place = bars.with_row_index("row__").filter(pl.col(name).is_null())["row__"][0]
            raise BrokenBars(f"bars: column {name} is null in row {place}. Drop the rows that have no {name}.")


def _sorted(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows sorted by symbol and date; rows that are in order already are not touched."""
    if _is_ascending(rows):
        return rows
    rows = rows.sort(*ROW)
    if not _is_ascending(rows):
        first = rows.filter(rows.select(ROW).is_duplicated()).row(0, named=True)
        raise BrokenBars(
            f"bars: two rows for {first['symbol']} on {first['date']}. Keep the latest known row of each bar: "
            "mlops_assets.features.knowledge.latest_known does."
        )
    return rows


def _is_ascending(rows: pl.DataFrame) -> bool:
    symbol, date = pl.col("symbol"), pl.col("date")
    later = (symbol > symbol.shift(1)) | ((symbol == symbol.shift(1)) & (date > date.shift(1)))
    return bool(rows.select(later.all()).item())
