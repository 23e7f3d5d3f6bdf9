import math
from datetime import date

import ffn
import numpy as np
import pandas as pd
import pytest

from mlops_assets.catalog.strategies import sma_crossover
from mlops_assets.evaluation import metrics
from mlops_assets.evaluation.market import market_of
from mlops_assets.evaluation.metrics import METRICS, RELATIVE_METRICS, compare, deepest_drawdown, measure, round_trips
from mlops_assets.evaluation.replay import replay
from tests.evaluation.processors import printed_on_each
from tests.evaluation.worlds import curve, fill, real_bars, scenario

# returns +10 %, -10 %, +10 %: mean 1/30, sample variance 2 * (1/15)^2 + (2/15)^2 over 2 = 0.04 / 3
UP_DOWN_UP = curve([100.0, 110.0, 99.0, 108.9])


def test_every_metric_of_three_returns_by_hand():
    measured = measure(UP_DOWN_UP)
    deviation = math.sqrt(0.04 / 3)
    assert measured["total_return"] == pytest.approx(0.089)
    assert measured["annualised_return"] == pytest.approx(1.089 ** (252 / 3) - 1)
    assert measured["volatility"] == pytest.approx(deviation * math.sqrt(252))
    assert measured["sharpe_ratio"] == pytest.approx(1 / 30 / deviation * math.sqrt(252))
    assert measured["sortino_ratio"] == pytest.approx(1 / 30 / math.sqrt(0.01 / 3) * math.sqrt(252))
    assert measured["maximum_drawdown"] == pytest.approx(-0.1)
    assert measured["calmar_ratio"] == pytest.approx((1.089 ** (252 / 3) - 1) / 0.1)
    # sorted returns -0.1, 0.1, 0.1: the 5 % quantile lies a tenth of the way from the first to the second
    assert measured["value_at_risk_95"] == pytest.approx(-0.08)
    assert measured["conditional_value_at_risk_95"] == pytest.approx(-0.1)


def test_the_drawdown_names_its_peak_trough_and_recovery():
    fall = deepest_drawdown(curve([100, 120, 90, 110, 120, 60, 80]))
    assert (fall.depth, fall.peak, fall.trough, fall.recovered) == (-0.5, date(2020, 1, 3), date(2020, 1, 7), None)
    earlier = deepest_drawdown(curve([100, 120, 90, 110, 130, 120]))
    assert (earlier.depth, earlier.recovered) == (-0.25, date(2020, 1, 6))


def test_a_win_is_counted_per_closed_round_trip_and_not_per_purchase():
    fills = [
        fill(1, "A", 10, 10.0, 1.0),
        fill(2, "A", 10, 12.0, 1.0),
        fill(2, "B", 5, 20.0, 1.0),
        fill(3, "A", -5, 20.0, 1.0),
        fill(4, "A", -15, 11.0, 1.0),
        fill(5, "B", -5, 18.0, 1.0),
        fill(6, "A", 1, 10.0, 1.0),
    ]
    trips = round_trips(fills)
    # A: -100 - 120 + 100 + 165 - 4 = 41; B: -100 + 90 - 2 = -12; the last purchase is still open
    assert [(trip.symbol, trip.profit, trip.cost) for trip in trips] == [("A", 41.0, 4.0), ("B", -12.0, 2.0)]
    measured = measure(curve([100, 100], tuple(fills)))
    assert (measured["trades"], measured["win_rate"]) == (2.0, 0.5)
    assert measured["profit_factor"] == pytest.approx(41 / 12)


def test_turnover_is_half_of_what_was_bought_and_sold_a_year():
    result = curve([100.0] * 253)
    result.turnover[1] = result.turnover[2] = 0.5
    assert measure(result)["turnover"] == pytest.approx(0.5)


def test_what_is_not_defined_is_none_and_says_when():
    flat = measure(curve([100, 100, 100]))
    undefined = {name for name, value in flat.items() if value is None}
    assert undefined == {"sharpe_ratio", "sortino_ratio", "calmar_ratio", "win_rate", "profit_factor"}
    assert all(metric.undefined_when for metric in METRICS if metric.name in undefined)
    assert compare(curve([1, 2, 1]), curve([1, 1, 1]))["beta"] is None


def test_alpha_beta_and_information_ratio_by_hand():
    base = curve(np.cumprod([100, 1.01, 0.98, 1.02]).tolist())
    doubled = curve(np.cumprod([100, 1.021, 0.961, 1.041]).tolist())  # twice the baseline's return plus 0.1 % a day
    found = compare(doubled, base)
    assert found["beta"] == pytest.approx(2.0)
    assert found["alpha"] == pytest.approx(0.001 * 252)
    excess = np.array([0.011, -0.019, 0.021])
    assert found["information_ratio"] == pytest.approx(excess.mean() / excess.std(ddof=1) * math.sqrt(252))


def test_every_metric_carries_its_definition():
    for metric in (*METRICS, *RELATIVE_METRICS):
        assert len(metric.definition) > 30
        assert "\n" not in metric.definition


METRICS_OF_RANDOM_ACCOUNTS = """
import numpy as np
from mlops_assets.evaluation.metrics import compare, measure
from tests.evaluation.worlds import curve

generator = np.random.default_rng(3)
for days in range(900, 1000):
    market = generator.normal(0.0003, 0.01, days)
    own = 0.7 * market + generator.normal(0.0001, 0.004, days)
    account, base = (curve((1e5 * np.cumprod(1 + returns)).tolist()) for returns in (own, market))
    print(sorted(measure(account).items()), sorted(compare(account, base).items()))
"""


def test_no_processor_changes_a_bit_of_any_metric():
    (printed,) = printed_on_each(METRICS_OF_RANDOM_ACCOUNTS)
    assert printed.count("beta") == 100


def test_the_order_in_which_a_processor_adds_can_not_show_in_a_metric():
    # (1e16 + 1) - 1e16 is 0 added from the left: fsum rounds once, and the mean of these is 1 / 3
    exposures = curve([100.0, 100.0, 100.0])
    exposures.exposure[:] = [1e16, 1.0, -1e16]
    assert metrics.exposure(exposures, exposures) == 1 / 3


def test_ffn_agrees_where_its_definitions_are_ours():
    spec = scenario(
        window={"start": "2020-01-02", "end": "2020-12-31"},
        warm_up_days=252,
        initial_cash=100_000.0,
        position_limit=0.2,
    )
    market = market_of(spec, real_bars())
    result = replay(market, sma_crossover.STRATEGY.signal(market, short=20, long=100), spec)
    prices = pd.Series(result.equity, index=pd.DatetimeIndex(result.dates))
    returns = prices.pct_change().dropna()
    market_returns = pd.Series(market.prices[252:].mean(axis=1), index=prices.index).pct_change().dropna()
    measured = measure(result)
    assert measured["total_return"] == pytest.approx(ffn.calc_total_return(prices), rel=1e-12)
    assert measured["maximum_drawdown"] == pytest.approx(ffn.calc_max_drawdown(prices), rel=1e-12)
    assert measured["sharpe_ratio"] == pytest.approx(ffn.calc_sharpe(returns, nperiods=252), rel=1e-12)
    base = curve((1 + market_returns).cumprod().to_list())
    shorter = curve(prices.iloc[1:].to_list())
    daily = ffn.calc_information_ratio(pd.Series(shorter.returns), pd.Series(base.returns))
    assert metrics.information_ratio(shorter, base) == pytest.approx(daily * math.sqrt(252), rel=1e-9)
