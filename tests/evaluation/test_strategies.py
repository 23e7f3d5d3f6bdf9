import math

import numpy as np
import pytest

from mlops_assets.catalog.strategies import buy_and_hold, signal_ml, sma_crossover
from mlops_assets.evaluation.checks import prefix_invariance
from mlops_assets.evaluation.market import Market
from mlops_assets.evaluation.replay import replay
from tests.evaluation.worlds import market, scenario

NAN = math.nan
SHIPPED = pytest.mark.parametrize(
    "module", [buy_and_hold, sma_crossover, signal_ml], ids=lambda module: module.STRATEGY.name
)


def probable(rows: list[list[float]], window_start: int = 0) -> Market:
    probabilities = np.array(rows)
    return Market(
        dates=np.datetime64("2020-01-02") + np.arange(len(rows)),
        symbols=tuple("ABCDEFGH"[: probabilities.shape[1]]),
        prices=np.ones_like(probabilities),
        probabilities=probabilities,
        window_start=window_start,
    )


def test_buy_and_hold_speaks_once():
    targets = buy_and_hold.STRATEGY.signal(market([1.0, 2.0], [3.0, 4.0]))
    assert targets[0].tolist() == [0.5, 0.5]
    assert np.isnan(targets[1]).all()


def test_sma_crossover_speaks_only_when_the_averages_cross():
    targets = sma_crossover.STRATEGY.signal(market([1.0, 2.0, 3.0, 3.0, 3.0, 1.0]), short=1, long=3)
    # the fourth and fifth days: 3 against 8/3 is still above, 3 against 3 a tie
    assert np.array_equal(targets.ravel(), [NAN, NAN, 1.0, NAN, NAN, 0.0], equal_nan=True)


def test_signal_ml_buys_the_likeliest_and_keeps_them_within_the_band():
    rows = [[0.9, 0.8, 0.7, 0.6], [0.7, 0.9, 0.8, 0.6], [0.6, 0.9, 0.8, 0.7], [0.4, 0.45, 0.3, 0.2]]
    targets = signal_ml.STRATEGY.signal(probable(rows), top_n=1, keep_n=3, floor=0.5, every_days=1)
    expected = [[1.0, NAN, NAN, NAN], [NAN] * 4, [0.0, 1.0, NAN, NAN], [NAN, 0.0, NAN, NAN]]
    assert np.array_equal(targets, expected, equal_nan=True)


def test_signal_ml_ranks_equal_probabilities_by_symbol_and_counts_days_from_the_window():
    rows = [[0.6, 0.6, 0.6]] * 5
    targets = signal_ml.STRATEGY.signal(probable(rows, window_start=1), top_n=2, keep_n=2, floor=0.5, every_days=3)
    assert np.array_equal(targets[1], [0.5, 0.5, NAN], equal_nan=True)
    assert np.isnan(targets[[0, 2, 3, 4]]).all()


def test_signal_ml_without_probabilities_says_so():
    with pytest.raises(ValueError, match="probabilities"):
        signal_ml.STRATEGY.signal(market([1.0, 1.0]), **signal_ml.STRATEGY.parameters)


@pytest.fixture(scope="module")
def world() -> Market:
    generator = np.random.default_rng(7)
    prices = 100 * np.exp(np.cumsum(generator.normal(0, 0.02, (300, 8)), axis=0))
    return Market(
        dates=np.datetime64("2020-01-02") + np.arange(300),
        symbols=tuple("ABCDEFGH"),
        prices=prices,
        probabilities=generator.uniform(0.3, 0.7, prices.shape),
        window_start=100,
    )


@SHIPPED
def test_no_shipped_strategy_sees_the_future(module, world):
    targets = module.STRATEGY.signal(world, **module.STRATEGY.parameters)
    assert prefix_invariance(module.STRATEGY, world, targets, cuts=200).is_passed


@SHIPPED
def test_no_shipped_strategy_asks_for_more_than_all_equity(module, world):
    targets = module.STRATEGY.signal(world, **module.STRATEGY.parameters)
    assert replay(world, targets, scenario(position_limit=1.0)).fills
