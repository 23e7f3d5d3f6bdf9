"""What an account would have done: target weights in, fills and an equity curve out.

The rules, all of them. A target of one close is filled at the next close. An order is the difference between the
target's value (weight x equity at the fill's close, before costs) and what is held; shares are fractional. Exits sell
exactly what is held. Costs are a fraction of the traded notional and leave the cash account. Sales come first; if the
purchases of a day and their costs exceed the cash then there, all are scaled by one factor: nothing is borrowed.
Orders below one dollar are not sent, exits excepted. A target above the position limit is cut to it; a position that
grows past the limit by its price is not trimmed. Targets in force, cut to the limit, may not add up to more than all
equity. Sums are `math.fsum`, so the order of symbols changes nothing.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from mlops_assets.evaluation.market import Market
from mlops_assets.evaluation.spec import Scenario
from mlops_assets.kernel.errors import PlatformError

Floats = NDArray[np.float64]

SMALLEST_ORDER_USD = 1.0
_ROUNDING = 1e-9  # equal parts of equity may add up to a little more than all of it
ENGINE_MODULES = (
    "mlops_assets.evaluation.market",
    "mlops_assets.evaluation.replay",
    "mlops_assets.evaluation.ticks",
)
"""The modules whose source decides what a replay gives; their fingerprint is part of its identity."""


class InvalidSignal(PlatformError):
    """A strategy returned something that can't be traded."""

    code = "invalid_signal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One executed order. `quantity` is negative for a sale, `cost` is positive, `weight` is the target it serves."""

    date: date
    symbol: str
    quantity: float
    price: float
    cost: float
    weight: float

    @property
    def notional(self) -> float:
        return abs(self.quantity) * self.price


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """One value a day of the window, and the fills in order of date and symbol.

    `equity` and `cash` in USD after the day's fills, `exposure` as a fraction of equity, `turnover` the traded
    notional (bought and sold) as a fraction of the equity before the fills.
    """

    dates: NDArray[np.datetime64]
    equity: Floats
    cash: Floats
    exposure: Floats
    turnover: Floats
    fills: tuple[Fill, ...]

    @property
    def returns(self) -> Floats:
        """Return the day-to-day returns, one fewer than days."""
        return self.equity[1:] / self.equity[:-1] - 1.0

    @property
    def fingerprint(self) -> str:
        """Identify the result: SHA-256 over the equity curve and every fill, to the last bit."""
        digest = hashlib.sha256()
        digest.update(self.dates.astype("datetime64[D]").astype("<i8").tobytes())
        for series in (self.equity, self.cash, self.exposure, self.turnover):
            digest.update(_bits(series))
        for fill in self.fills:
            digest.update(f"{fill.date.isoformat()}|{fill.symbol}|".encode())
            digest.update(_bits([fill.quantity, fill.price, fill.cost, fill.weight]))
        return digest.hexdigest()

    def between(self, start: date, end: date) -> Replay:
        """Return the days from `start` to `end`, both inclusive, and their fills."""
        inside = (self.dates >= np.datetime64(start)) & (self.dates <= np.datetime64(end))
        return Replay(
            dates=self.dates[inside],
            equity=self.equity[inside],
            cash=self.cash[inside],
            exposure=self.exposure[inside],
            turnover=self.turnover[inside],
            fills=tuple(fill for fill in self.fills if start <= fill.date <= end),
        )


@dataclass(frozen=True, slots=True)
class _Orders:
    quantity: Floats
    cost: Floats


def replay(market: Market, targets: Floats, scenario: Scenario) -> Replay:
    """Trade `targets` (rows of `market`) over the scenario's window.

    Raises:
        InvalidSignal: if targets have the wrong shape, are negative or infinite, or those in force on a day ask for
            more than all equity.
    """
    wanted = _tradable(market, targets, scenario)
    prices = market.prices[market.window_start :]
    dates = market.dates[market.window_start :]
    days = len(dates)
    equity, cash, exposure, turnover = (np.zeros(days) for _ in range(4))
    equity[0] = cash[0] = scenario.initial_cash
    held = np.zeros(len(market.symbols))
    fills: list[Fill] = []
    for day in range(1, days):
        orders = _orders(wanted[day - 1], prices[day], held, cash[day - 1], scenario.costs.fraction)
        before = cash[day - 1] + math.fsum(held * prices[day])
        notional = orders.quantity * prices[day]
        cash[day] = cash[day - 1] - math.fsum(notional) - math.fsum(orders.cost)
        held = held + orders.quantity
        value = held * prices[day]
        equity[day] = cash[day] + math.fsum(value)
        exposure[day] = math.fsum(np.abs(value)) / equity[day]
        turnover[day] = math.fsum(np.abs(notional)) / before
        fills.extend(_fills(dates[day], market.symbols, orders, prices[day], wanted[day - 1]))
    return Replay(dates=dates, equity=equity, cash=cash, exposure=exposure, turnover=turnover, fills=tuple(fills))


