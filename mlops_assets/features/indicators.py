"""Technical indicators as the field defines them: expressions over one symbol's series in order of time.

Every one is null until its window is full, and uses no later value. Where a quotient has nothing to divide by (a price
that never moved, no shares traded) it is null, unless its docstring names a value.

Measures that share their work are fields of one struct, `bollinger_bands(price).struct.field("upper")`: columns that
are fields of the same struct are computed together. Sums run in order of time (rolling and recursive kernels only), so
the same rows give the same bits on any machine.
"""

from __future__ import annotations

import math
import sys

import polars as pl

YEAR_SESSIONS = 252
ROUNDING = 1e-9
"""Relative moves up to this are rounding of the adjusted prices."""


def simple_return(price: pl.Expr, bars: int) -> pl.Expr:
    """Return P[t] / P[t - bars] - 1, a fraction."""
    return price / price.shift(bars) - 1


def momentum_12_1(price: pl.Expr, *, month_bars: int = 21, year_bars: int = 252) -> pl.Expr:
    """Return the return of the last year without its last month, P[t-21] / P[t-252] - 1.

    Source: Jegadeesh and Titman, Returns to Buying Winners and Selling Losers, Journal of Finance 48 (1993).
    """
    return price.shift(month_bars) / price.shift(year_bars) - 1


def sma(price: pl.Expr, window: int) -> pl.Expr:
    """Return the simple moving average, each of the last `window` values with equal weight."""
    return price.rolling_mean(window)


def ema(price: pl.Expr, span: int) -> pl.Expr:
    """Return the exponential moving average, alpha = 2 / (span + 1), started at the first value.

    Null for the first span - 1 values.
    """
    return price.ewm_mean(span=span, adjust=False, min_samples=span)


def macd(price: pl.Expr, *, fast: int = 12, slow: int = 26, signal: int = 9) -> pl.Expr:
    """Return a struct in price units: `line` EMA fast - EMA slow, `signal` the EMA of it, `histogram` the difference.

    Source: Appel, Technical Analysis: Power Tools for Active Investors (2005). Averages start at their first value; the
    signal starts at the line's first value that is not null.
    """
    line = ema(price, fast) - ema(price, slow)
    smoothed = pl.struct(line=line).struct.with_fields(signal=ema(pl.field("line"), signal))
    return smoothed.struct.with_fields(histogram=pl.field("line") - pl.field("signal"))


def rsi(price: pl.Expr, period: int = 14) -> pl.Expr:
    """Return the relative strength index, 0 to 100; 50 where the price never moved.

    Source: Wilder, New Concepts in Technical Trading Systems (1978): 100 G / (G + L) with averages of gains G and of
    losses L. The average change is G - L and the average move G + L, so this is 50 + 50 (G - L) / (G + L).
    """
    change = price.diff()
    move = wilder_average(change.abs(), period)
    return 50 + 50 * (wilder_average(change, period) / move.clip(lower_bound=sys.float_info.min))


def wilder_average(values: pl.Expr, period: int) -> pl.Expr:
    """Return Wilder's smoothed average, started at the first value that is not null.

    The simple mean of the first `period` values, then A[t] = A[t-1] + (x[t] - A[t-1]) / period. A null stays null and
    leaves the average as it was.
    """
    value, count = pl.field("value"), pl.field("value").cum_count()
    seed = pl.when(count == period).then(value.cum_sum() / period)
    seeded = pl.struct(value=values).struct.with_fields(seeded=pl.when(count > period).then(value).otherwise(seed))
    return seeded.struct.field("seeded").ewm_mean(alpha=1 / period, adjust=False, ignore_nulls=True)


def true_range(high: pl.Expr, low: pl.Expr, close: pl.Expr) -> pl.Expr:
    """Return the day's range, widened to yesterday's close; null on the first bar.

    Source: Wilder (1978): max(H, C[t-1]) - min(L, C[t-1]).
    """
    before = close.shift(1)
    return (high - low) + (before - high).clip(lower_bound=0) + (low - before).clip(lower_bound=0)


def average_true_range(high: pl.Expr, low: pl.Expr, close: pl.Expr, period: int = 14) -> pl.Expr:
    """Return Wilder's average of the true range, in price units."""
    return wilder_average(true_range(high, low, close), period)


