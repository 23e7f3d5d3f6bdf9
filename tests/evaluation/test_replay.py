import math
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlops_assets.evaluation.replay import InvalidSignal, replay
from tests.evaluation.worlds import market, scenario

NAN = math.nan


def test_a_target_is_filled_at_the_next_close_and_not_at_its_own():
    result = replay(market([10.0, 20.0, 30.0]), np.array([[1.0], [NAN], [NAN]]), scenario())
    (fill,) = result.fills
    assert (fill.date, fill.price, fill.quantity) == (date(2020, 1, 3), 20.0, 50.0)
    assert result.equity.tolist() == [1_000.0, 1_000.0, 1_500.0]


def test_costs_leave_the_account_and_purchases_leave_room_for_them():
    costs = {"commission_bps": 60, "slippage_bps": 40}
    result = replay(market([10.0, 10.0, 10.0]), np.array([[1.0], [0.0], [NAN]]), scenario(costs=costs))
    bought, sold = result.fills
    # 1000 buys n shares at 10 with 1 % on top: n = 1000 / 10.1; selling them brings 99 % of n x 10
    assert bought.quantity == pytest.approx(1_000 / 10.1, rel=1e-15)
    assert bought.cost == pytest.approx(10 / 1.01, rel=1e-15)
    assert sold.quantity == -bought.quantity
    assert result.equity[-1] == pytest.approx(1_000 * 0.99 / 1.01, rel=1e-15)


def test_purchases_beyond_the_cash_are_scaled_by_one_factor():
    prices = market([1.0, 1.0, 2.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0])
    result = replay(prices, np.array([[0.5, NAN, NAN], [NAN, 0.3, 0.2], [NAN] * 3]), scenario())
    # A doubled: of 1500 the targets ask for 450 and 300, and 500 are there
    assert [fill.quantity for fill in result.fills] == pytest.approx([500.0, 300.0, 200.0], rel=1e-15)
    assert result.cash[-1] == pytest.approx(0.0, abs=1e-9)


def test_sales_pay_for_the_purchases_of_the_same_day():
    targets = np.array([[1.0, 0.0], [0.0, 1.0], [NAN, NAN]])
    result = replay(market([1.0, 1.0, 2.0], [5.0, 5.0, 5.0]), targets, scenario())
    assert result.fills[-1].symbol == "B"
    assert result.fills[-1].quantity == pytest.approx(400.0)


def test_a_target_above_the_position_limit_is_cut_and_growth_is_not():
    result = replay(market([1.0, 1.0, 9.0]), np.array([[1.0], [NAN], [NAN]]), scenario(position_limit=0.2))
    assert result.fills[0].quantity == 200.0
    assert len(result.fills) == 1
    assert result.exposure[-1] == pytest.approx(1_800 / 2_600)


def test_a_fresh_account_takes_up_the_targets_in_force():
    prices = market([1.0, 1.0, 1.0, 1.0, 2.0], window_start=3)
    targets = np.array([[0.5], [NAN], [NAN], [NAN], [NAN]])
    result = replay(prices, targets, scenario())
    assert result.dates.astype(str).tolist() == ["2020-01-05", "2020-01-06"]
    assert result.fills[0].quantity == 250.0


def test_nan_keeps_and_a_repeated_target_rebalances():
    prices = market([1.0, 1.0, 3.0, 3.0])
    kept = replay(prices, np.array([[0.5], [NAN], [NAN], [NAN]]), scenario())
    rebalanced = replay(prices, np.array([[0.5], [0.5], [NAN], [NAN]]), scenario())
    assert len(kept.fills) == 1
    assert rebalanced.fills[1].quantity == pytest.approx(1_000 / 3 - 500)


def test_orders_below_a_dollar_are_not_sent_but_exits_are():
    tiny = market([1.0, 1.0, 1.0005, 0.0001])
    result = replay(tiny, np.array([[0.5], [0.5], [0.0], [NAN]]), scenario())
    assert [fill.quantity for fill in result.fills] == [500.0, -500.0]


@pytest.mark.parametrize("bad", [-0.1, math.inf])
def test_a_signal_that_cannot_be_traded_is_refused(bad):
    with pytest.raises(InvalidSignal):
        replay(market([1.0, 1.0]), np.array([[bad], [NAN]]), scenario())


