"""What a strategy may look at: days x symbols of prices and, for model-driven ones, probabilities.

Where bars and predictions come from does not belong here; they arrive as tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.evaluation.spec import Scenario
from mlops_assets.kernel.errors import PlatformError, UnknownReference

if TYPE_CHECKING:
    import pyarrow as pa

_LONGEST_CLOSURE_DAYS = 5  # a window may begin or end on a weekend beside a holiday


class DataNotComplete(PlatformError):
    """The bars or predictions do not cover what the scenario replays."""

    code = "data_not_complete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """Adjusted closes, days x symbols, and a model's probabilities of the same shape.

    `window_start` is the row of the scenario's first day; the rows before it are warm-up.
    """

    dates: NDArray[np.datetime64]
    symbols: tuple[str, ...]
    prices: NDArray[np.float64]
    probabilities: NDArray[np.float64] | None = None
    window_start: int = 0

    def __post_init__(self) -> None:
        shape = (len(self.dates), len(self.symbols))
        for table in (self.prices, self.probabilities):
            if table is not None and table.shape != shape:
                raise ValueError(f"a table of shape {table.shape} beside {shape[0]} days and {shape[1]} symbols")
        if not 0 <= self.window_start < len(self.dates):
            raise ValueError(f"the window starts at row {self.window_start} of {len(self.dates)}")

    def until(self, row: int) -> Market:
        """Return the market as it was known at the close of `row`."""
        end = row + 1
        return Market(
            dates=self.dates[:end],
            symbols=self.symbols,
            prices=self.prices[:end],
            probabilities=None if self.probabilities is None else self.probabilities[:end],
            window_start=min(self.window_start, row),
        )


def market_of(scenario: Scenario, bars: pa.Table, predictions: pa.Table | None = None) -> Market:
    """Lay out the scenario's window and warm-up from `market/bars` and, if given, `predictions/<model>`.

    Raises:
        UnknownReference: if the scenario names a symbol that has no bars.
        DataNotComplete: if a price or a probability that the window needs is missing, naming the first.
    """
    closes = pl.DataFrame(pl.from_arrow(bars)).filter(~pl.col("is_index")).select("date", "symbol", "adjusted_close")
    symbols = _symbols(scenario, closes["symbol"].unique().sort().to_list())
    closes = closes.filter(pl.col("symbol").is_in(symbols))
    sessions = closes["date"].unique().sort().to_list()
    first, last = _rows(scenario, sessions)
    days = sessions[first - scenario.warm_up_days : last + 1]
    prices = _grid(closes, "adjusted_close", days, symbols)
    _require_all(prices, days, symbols, what="adjusted close", scenario=scenario)
    probabilities = None
    if predictions is not None:
        rows = pl.DataFrame(pl.from_arrow(predictions)).select("date", "symbol", "probability")
        probabilities = _grid(rows, "probability", days, symbols)
        start = scenario.warm_up_days
        _require_all(probabilities[start:], days[start:], symbols, what="prediction", scenario=scenario)
    return Market(
        dates=np.array(days, dtype="datetime64[D]"),
        symbols=tuple(symbols),
        prices=prices,
        probabilities=probabilities,
        window_start=scenario.warm_up_days,
    )


def _symbols(scenario: Scenario, available: list[str]) -> list[str]:
    if scenario.universe == "all":
        return available
    for symbol in scenario.universe:
        if symbol not in available:
            raise UnknownReference(
                kind="symbol", name=symbol, known=available, asked_by=str(scenario.declared_in), field="universe"
            )
    return sorted(scenario.universe)


def _rows(scenario: Scenario, sessions: list[date]) -> tuple[int, int]:
    """Return the rows of the window's first and last session."""
    window = scenario.window
    inside = [row for row, day in enumerate(sessions) if window.start <= day <= window.end]
    covers = (
        len(inside) > 1
        and (sessions[inside[0]] - window.start).days <= _LONGEST_CLOSURE_DAYS
        and (window.end - sessions[inside[-1]]).days <= _LONGEST_CLOSURE_DAYS
    )
    if not covers:
        found = f"bars run from {sessions[0]} to {sessions[-1]}" if sessions else "there are no bars"
        raise DataNotComplete(
            f"scenario {scenario.name} replays {window.start} to {window.end}, but {found}. "
            f"Ingest the missing days or change the window in {scenario.declared_in.name}."
        )
    if inside[0] < scenario.warm_up_days:
        raise DataNotComplete(
            f"scenario {scenario.name} needs {scenario.warm_up_days} trading days before {window.start}, "
            f"found {inside[0]}. Ingest earlier bars or lower warm_up_days in {scenario.declared_in.name}."
        )
    return inside[0], inside[-1]


def _grid(rows: pl.DataFrame, column: str, days: list[date], symbols: list[str]) -> NDArray[np.float64]:
    """Lay long rows out as days x symbols; what is missing becomes NaN."""
    wide = rows.filter(pl.col("date").is_in(days)).pivot("symbol", index="date", values=column)
    absent = [pl.lit(None, dtype=pl.Float64).alias(symbol) for symbol in symbols if symbol not in wide.columns]
    ordered = pl.DataFrame({"date": days}).join(wide.with_columns(absent), on="date", how="left", maintain_order="left")
    return ordered.select(pl.col(symbols).cast(pl.Float64).fill_null(float("nan"))).to_numpy(order="c")


def _require_all(
    grid: NDArray[np.float64], days: list[date], symbols: list[str], *, what: str, scenario: Scenario
) -> None:
    missing = np.argwhere(~np.isfinite(grid))
    if len(missing):
        row, column = missing[0]
        raise DataNotComplete(
            f"scenario {scenario.name}: {len(missing)} of {grid.size} values are missing; the first is the {what} of "
            f"{symbols[column]} on {days[row]}. Ingest it, or leave the symbol out of the universe."
        )
