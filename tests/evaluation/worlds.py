"""Small worlds for the tests of evaluation: hand-made markets, a scenario, and the real bars of the sample."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from mlops_assets.evaluation.market import Market
from mlops_assets.evaluation.replay import Fill, Replay
from mlops_assets.evaluation.spec import Scenario
from mlops_assets.market_data.sample import BundledSample

FILE = Path("scenario.yaml")


def scenario(**changes: Any) -> Scenario:
    """Return a scenario without costs over January 2020, changed as told."""
    content: dict[str, Any] = {
        "name": "january",
        "owner": "team:quant",
        "description": "A month.",
        "window": {"start": "2020-01-02", "end": "2020-01-31"},
        "warm_up_days": 0,
        "candidates": ["sma_crossover"],
        "baselines": ["buy_and_hold"],
        "costs": {"commission_bps": 0, "slippage_bps": 0},
        "position_limit": 1.0,
        "initial_cash": 1_000.0,
    }
    return Scenario.from_mapping({**content, **changes}, FILE)


def market(*columns: list[float], window_start: int = 0) -> Market:
    """Return a market of one column of prices a symbol (A, B, ...), on consecutive days from 2020-01-02."""
    prices = np.array(columns, dtype=float).T
    return Market(
        dates=np.datetime64("2020-01-02") + np.arange(len(prices)),
        symbols=tuple("ABCDEFGH"[: prices.shape[1]]),
        prices=prices,
        window_start=window_start,
    )


def curve(equity: list[float], fills: tuple[Fill, ...] = ()) -> Replay:
    """Return a replay of which only the equity and the fills matter."""
    values = np.array(equity, dtype=float)
    zeros = np.zeros_like(values)
    return Replay(
        dates=np.datetime64("2020-01-02") + np.arange(len(values)),
        equity=values,
        cash=zeros,
        exposure=zeros,
        turnover=zeros,
        fills=fills,
    )


def fill(day: int, symbol: str, quantity: float, price: float, cost: float = 0.0) -> Fill:
    return Fill(
        date=date(2020, 1, 1) + timedelta(days=day),
        symbol=symbol,
        quantity=quantity,
        price=price,
        cost=cost,
        weight=0.0,
    )


def bars_table(rows: dict[str, list[float | None]], start: date = date(2020, 1, 1)) -> pa.Table:
    """Return bars on consecutive days, by symbol; a price that is None has no row."""
    return pl.DataFrame(
        [
            {
                "symbol": symbol,
                "date": start + timedelta(days=day),
                "adjusted_close": price,
                "is_index": symbol == "IDX",
            }
            for symbol, prices in rows.items()
            for day, price in enumerate(prices)
            if price is not None
        ]
    ).to_arrow(compat_level=pl.CompatLevel.oldest())


@cache
def real_bars() -> pa.Table:
    """Return the sample's adjusted closes since 2012 in the columns of `market/bars` that evaluation reads."""
    rows = BundledSample().fetch(lambda _: None).rows
    return (
        rows.filter(pl.col("date") >= date(2012, 1, 1))
        .select("symbol", "date", "adjusted_close", is_index=pl.col("symbol") == "SP500")
        .with_columns(event_at=pl.col("date").cast(pl.Datetime("us", "UTC")) + timedelta(hours=21))
        .with_columns(known_at=pl.col("event_at") + timedelta(hours=1))
        .sort("symbol", "date")
        .to_arrow(compat_level=pl.CompatLevel.oldest())
    )


NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
