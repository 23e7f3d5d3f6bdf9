"""What features and folds look like: figures for the asset pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from mlops_assets.features.spec import Fold
from mlops_assets.kernel.columns import Column

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS_A_ROW = 3
_SHOWN_QUANTILES = (0.005, 0.995)


def distributions(values: pl.DataFrame, columns: Sequence[Column]) -> Figure:
    """Draw a histogram of each column, cut at its 0.5 and 99.5 percentiles."""
    from matplotlib.figure import Figure

    rows = -(-len(columns) // _COLUMNS_A_ROW)
    figure = Figure(figsize=(2.4 * _COLUMNS_A_ROW, 1.9 * rows), layout="constrained")
    axes = figure.subplots(rows, _COLUMNS_A_ROW, squeeze=False).flat
    for axis, column in zip(axes, columns, strict=False):
        known = values[column.name].drop_nulls()
        low, high = (known.quantile(share) for share in _SHOWN_QUANTILES)
        axis.hist(known.filter(known.is_between(low, high)).to_numpy(), bins=60, color="#3b6ea5")
        axis.set_title(column.name, fontsize=9)
        axis.set_xlabel(column.unit, fontsize=8)
        axis.tick_params(labelsize=7)
        axis.locator_params(axis="x", nbins=4)
    for axis in axes:
        axis.set_visible(False)
    return figure


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
