"""Technical indicators as the field defines them: expressions over one symbol's series in order of time.

Every one is null until its window is full, and uses no later value.
"""

from __future__ import annotations

import polars as pl


def simple_return(price: pl.Expr, bars: int) -> pl.Expr:
    """Return P[t] / P[t - bars] - 1, a fraction."""
    return price / price.shift(bars) - 1


def momentum_12_1(price: pl.Expr, *, month_bars: int = 21, year_bars: int = 252) -> pl.Expr:
    """Return the return of the last year without its last month, P[t-21] / P[t-252] - 1.

    Source: Jegadeesh and Titman, Returns to Buying Winners and Selling Losers, Journal of Finance 48 (1993).
    """
    return price.shift(month_bars) / price.shift(year_bars) - 1


def ema(price: pl.Expr, span: int) -> pl.Expr:
    """Return the exponential moving average, alpha = 2 / (span + 1), started at the first value.

    Null for the first span - 1 values.
    """
    return price.ewm_mean(span=span, adjust=False, min_samples=span)


def macd(price: pl.Expr, *, fast: int = 12, slow: int = 26) -> pl.Expr:
    """Return EMA fast - EMA slow, in price units.

    Source: Appel, Technical Analysis: Power Tools for Active Investors (2005). Averages start at their first value.
    """
    return ema(price, fast) - ema(price, slow)


def macd_signal(price: pl.Expr, *, fast: int = 12, slow: int = 26, signal: int = 9) -> pl.Expr:
    """Return the EMA of MACD, started at MACD's first value."""
    return ema(macd(price, fast=fast, slow=slow), signal)


def rsi(price: pl.Expr, period: int = 14) -> pl.Expr:
    """Return the relative strength index, 0 to 100; 50 where the price never moved.

    Source: Wilder, New Concepts in Technical Trading Systems (1978): averages of gains and of losses, seeded with the
    simple mean of the first `period` changes, then smoothed with alpha = 1 / period.
    """
    change = price.diff()
    gain = wilder_average(change.clip(lower_bound=0), period)
    loss = wilder_average((-change).clip(lower_bound=0), period)
    return (100 * gain / (gain + loss)).fill_nan(50.0)


def wilder_average(values: pl.Expr, period: int) -> pl.Expr:
    """Return Wilder's smoothed average, started at the first value that is not null.

    The simple mean of the first `period` values, then A[t] = A[t-1] + (x[t] - A[t-1]) / period.
    """
    count = values.cum_count()
    is_seed = (count == period) & values.is_not_null()
    seeded = pl.when(is_seed).then(values.rolling_mean(period)).when(count > period).then(values)
    return seeded.ewm_mean(alpha=1 / period, adjust=False)
