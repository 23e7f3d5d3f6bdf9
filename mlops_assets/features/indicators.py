"""Technical indicators as the field defines them, each on one symbol's series in order of time.

Every function returns a series of the input's length, null until its window is full, and uses no later value.
"""

from __future__ import annotations

import polars as pl


def simple_return(price: pl.Series, bars: int) -> pl.Series:
    """Return P[t] / P[t - bars] - 1, a fraction."""
    return price / price.shift(bars) - 1


def momentum_12_1(price: pl.Series, *, month_bars: int = 21, year_bars: int = 252) -> pl.Series:
    """Return the return of the last year without its last month, P[t-21] / P[t-252] - 1.

    Source: Jegadeesh and Titman, Returns to Buying Winners and Selling Losers, Journal of Finance 48 (1993).
    """
    return price.shift(month_bars) / price.shift(year_bars) - 1


def ema(price: pl.Series, span: int) -> pl.Series:
    """Return the exponential moving average, alpha = 2 / (span + 1), started at the first value.

    Null for the first span - 1 bars.
    """
    return price.ewm_mean(span=span, adjust=False, min_samples=span)


def macd(price: pl.Series, *, fast: int = 12, slow: int = 26, signal: int = 9) -> pl.DataFrame:
    """Return columns macd = EMA fast - EMA slow, macd_signal = its EMA, macd_hist = their difference, in price units.

    Source: Appel, Technical Analysis: Power Tools for Active Investors (2005). Averages start at their first value.
    """
    line = ema(price, fast) - ema(price, slow)
    warm_up = slow - 1
    smoothed = line.slice(warm_up).ewm_mean(span=signal, adjust=False, min_samples=signal)
    average = pl.concat([pl.Series([None] * min(warm_up, len(line)), dtype=pl.Float64), smoothed])
    return pl.DataFrame({"macd": line, "macd_signal": average, "macd_hist": line - average})


def rsi(price: pl.Series, period: int = 14) -> pl.Series:
    """Return the relative strength index, 0 to 100; 50 where the price never moved.

    Source: Wilder, New Concepts in Technical Trading Systems (1978): averages of gains and of losses, seeded with the
    simple mean of the first `period` changes, then smoothed with alpha = 1 / period.
    """
    change = price.diff()
    gain, loss = (wilder_average(part, period) for part in (change.clip(lower_bound=0), (-change).clip(lower_bound=0)))
    strength = 100 * gain / (gain + loss)
    return strength.fill_nan(50.0)


def wilder_average(values: pl.Series, period: int) -> pl.Series:
    """Return Wilder's smoothed average of `values`, whose first element is undefined (a difference).

    At index `period` it is the simple mean of elements 1 to `period`; then A[t] = A[t-1] + (x[t] - A[t-1]) / period.
    """
    if len(values) <= period:
        return pl.Series([None] * len(values), dtype=pl.Float64)
    seed = values.slice(1, period).mean()
    smoothed = pl.concat([pl.Series([seed], dtype=pl.Float64), values.slice(period + 1)]).ewm_mean(
        alpha=1 / period, adjust=False
    )
    return pl.concat([pl.Series([None] * period, dtype=pl.Float64), smoothed])
