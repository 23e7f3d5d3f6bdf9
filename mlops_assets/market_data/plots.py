"""How the bars look at a glance: how many symbols trade each year, and where prices went."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def bars_figure(bars: pl.DataFrame) -> Figure:
    """Draw growth since the first bar (month ends, logarithmic, indexes in black) over the number of symbols a day."""
    from matplotlib.figure import Figure

    monthly = (
        bars.group_by("symbol", "is_index", month=pl.col("date").dt.truncate("1mo"))
        .agg(pl.col("adjusted_close").sort_by("date").last())
        .sort("symbol", "month")
        .with_columns(growth=pl.col("adjusted_close") / pl.col("adjusted_close").first().over("symbol"))
    )
    counts = bars.group_by("date").len().sort("date")
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    prices, symbols = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    for (_, is_index), one in monthly.group_by("symbol", "is_index", maintain_order=True):
        style = {"color": "black", "linewidth": 1.6, "zorder": 3} if is_index else {"linewidth": 0.7, "alpha": 0.7}
        prices.plot(one["month"].to_numpy(), one["growth"].to_numpy(), **style)
    prices.set_yscale("log")
    prices.set_ylabel("growth of 1")
    prices.set_title("Adjusted close, first bar = 1 (index in black)", fontsize=10)
    symbols.fill_between(counts["date"].to_numpy(), counts["len"].to_numpy(), step="mid", alpha=0.5)
    symbols.set_ylabel("symbols")
    symbols.set_ylim(bottom=0)
    return figure