def bollinger_bands(price: pl.Expr, window: int = 20, sigmas: float = 2.0) -> pl.Expr:
    """Return a struct: `upper`, `middle` and `lower` in price units, `width` and `position` as fractions.

    Source: Bollinger, Bollinger on Bollinger Bands (2001). The deviation is that of the population, divided by
    `window`; width is (upper - lower) / middle; position is (P - lower) / (upper - lower): 0 on the lower band, 1 on
    the upper. It is null where the price did not move: a deviation up to a billionth of the price is rounding.
    """
    # No value lies further than this from a mean that it is part of (Samuelson 1968).
    reach = math.sqrt(window - 1) / (2 * sigmas)
    now, middle, deviation = pl.field("price"), pl.field("middle"), pl.field("deviation")
    bands = pl.struct(price=price, middle=sma(price, window), deviation=price.rolling_std(window, ddof=0))
    position = 0.5 + (now - middle) / (2 * sigmas * above(ROUNDING * now, deviation))
    return bands.struct.with_fields(
        upper=middle + sigmas * deviation,
        lower=middle - sigmas * deviation,
        width=2 * sigmas * deviation / middle,
        position=position.clip(0.5 - reach, 0.5 + reach),
    ).struct.drop(["price", "deviation"])


def annual_volatility(price: pl.Expr, window: int) -> pl.Expr:
    """Return the standard deviation of daily simple returns (divided by window - 1) times the square root of 252."""
    return simple_return(price, 1).rolling_std(window) * math.sqrt(YEAR_SESSIONS)


def drawdown(price: pl.Expr, window: int = YEAR_SESSIONS) -> pl.Expr:
    """Return P / (highest of the last `window` closes, today's among them) - 1: zero at a high, else negative."""
    return price / price.rolling_max(window) - 1


def average_volume(volume: pl.Expr, split_factor: pl.Expr, window: int = 20) -> pl.Expr:
    """Return a struct: `average` in shares of day t, and `ratio` of the day's volume to it.

    With C the split factor, v / C counts in shares of the first day, so the average is C[t] mean(v[s] / C[s]). The
    ratio is null where nothing was traded in the window.
    """
    comparable, mean = pl.field("comparable"), pl.field("mean")
    # A sum over a moving window keeps a rounding error of what has left it, which may be below zero.
    means = pl.struct(
        split_factor=split_factor,
        comparable=volume / split_factor,
        mean=(volume / split_factor).rolling_mean(window).clip(lower_bound=0),
        was_traded=volume.rolling_max(window) > 0,
    )
    return means.struct.with_fields(
        average=pl.field("split_factor") * mean,
        ratio=pl.when(pl.field("was_traded")).then((comparable / mean).clip(0.0, window)),
    ).struct.drop(["split_factor", "comparable", "mean", "was_traded"])


def on_balance_volume(price: pl.Expr, volume: pl.Expr, split_factor: pl.Expr) -> pl.Expr:
    """Return the sum of volumes, those of falling days negative and of unchanged days zero, in shares of day t.

    Source: Granville, New Key to Stock Market Profits (1963). It starts at the first day's volume, as TA-Lib does.
    """
    direction = price.diff().sign().fill_null(1.0)
    return split_factor * (direction * (volume / split_factor)).cum_sum()


def index_relation(price: pl.Expr, index: pl.Expr, window: int) -> pl.Expr:
    """Return a struct of daily simple returns of a stock and the index: `beta` and `correlation`.

    Sources: Sharpe, Capital Asset Prices, Journal of Finance 19 (1964), without a riskless rate: cov(r, m) / var(m),
    null where the index did not move; Pearson's correlation, null where either did not.
    """
    stock, market = pl.field("stock"), pl.field("market")
    returns = pl.struct(stock=simple_return(price, 1), market=simple_return(index, 1))
    means = returns.struct.with_fields(
        product=(stock * market).rolling_mean(window),
        mean=stock.rolling_mean(window),
        market_mean=market.rolling_mean(window),
        # The mean of daily returns is far below their deviation: subtracting its square loses nothing.
        square=(stock * stock).rolling_mean(window),
        market_square=(market * market).rolling_mean(window),
    )
    mean, market_mean = pl.field("mean"), pl.field("market_mean")
    moments = means.struct.with_fields(
        covariance=pl.field("product") - mean * market_mean,
        stock_variance=pl.field("square") - mean * mean,
        market_variance=pl.field("market_square") - market_mean * market_mean,
    )
    covariance, market_variance = pl.field("covariance"), above(ROUNDING**2, pl.field("market_variance"))
    stock_variance = above(ROUNDING**2, pl.field("stock_variance"))
    return moments.struct.with_fields(
        beta=covariance / market_variance,
        correlation=(covariance / (stock_variance.sqrt() * market_variance.sqrt())).clip(-1.0, 1.0),
    ).struct.drop(
        [
            *("stock", "market", "product", "mean", "market_mean", "square", "market_square"),
            *("covariance", "stock_variance", "market_variance"),
        ]
    )


def above(floor: pl.Expr | float, values: pl.Expr) -> pl.Expr:
    """Return the values above a floor and null for others: something to divide by."""
    return pl.when(values > floor).then(values)