@pytest.mark.parametrize(
    "rows",
    [
        [[0.3, 0.3], [0.9, 0.3], [0.9, 0.9]],
        [[0.9, 0.1], [NAN, 0.3], [NAN, NAN]],  # NaN leaves the 0.9 in force
    ],
)
def test_targets_over_all_equity_are_refused_by_the_first_day(rows):
    with pytest.raises(InvalidSignal, match=r"2020-01-03 add up to 1\.2 "):
        replay(market([1.0] * 3, [1.0] * 3), np.array(rows), scenario())


def test_targets_over_all_equity_in_the_warm_up_that_are_no_longer_in_force_are_not_refused():
    prices = market([1.0] * 4, [1.0] * 4, window_start=2)
    result = replay(prices, np.array([[0.9, 0.9], [NAN, NAN], [0.5, 0.5], [NAN, NAN]]), scenario())
    assert len(result.fills) == 2
    with pytest.raises(InvalidSignal, match="2020-01-04"):
        replay(prices, np.array([[0.9, 0.9], [NAN, NAN], [0.5, NAN], [NAN, NAN]]), scenario())


def test_the_position_limit_is_applied_before_targets_are_added_up():
    targets = np.array([[1.0, 1.0, 1.0], [NAN] * 3])
    assert len(replay(market(*[[1.0, 1.0]] * 3), targets, scenario(position_limit=1 / 3)).fills) == 3
    with pytest.raises(InvalidSignal, match="position limit"):
        replay(market(*[[1.0, 1.0]] * 3), targets, scenario(position_limit=0.34))


def test_targets_may_round_a_little_above_all_equity():
    prices, half = market([1.0, 1.0], [1.0, 1.0]), np.nextafter(0.5, 1)
    assert half + half > 1
    assert len(replay(prices, np.array([[half, half], [NAN, NAN]]), scenario()).fills) == 2
    with pytest.raises(InvalidSignal, match="add up"):
        replay(prices, np.array([[0.5 + 1e-9, 0.5 + 1e-9], [NAN, NAN]]), scenario())


def test_a_signal_of_another_shape_is_refused():
    with pytest.raises(InvalidSignal, match="one per bar"):
        replay(market([1.0, 1.0]), np.zeros((1, 1)), scenario())


def test_the_fingerprint_moves_with_the_last_bit_of_any_number():
    result = replay(market([10.0, 20.0, 30.0]), np.array([[1.0], [NAN], [NAN]]), scenario())
    nudged = result.equity.copy()
    nudged[-1] = np.nextafter(nudged[-1], 0)
    other_fill = replace(result.fills[0], cost=5e-324)
    prints = {one.fingerprint for one in (result, replace(result, equity=nudged), replace(result, fills=(other_fill,)))}
    assert len(prints) == 3


PRICES = arrays(np.float64, (8, 3), elements=st.floats(1, 500))
TARGETS = arrays(np.float64, (8, 3), elements=st.one_of(st.floats(0, 1), st.just(NAN), st.just(0.0)))


@settings(deadline=None)
@given(PRICES, TARGETS)
def test_the_account_never_borrows_and_always_adds_up(prices, targets):
    costs = {"commission_bps": 10, "slippage_bps": 5}
    table = market(*prices.T.tolist())
    result = replay(table, targets, scenario(costs=costs, position_limit=1 / 3))
    assert result.cash.min() > -1e-12 * result.equity.max()  # nothing but rounding
    held = dict.fromkeys(table.symbols, 0.0)
    cash = 1_000.0
    for row, day in enumerate(result.dates):
        for fill in (one for one in result.fills if one.date == day.item()):
            held[fill.symbol] += fill.quantity
            cash -= fill.quantity * fill.price + fill.cost
            assert fill.cost == pytest.approx(fill.notional * 0.0015)
        worth = cash + sum(quantity * table.prices[row, index] for index, quantity in enumerate(held.values()))
        assert result.equity[row] == pytest.approx(worth, rel=1e-9)


@settings(deadline=None)
@given(PRICES, TARGETS, st.permutations([0, 1, 2]))
def test_the_order_of_symbols_changes_no_bit_of_the_equity(prices, targets, order):
    spec = scenario(costs={"commission_bps": 10, "slippage_bps": 5}, position_limit=1 / 3)
    straight = replay(market(*prices.T.tolist()), targets, spec)
    shuffled = replay(market(*prices[:, order].T.tolist()), targets[:, order], spec)
    assert straight.equity.tobytes() == shuffled.equity.tobytes()
