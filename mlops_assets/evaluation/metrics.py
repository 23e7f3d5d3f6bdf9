"""How well an account did: each metric with its definition, its source and when it is undefined.

Returns are daily, from one close to the next. A year has 252 trading days and the risk-free rate is 0. A metric that
is not defined is None, never a number that stands for it.

A metric is sealed to the last bit, so no sum here is numpy's or a BLAS's, whose order of adding depends on the
processor: sums are `math.fsum`, which rounds once, and what is left of numpy works element by element.
"""

from __future__ import annotations

import inspect
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mlops_assets.evaluation.replay import Fill, Replay

Unit = Literal["fraction", "ratio", "count", "USD", "days"]
YEAR_DAYS = 252
_NO_VARIATION = 1e-15


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric; `compute` takes a replay and the baseline's, and its docstring is the definition."""

    name: str
    title: str
    unit: Unit
    compute: Callable[[Replay, Replay], float | None]
    undefined_when: str

    @property
    def definition(self) -> str:
        return " ".join((inspect.getdoc(self.compute) or "").split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawdown:
    """The deepest fall: `depth` is negative; `recovered` is None while the peak has not been reached again."""

    depth: float
    peak: date
    trough: date
    recovered: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """One position from flat to flat in one symbol; `profit` is net of costs, in USD."""

    symbol: str
    opened: date
    closed: date
    profit: float
    cost: float


def deepest_drawdown(result: Replay) -> Drawdown:
    """Find the largest fall of equity from a running peak, in closing values."""
    peaks = np.maximum.accumulate(result.equity)
    falls = result.equity / peaks - 1.0
    trough = int(np.argmin(falls))
    peak = int(np.argmax(result.equity[: trough + 1]))
    back = np.flatnonzero(result.equity[trough:] >= result.equity[peak])
    return Drawdown(
        depth=float(falls[trough]),
        peak=_day(result.dates[peak]),
        trough=_day(result.dates[trough]),
        recovered=_day(result.dates[trough + int(back[0])]) if len(back) else None,
    )


def round_trips(fills: Iterable[Fill]) -> list[RoundTrip]:
    """Pair fills into closed round trips, in order of closing; a position still open is none."""
    held: dict[str, float] = defaultdict(float)
    cash: dict[str, float] = defaultdict(float)
    cost: dict[str, float] = defaultdict(float)
    opened: dict[str, date] = {}
    closed: list[RoundTrip] = []
    for fill in fills:
        symbol = fill.symbol
        opened.setdefault(symbol, fill.date)
        held[symbol] += fill.quantity
        cash[symbol] -= fill.quantity * fill.price + fill.cost
        cost[symbol] += fill.cost
        if held[symbol] == 0.0:  # exits sell exactly what is held
            trip = RoundTrip(
                symbol=symbol,
                opened=opened.pop(symbol),
                closed=fill.date,
                profit=cash.pop(symbol),
                cost=cost.pop(symbol),
            )
            closed.append(trip)
    return closed


def total_return(result: Replay, _: Replay) -> float | None:
    """Last equity over first equity, minus 1; net of costs."""
    return float(result.equity[-1] / result.equity[0] - 1.0)


def annualised_return(result: Replay, _: Replay) -> float | None:
    """Last equity over first equity, to the power of 252 over the number of daily returns, minus 1 (geometric)."""
    growth = float(result.equity[-1] / result.equity[0])
    return growth ** (YEAR_DAYS / (len(result.equity) - 1)) - 1.0


def volatility(result: Replay, _: Replay) -> float | None:
    """Sample standard deviation (n - 1) of daily returns, times the square root of 252."""
    return None if len(result.returns) < 2 else _deviation(result.returns) * math.sqrt(YEAR_DAYS)


def sharpe_ratio(result: Replay, _: Replay) -> float | None:
    """Mean daily return over its sample standard deviation (n - 1), times the square root of 252 (Sharpe 1994)."""
    return _annualised_ratio(result.returns)


def sortino_ratio(result: Replay, _: Replay) -> float | None:
    """Mean daily return over the root mean square of its negative part over all days, times the square root of 252
    (Sortino and Price 1994, target 0)."""
    downside = math.sqrt(_mean(np.minimum(result.returns, 0.0) ** 2))
    return None if downside < _NO_VARIATION else _mean(result.returns) / downside * math.sqrt(YEAR_DAYS)


def calmar_ratio(result: Replay, baseline: Replay) -> float | None:
    """Annualised return over the absolute maximum drawdown, both over the whole window (Young 1991)."""
    depth = deepest_drawdown(result).depth
    growth = annualised_return(result, baseline)
    return None if depth == 0.0 or growth is None else growth / abs(depth)


def maximum_drawdown(result: Replay, _: Replay) -> float | None:
    """Largest fall of closing equity below its running peak, as a negative fraction of the peak (compounded)."""
    return deepest_drawdown(result).depth


def value_at_risk_95(result: Replay, _: Replay) -> float | None:
    """5 % quantile of daily returns, historical, linear between order statistics; a loss is negative."""
    return float(np.quantile(result.returns, 0.05))


def conditional_value_at_risk_95(result: Replay, _: Replay) -> float | None:
    """Mean of the daily returns at or below the 5 % quantile; a loss is negative (expected shortfall)."""
    return _mean(result.returns[result.returns <= np.quantile(result.returns, 0.05)])


def turnover(result: Replay, _: Replay) -> float | None:
    """Half of the notional bought and sold, each day as a fraction of that day's equity, summed, per 252 days."""
    return math.fsum(result.turnover) / 2.0 * YEAR_DAYS / (len(result.equity) - 1)


def exposure(result: Replay, _: Replay) -> float | None:
    """Mean over the window's closes of the value of positions as a fraction of equity."""
    return _mean(result.exposure)


def trades(result: Replay, _: Replay) -> float | None:
    """Closed round trips: positions from flat to flat in one symbol. Positions still open are not counted."""
    return float(len(round_trips(result.fills)))


def win_rate(result: Replay, _: Replay) -> float | None:
    """Closed round trips with a profit after costs, as a fraction of all closed round trips."""
    trips = round_trips(result.fills)
    return sum(trip.profit > 0 for trip in trips) / len(trips) if trips else None


def profit_factor(result: Replay, _: Replay) -> float | None:
    """Profits of winning round trips over losses of losing ones, after costs."""
    profits = [trip.profit for trip in round_trips(result.fills)]
    losses = -math.fsum(profit for profit in profits if profit < 0)
    return math.fsum(profit for profit in profits if profit > 0) / losses if losses > 0 else None


def alpha(result: Replay, baseline: Replay) -> float | None:
    """Mean daily return minus beta times the baseline's, times 252 (Jensen 1968, arithmetic)."""
    slope = beta(result, baseline)
    if slope is None:
        return None
    return (_mean(result.returns) - slope * _mean(baseline.returns)) * YEAR_DAYS


def beta(result: Replay, baseline: Replay) -> float | None:
    """Covariance of daily returns with the baseline's over the variance of the baseline's (Sharpe 1964)."""
    if len(result.returns) < 2:
        return None
    variance = _covariance(baseline.returns, baseline.returns)
    return None if variance < _NO_VARIATION**2 else _covariance(result.returns, baseline.returns) / variance


def information_ratio(result: Replay, baseline: Replay) -> float | None:
    """Mean daily return in excess of the baseline over its sample standard deviation, times the square root of 252
    (Grinold and Kahn 2000)."""
    return _annualised_ratio(result.returns - baseline.returns)


def _metric(
    compute: Callable[[Replay, Replay], float | None], title: str, unit: Unit, undefined_when: str = ""
) -> Metric:
    return Metric(name=compute.__name__, title=title, unit=unit, compute=compute, undefined_when=undefined_when)


METRICS: tuple[Metric, ...] = (
    _metric(total_return, "Total return", "fraction"),
    _metric(annualised_return, "Annualised return", "fraction"),
    _metric(volatility, "Volatility", "fraction", "there are fewer than two returns"),
    _metric(sharpe_ratio, "Sharpe ratio", "ratio", "returns do not vary"),
    _metric(sortino_ratio, "Sortino ratio", "ratio", "no day lost money"),
    _metric(calmar_ratio, "Calmar ratio", "ratio", "equity never fell"),
    _metric(maximum_drawdown, "Maximum drawdown", "fraction"),
    _metric(value_at_risk_95, "Value at risk 95 %", "fraction"),
    _metric(conditional_value_at_risk_95, "Conditional value at risk 95 %", "fraction"),
    _metric(turnover, "Turnover a year", "ratio"),
    _metric(exposure, "Exposure", "fraction"),
    _metric(trades, "Trades", "count"),
    _metric(win_rate, "Win rate", "fraction", "no round trip was closed"),
    _metric(profit_factor, "Profit factor", "ratio", "no round trip lost money"),
)
RELATIVE_METRICS: tuple[Metric, ...] = (
    _metric(alpha, "Alpha", "fraction", "the baseline's returns do not vary"),
    _metric(beta, "Beta", "ratio", "the baseline's returns do not vary"),
    _metric(information_ratio, "Information ratio", "ratio", "it never differs from the baseline"),
)
BY_NAME: Mapping[str, Metric] = {metric.name: metric for metric in (*METRICS, *RELATIVE_METRICS)}


def measure(result: Replay) -> dict[str, float | None]:
    """Take every metric that needs no baseline."""
    return {metric.name: metric.compute(result, result) for metric in METRICS}


def compare(result: Replay, baseline: Replay) -> dict[str, float | None]:
    """Take the metrics that relate a replay to a baseline over the same days."""
    if not np.array_equal(result.dates, baseline.dates):
        raise ValueError("a replay and its baseline cover the same days")
    return {metric.name: metric.compute(result, baseline) for metric in RELATIVE_METRICS}


def _annualised_ratio(returns: NDArray[np.float64]) -> float | None:
    if len(returns) < 2:
        return None
    deviation = _deviation(returns)
    return None if deviation < _NO_VARIATION else _mean(returns) / deviation * math.sqrt(YEAR_DAYS)


def _mean(values: NDArray[np.float64]) -> float:
    return math.fsum(values) / len(values)


def _deviation(values: NDArray[np.float64]) -> float:
    """Return the sample standard deviation (n - 1)."""
    return math.sqrt(_covariance(values, values))


def _covariance(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Return the sample covariance (n - 1)."""
    return math.fsum((left - _mean(left)) * (right - _mean(right))) / (len(left) - 1)


def _day(value: np.datetime64) -> date:
    return value.astype("datetime64[D]").item()
