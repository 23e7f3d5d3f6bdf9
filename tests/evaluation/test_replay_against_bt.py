"""A second engine: `bt` keeps its own account of the same decisions, on the real bars of the sample."""

import bt
import numpy as np
import pandas as pd
import pytest

from mlops_assets.catalog.strategies import buy_and_hold, sma_crossover
from mlops_assets.evaluation.market import market_of
from mlops_assets.evaluation.replay import replay
from tests.evaluation.worlds import real_bars, scenario

WINDOWS = [("2020-01-02", "2020-12-31"), ("2014-01-02", "2018-12-31")]


class TradeTargets(bt.Algo):
    """Trade the day's targets by bt's own position, value and cash; sales first, purchases within the cash."""

    def __init__(self, targets: pd.DataFrame, cost: float) -> None:
        super().__init__()
        self.targets, self.cost = targets, cost

    def __call__(self, target) -> bool:
        if target.now not in self.targets.index:
            return True
        wanted = self.targets.loc[target.now].dropna()
        equity, price = target.value, target.universe.loc[target.now]
        held = {name: target[name].position if name in target.children else 0.0 for name in wanted.index}
        change = {
            name: -held[name] if weight == 0 else (weight * equity - held[name] * price[name]) / price[name]
            for name, weight in wanted.items()
        }
        for name, quantity in change.items():
            if quantity < 0:
                target.transact(quantity, name)
        buys = {name: quantity for name, quantity in change.items() if quantity > 0}
        outlay = sum(quantity * price[name] for name, quantity in buys.items()) * (1 + self.cost)
        scale = min(1.0, target.capital / outlay) if outlay else 0.0
        for name, quantity in buys.items():
            target.transact(quantity * scale, name)
        return True


def bt_replay(prices: pd.DataFrame, algos: list, cost: float, cash: float) -> bt.Backtest:
    test = bt.Backtest(
        bt.Strategy("s", algos),
        prices,
        initial_capital=cash,
        commissions=lambda quantity, price: abs(quantity) * price * cost,
        integer_positions=False,
        progress_bar=False,
    )
    bt.run(test)
    return test


def spec_of(start: str, end: str):
    return scenario(
        window={"start": start, "end": end},
        warm_up_days=252,
        costs={"commission_bps": 10, "slippage_bps": 5},
        position_limit=0.2,
        initial_cash=100_000.0,
    )


@pytest.mark.parametrize(("start", "end"), WINDOWS)
@pytest.mark.parametrize("strategy", [buy_and_hold.STRATEGY, sma_crossover.STRATEGY], ids=lambda one: one.name)
def test_bt_reaches_the_same_equity_by_the_same_fills(strategy, start, end):
    spec = spec_of(start, end)
    market = market_of(spec, real_bars())
    targets = strategy.signal(market, **strategy.parameters)
    ours = replay(market, targets, spec)

    prices = pd.DataFrame(market.prices, index=pd.DatetimeIndex(market.dates), columns=list(market.symbols))
    window = prices.iloc[market.window_start :]
    decided = pd.DataFrame(targets, index=prices.index, columns=prices.columns)
    in_force = decided.iloc[: market.window_start + 1].ffill().iloc[-1]
    decided = decided.iloc[market.window_start :].copy()
    decided.iloc[0] = in_force
    traded = decided.shift(1).iloc[1:]  # filled at the next close
    theirs = bt_replay(window, [TradeTargets(traded, spec.costs.fraction)], spec.costs.fraction, spec.initial_cash)

    values = theirs.strategy.values.loc[window.index].to_numpy()
    assert np.max(np.abs(ours.equity / values - 1)) < 1e-9
    shares = theirs.strategy.positions.diff().fillna(theirs.strategy.positions.iloc[:1]).stack()
    their_fills = shares[shares.abs() > 1e-12]
    our_fills = pd.Series({(pd.Timestamp(fill.date), fill.symbol): fill.quantity for fill in ours.fills})
    assert set(their_fills.index) == set(our_fills.index)
    assert np.max(np.abs(their_fills.reindex(our_fills.index) / our_fills - 1)) < 1e-9


@pytest.mark.parametrize(("start", "end"), WINDOWS)
def test_bts_own_equal_weights_buy_and_hold_the_same(start, end):
    """Nothing of ours decides here: bt chooses the quantities, too."""
    spec = spec_of(start, end)
    market = market_of(spec, real_bars())
    ours = replay(market, buy_and_hold.STRATEGY.signal(market), spec)
    prices = pd.DataFrame(market.prices, index=pd.DatetimeIndex(market.dates), columns=list(market.symbols))
    window = prices.iloc[market.window_start :]
    algos = [bt.algos.RunOnDate(window.index[1]), bt.algos.SelectAll(), bt.algos.WeighEqually(), bt.algos.Rebalance()]
    theirs = bt_replay(window, algos, spec.costs.fraction, spec.initial_cash)
    values = theirs.strategy.values.loc[window.index].to_numpy()
    assert np.max(np.abs(ours.equity / values - 1)) < 1e-9
