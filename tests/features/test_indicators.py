"""Each indicator against TA-Lib, pandas or a series worked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
import talib

from mlops_assets.features.indicators import macd, macd_signal, momentum_12_1, rsi, simple_return, wilder_average

PRICES = 100 * np.exp(np.cumsum(np.random.default_rng(7).normal(0, 0.02, 900)))


P = pl.col("p")


def over(values: object, expr: pl.Expr) -> pl.Series:
    """Evaluate an expression of `p` over one series."""
    return pl.DataFrame({"p": pl.Series(values, dtype=pl.Float64)}).select(expr).to_series()


def assert_equal(ours: pl.Series, theirs: np.ndarray):
    np.testing.assert_allclose(ours.to_numpy(), theirs, rtol=1e-9, atol=1e-9, equal_nan=True)


def test_rsi_equals_talib():
    assert_equal(over(PRICES, rsi(P)), talib.RSI(PRICES, 14))


@pytest.mark.parametrize("bars", [1, 5, 20])
def test_returns_equal_talib(bars: int):
    assert_equal(over(PRICES, simple_return(P, bars)), talib.ROCP(PRICES, bars))


def test_macd_equals_pandas_recursive_averages():
    price = pd.Series(PRICES)
    line = price.ewm(span=12, adjust=False).mean() - price.ewm(span=26, adjust=False).mean()
    line[:25] = np.nan
    signal = line[25:].ewm(span=9, adjust=False).mean().reindex(line.index)
    signal[:33] = np.nan
    assert_equal(over(PRICES, macd(P)), line.to_numpy())
    assert_equal(over(PRICES, macd_signal(P)), signal.to_numpy())


def test_momentum_12_1_leaves_out_the_last_month():
    values = over([100.0] + [50.0] * 230 + [120.0] + [7.0] * 21, momentum_12_1(P))
    assert values[252] == pytest.approx(0.2)
    assert values.null_count() == 252


def test_wilder_average_by_hand():
    # seed (1 + 2 + 3) / 3 = 2, then 2 + (8 - 2) / 3 = 4, then 4 + (1 - 4) / 3 = 3
    assert over([None, 1.0, 2.0, 3.0, 8.0, 1.0], wilder_average(P, 3)).to_list() == [None, None, None, 2.0, 4.0, 3.0]


def test_rsi_of_a_price_that_never_moves_is_50():
    assert over([10.0] * 20, rsi(P))[-1] == 50.0


@pytest.mark.parametrize("length", [0, 1, 13, 14])
def test_a_short_history_gives_nulls_of_its_own_length(length: int):
    for expr in (rsi(P), macd_signal(P), momentum_12_1(P)):
        values = over(PRICES[:length], expr)
        assert len(values) == length
        assert values.null_count() == length