def _tradable(market: Market, targets: Floats, scenario: Scenario) -> Floats:
    """Return the targets of the window, cut to the position limit; its first row holds those in force."""
    if targets.shape != market.prices.shape:
        raise InvalidSignal(f"targets have shape {targets.shape}, the market {market.prices.shape}: one per bar.")
    if np.isinf(targets).any() or (targets < 0).any():
        raise InvalidSignal("targets must be at least 0 and finite, or NaN to keep what is held; none may be short.")
    limited = np.minimum(targets, scenario.position_limit)
    in_force: NDArray[np.float64] = limited[0]
    for row in limited[1 : market.window_start + 1]:
        in_force = np.where(np.isnan(row), in_force, row)
    wanted = limited[market.window_start :].copy()
    wanted[0] = in_force
    _require_no_more_than_all(wanted, market.dates[market.window_start :])
    return wanted


def _require_no_more_than_all(wanted: Floats, dates: NDArray[np.datetime64]) -> None:
    """Refuse targets that ask for more than all equity on any day; NaN leaves the target before it in force."""
    in_force = np.zeros(wanted.shape[1])
    for day, row in zip(dates, wanted, strict=True):
        in_force = np.where(np.isnan(row), in_force, row)
        if (together := math.fsum(in_force)) > 1.0 + _ROUNDING:
            raise InvalidSignal(
                f"the targets in force on {day.astype('datetime64[D]')} add up to {together:.6g} of equity after the "
                "position limit, and an account can't hold more than 1. Scale the weights, or give what is to be sold "
                "a target of 0: NaN keeps it."
            )


def _orders(wanted: Floats, price: Floats, held: Floats, cash: float, cost_fraction: float) -> _Orders:
    """Decide one day's orders at `price`; see the rules above."""
    equity = cash + math.fsum(held * price)
    target_value = np.where(np.isnan(wanted), held * price, wanted * equity)
    quantity = np.where(np.isnan(wanted), 0.0, (target_value - held * price) / price)
    is_exit = (wanted == 0.0) & (held != 0.0)
    quantity = np.where(is_exit, -held, quantity)
    is_too_small = (np.abs(quantity) * price < SMALLEST_ORDER_USD) & ~is_exit
    quantity = np.where(is_too_small, 0.0, quantity)
    bought, sold = np.maximum(quantity, 0.0), np.minimum(quantity, 0.0)
    available = max(cash - math.fsum(sold * price) * (1.0 - cost_fraction), 0.0)
    outlay = math.fsum(bought * price) * (1.0 + cost_fraction)
    if outlay > available:
        bought = bought * (available / outlay)
        bought = np.where(bought * price < SMALLEST_ORDER_USD, 0.0, bought)
    quantity = bought + sold
    return _Orders(quantity=quantity, cost=np.abs(quantity) * price * cost_fraction)


def _fills(
    day: np.datetime64, symbols: tuple[str, ...], orders: _Orders, price: Floats, wanted: Floats
) -> Iterable[Fill]:
    for index in np.flatnonzero(orders.quantity):
        yield Fill(
            date=day.astype("datetime64[D]").item(),
            symbol=symbols[index],
            quantity=float(orders.quantity[index]),
            price=float(price[index]),
            cost=float(orders.cost[index]),
            weight=float(wanted[index]),
        )


def _bits(values: Floats | list[float]) -> bytes:
    """Return little-endian doubles; adding zero turns -0.0 into 0.0."""
    return (np.asarray(values, dtype="<f8") + 0.0).tobytes()
