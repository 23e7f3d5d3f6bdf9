"""Bars for the tests of the feature store: seeded walks on weekdays, and real indices as a stock and a market."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import polars as pl


def sessions(count: int, start: date = date(2019, 1, 2)) -> list[date]:
    days = (start + timedelta(days=number) for number in range(count * 2))
    return [day for day in days if day.weekday() < 5][:count]


def walk(symbols: tuple[str, ...] = ("AAA", "BBB"), count: int = 300, seed: int = 1) -> pl.DataFrame:
    """Return bars of `symbols` and of an index, with only adjusted prices."""
    generator = np.random.default_rng(seed)
    days = sessions(count)
    frames = [
        _keys(symbol, days).with_columns(
            close=pl.Series([None] * count, dtype=pl.Float64),
            adjusted_close=100 * np.exp(np.cumsum(generator.normal(0, 0.02, count))),
            is_index=pl.lit(symbol == "INDEX"),
        )
        for symbol in (*symbols, "INDEX")
    ]
    return pl.concat(frames).sort("symbol", "date")


def ohlcv_walk(symbols: tuple[str, ...] = ("AAA", "BBB", "CCC"), count: int = 300, seed: int = 1) -> pl.DataFrame:
    """Return whole bars of `symbols`, with splits and dividends, and of an index that moves them."""
    generator = np.random.default_rng(seed)
    days = sessions(count)
    market = generator.normal(0, 0.01, count)
    frames = [
        _whole_bars("INDEX", days, 3_000 * np.exp(np.cumsum(market)), np.ones(count), generator, is_index=True),
    ]
    for symbol in symbols:
        value = 100 * np.exp(np.cumsum(generator.uniform(0.5, 1.5) * market + generator.normal(0, 0.015, count)))
        splits = np.ones(count)
        splits[generator.integers(1, count, 2)] = generator.choice([2.0, 3.0, 1.5, 0.1], 2)
        frames.append(_whole_bars(symbol, days, value, splits, generator, is_index=False))
    return pl.concat(frames).sort("symbol", "date")


def real_bars() -> pl.DataFrame:
    """Return twenty years of two indices: the S&P 500 in the place of a stock, the Nasdaq in that of the market."""
    from arch.data import nasdaq, sp500

    frames = []
    for symbol, table in (("SPX", sp500.load()), ("INDEX", nasdaq.load())):
        days = [stamp.date() for stamp in table.index]
        frames.append(
            _keys(symbol, days).with_columns(
                open=table["Open"].to_numpy(),
                high=table["High"].to_numpy(),
                low=table["Low"].to_numpy(),
                close=table["Close"].to_numpy(),
                adjusted_close=table["Adj Close"].to_numpy(),
                volume=pl.Series(table["Volume"].to_numpy().astype(np.int64)),
                dividend_amount=pl.lit(0.0),
                split_coefficient=pl.lit(1.0),
                is_index=pl.lit(symbol == "INDEX"),
            )
        )
    return pl.concat(frames).sort("symbol", "date")


def _whole_bars(
    symbol: str,
    days: Sequence[date],
    value: np.ndarray,
    splits: np.ndarray,
    generator: np.random.Generator,
    *,
    is_index: bool,
) -> pl.DataFrame:
    """Return bars of a holding worth `value`, quoted in shares that split."""
    count = len(days)
    close = value / np.cumprod(splits)
    opened = close * np.exp(generator.normal(0, 0.005, count))
    return _keys(symbol, days).with_columns(
        open=opened,
        high=np.maximum(opened, close) * (1 + np.abs(generator.normal(0, 0.004, count))),
        low=np.minimum(opened, close) * (1 - np.abs(generator.normal(0, 0.004, count))),
        close=close,
        adjusted_close=value / np.prod(splits) * np.linspace(0.8, 1.0, count),
        volume=pl.Series(generator.integers(100_000, 9_000_000, count) * np.cumprod(splits)).cast(pl.Int64),
        dividend_amount=pl.lit(0.0),
        split_coefficient=splits,
        is_index=pl.lit(value=is_index),
    )


def _keys(symbol: str, days: Sequence[date]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "symbol": [symbol] * len(days),
            "date": days,
            "event_at": [datetime.combine(day, time(21), tzinfo=UTC) for day in days],
            "known_at": [datetime.combine(day, time(22), tzinfo=UTC) for day in days],
        }
    )
