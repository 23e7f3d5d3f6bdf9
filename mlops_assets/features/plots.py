"""What features and folds look like: figures for the asset pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from mlops_assets.features.spec import Fold
from mlops_assets.kernel.columns import Column

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS_A_ROW = 3
_SHOWN_WORDS = 8
_BLUE = "#3b6ea5"
_SHOWN_QUANTILES = (0.005, 0.995)


def distributions(values: pl.DataFrame, columns: Sequence[Column]) -> Figure:
    """Draw each column: numbers as a histogram cut at its 0.5 and 99.5 percentiles, words by how often each occurs."""
    from matplotlib.figure import Figure

    rows = max(-(-len(columns) // _COLUMNS_A_ROW), 1)
    figure = Figure(figsize=(2.4 * _COLUMNS_A_ROW, 1.9 * rows), layout="constrained")
    axes = figure.subplots(rows, _COLUMNS_A_ROW, squeeze=False).flat
    for column, axis in zip(columns, axes, strict=False):  # the columns first: `zip` would swallow an axis
        known = values[column.name].drop_nulls()
        axis.set_title(column.name, fontsize=9)
        axis.tick_params(labelsize=7)
        if known.is_empty():
            axis.text(0.5, 0.5, "no value", ha="center", va="center", fontsize=8, transform=axis.transAxes)
            axis.set_xticks([])
            axis.set_yticks([])
        elif known.dtype.is_numeric():
            _histogram(axis, known.cast(pl.Float64), column.unit)
        else:
            _frequencies(axis, known.cast(pl.String))
    for axis in axes:
        axis.set_visible(False)
    return figure


def _histogram(axis: Axes, known: pl.Series, unit: str) -> None:
    low, high = (known.quantile(share, "linear") for share in _SHOWN_QUANTILES)
    axis.hist(known.filter(known.is_between(low, high)).to_numpy(), bins=60, color=_BLUE)
    axis.set_xlabel(unit, fontsize=8)
    axis.locator_params(axis="x", nbins=4)


def _frequencies(axis: Axes, known: pl.Series) -> None:
    """Draw the most frequent words, the first on top."""
    counts = known.alias("word").to_frame().group_by("word").len()
    shown = counts.sort(pl.col("len"), pl.col("word"), descending=[True, False]).head(_SHOWN_WORDS).reverse()
    axis.barh(shown["word"].to_list(), shown["len"].to_list(), color=_BLUE)
    axis.set_xlabel("rows", fontsize=8)
    axis.locator_params(axis="x", nbins=4)


def folds(rows: pl.DataFrame) -> Figure:
    """Draw how many rows each fold has by year."""
    from matplotlib.figure import Figure

    counts = rows.group_by(pl.col("date").dt.year().alias("year"), "fold").len().sort("year")
    figure = Figure(figsize=(7.2, 2.4), layout="constrained")
    axis = figure.subplots()
    years = counts["year"].unique().sort()
    base = pl.Series([0] * len(years))
    for fold in Fold:
        of_fold = counts.filter(pl.col("fold") == fold)
        heights = pl.DataFrame({"year": years}).join(of_fold, on="year", how="left")["len"].fill_null(0)
        if heights.sum() > 0:
            axis.bar(years.to_numpy(), heights.to_numpy(), bottom=base.to_numpy(), label=fold.value)
            base = base + heights
    axis.set_ylabel("rows")
    axis.legend(ncols=len(Fold), fontsize=8, frameon=False)
    return figure
