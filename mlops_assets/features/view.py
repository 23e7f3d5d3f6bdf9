"""What a feature view's values are: its function applied to each symbol's bars, and the proof of its output."""

from __future__ import annotations

import polars as pl

from mlops_assets.features.spec import KEY_COLUMNS, FeatureView
from mlops_assets.kernel.errors import MissingColumns, PlatformError

KEYS = tuple(column.name for column in KEY_COLUMNS)


class BrokenView(PlatformError):
    """A view's function does not return what its declaration says."""

    code = "broken_view"


def compute_view(view: FeatureView, bars: pl.DataFrame) -> pl.DataFrame:
    """Compute a view for every stock in `bars`.

    Args:
        bars: rows of `market/bars`; index rows are left out.

    Returns:
        The keys and the view's columns, one row a bar, sorted by symbol and date.

    Raises:
        MissingColumns: if the bars lack a column that the view reads, or have it empty.
        BrokenView: if the function returns other columns, another height, another type or an infinite value.
    """
    _require_inputs(view, bars)
    stocks = bars.filter(~pl.col("is_index")).select(*KEYS, *view.inputs).sort("symbol", "date")
    parts = [_compute_symbol(view, symbol_bars) for symbol_bars in stocks.partition_by("symbol", maintain_order=True)]
    if not parts:
        return stocks.select(KEYS).with_columns(
            pl.lit(None, dtype=pl.Float64).alias(name) for name in view.column_names
        )
    return pl.concat(parts)


def _compute_symbol(view: FeatureView, bars: pl.DataFrame) -> pl.DataFrame:
    symbol = bars["symbol"][0]
    values = view.compute(bars)
    if tuple(values.columns) != view.column_names:
        raise BrokenView(_broken(view, symbol, f"returned columns {values.columns}, declared {[*view.column_names]}"))
    if values.height != bars.height:
        raise BrokenView(_broken(view, symbol, f"returned {values.height} rows for {bars.height} bars"))
    if wrong := [name for name, kind in values.schema.items() if kind != pl.Float64]:
        raise BrokenView(_broken(view, symbol, f"columns {wrong} are not 64-bit floats"))
    if infinite := [name for name in values.columns if values[name].is_infinite().any() or values[name].is_nan().any()]:
        raise BrokenView(_broken(view, symbol, f"columns {infinite} hold NaN or infinity; unknown values are null"))
    return pl.concat([bars.select(KEYS), values], how="horizontal")


def _require_inputs(view: FeatureView, bars: pl.DataFrame) -> None:
    available = {name for name in bars.columns if bars[name].null_count() < bars.height}
    if missing := set(view.inputs) - available:
        raise MissingColumns(
            asked_by=f"feature view {view.name}",
            missing=missing,
            available=available - set(KEYS),
            remedy="Choose a source that provides them, or remove the view from the catalogue.",
        )


def _broken(view: FeatureView, symbol: str, problem: str) -> str:
    return f"feature view {view.name} {view.version}, symbol {symbol}: compute {problem}. See {view.declared_in}."
