"""Bars for the tests of the feature store: seeded walks on real session dates."""

from __future__ import annotations

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
        pl.DataFrame(
            {
                "symbol": symbol,
                "date": days,
                "event_at": [datetime.combine(day, time(21), tzinfo=UTC) for day in days],
                "known_at": [datetime.combine(day, time(22), tzinfo=UTC) for day in days],
                "close": pl.Series([None] * count, dtype=pl.Float64),
                "adjusted_close": 100 * np.exp(np.cumsum(generator.normal(0, 0.02, count))),
                "is_index": symbol == "INDEX",
            }
        )
        for symbol in (*symbols, "INDEX")
    ]
    return pl.concat(frames).sort("symbol", "date")
