"""Orders from predictions, and two versions order by order: worked out by hand."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.kernel.errors import MissingColumns
from mlops_assets.lifecycle.kinds.known import KINDS
from mlops_assets.lifecycle.operations.orders import (
    READS,
    Verdict,
    account,
    compare_orders,
    forward_returns,
    makes_orders,
    orders_of,
    target_weights,
)

DAYS = [date(2024, 3, day) for day in (4, 5, 6, 7)]


def frame(column: str, **by_symbol: list) -> pl.DataFrame:
    """One value for each symbol and the first days."""
    return pl.DataFrame(
        [
            {"symbol": symbol, "date": day, column: value}
            for symbol, values in by_symbol.items()
            for day, value in zip(DAYS, values, strict=False)
        ]
    )


def test_a_classifier_buys_and_never_sells_short():
    said = frame("bucket", A=["strong_buy", "hold", "buy", "strong_sell"], B=["sell", "buy"])
    targets = target_weights("classifier", said, max_weight=0.2)
    assert targets["weight"].to_list() == [0.2, 0.0, 0.2, 0.0, 0.0, 0.2]


def test_a_forecast_buys_where_its_median_gains_more_than_trading_costs():
    said = frame("equity_q50", A=[1.0031, 1.0030, 0.99, 1.2])
    assert target_weights("forecast", said, max_weight=0.1)["weight"].to_list() == [0.1, 0.0, 0.0, 0.1]
    assert target_weights("forecast", said, max_weight=0.1, costs_bps=32)["weight"].to_list() == [0.0, 0.0, 0.0, 0.1]


def test_a_policy_gets_the_part_of_the_largest_weight_that_it_wants_and_never_more():
    said = frame("target_weight", A=[0.25, 1.0, 3.0, -0.5])
    assert target_weights("policy", said, max_weight=0.2)["weight"].to_list() == [0.05, 0.2, 0.2, 0.0]


def test_a_regime_makes_no_orders_and_says_so():
    assert not makes_orders("regime")
    with pytest.raises(ValueError, match="a regime makes no orders"):
        target_weights("regime", frame("regime", A=["bullish"]), max_weight=0.2)


def test_orders_follow_from_columns_that_the_kind_really_has():
    for kind, model in KINDS.items():
        assert set(READS.get(kind, ())) <= {column.name for column in model.columns}
    assert set(KINDS) - set(READS) == {"regime"}


def test_predictions_of_another_kind_are_named():
    with pytest.raises(MissingColumns, match="orders of a classifier needs bucket"):
        target_weights("classifier", frame("target_weight", A=[0.1]), max_weight=0.2)


def test_an_order_is_the_change_of_a_symbols_own_target():
    orders = orders_of(frame("weight", A=[0.2, 0.2, 0.0], B=[0.0, 0.1, 0.2]))
    assert orders["order"].to_list() == pytest.approx([0.2, 0.0, -0.2, 0.0, 0.1, 0.1])


def test_an_order_decided_at_a_close_earns_from_the_next_close_on():
    bars = frame("adjusted_close", A=[100.0, 110.0, 121.0, 60.5]).with_columns(is_index=pl.lit(value=False))
    index = frame("adjusted_close", SPX=[1.0, 2.0]).with_columns(is_index=pl.lit(value=True))
    found = forward_returns(pl.concat([bars, index]))
    assert found["forward_return"].to_list() == pytest.approx([0.1, -0.5, None, None])
    assert found["symbol"].unique().to_list() == ["A"]


def test_every_way_in_which_orders_differ_is_counted_by_hand():
    champion = frame("weight", A=[0.2, 0.2, 0.0, 0.0], B=[0.0, 0.1, 0.2, 0.2], C=[0.1, 0.0, 0.0, 0.0])
    challenger = frame("weight", A=[0.2, 0.0, 0.2, 0.2], B=[0.0, 0.2, 0.1, 0.1], C=[0.1, 0.0, 0.0, 0.1])
    #   champion's orders:    A +.2  0 -.2  0    B 0 +.1 +.1 0    C +.1 -.1 0 0
    #   challenger's orders:  A +.2 -.2 +.2 0    B 0 +.2 -.1 0    C +.1 -.1 0 +.1
    found = compare_orders(champion, challenger, frame("forward_return", A=[0.0]))
    assert found.counts == {
        Verdict.SAME: 3,  # A, C on the first day, C on the second
        Verdict.SIDE_DIFFERS: 2,  # A and B on the third
        Verdict.QUANTITY_DIFFERS: 1,  # B on the second
        Verdict.ONLY_CHAMPION: 0,
        Verdict.ONLY_CHALLENGER: 2,  # A on the second, C on the fourth
    }
    assert (found.orders, found.sessions, found.left_out) == (8, 4, 0)
    assert found.share_that_differs == pytest.approx(5 / 8)
    assert compare_orders(challenger, champion, frame("forward_return", A=[0.0])).counts[Verdict.ONLY_CHAMPION] == 2


def test_the_account_of_each_is_worked_out_by_hand():
    targets = frame("weight", A=[0.5, 0.5, 0.0], B=[0.0, 0.5, 0.5])
    returns = frame("forward_return", A=[0.10, -0.20, 0.30], B=[0.40, 0.10, None])
    found = account(orders_of(targets), returns)
    # 1: .5 x 10 % = 5 %; 2: .5 x -20 % + .5 x 10 % = -5 %; 3: A holds nothing, and B's return is not known yet
    assert found.total_return == pytest.approx(1.05 * 0.95 - 1)
    assert found.drawdown == pytest.approx(0.05)
    assert found.turnover == pytest.approx((0.5 + 0.5 + 0.5) / 2)
    assert (found.orders, found.most_orders_a_session, found.largest_weight) == (3, 1, 0.5)


def test_an_account_borrows_nothing():
    targets = frame("weight", A=[1.0], B=[1.0], C=[2.0])
    returns = frame("forward_return", A=[0.1], B=[0.1], C=[0.2])
    found = account(orders_of(targets), returns)
    assert found.total_return == pytest.approx(0.25 * 0.1 + 0.25 * 0.1 + 0.5 * 0.2)
    assert (found.turnover, found.largest_weight) == (pytest.approx(0.5), 2.0)


def test_where_nothing_is_known_nothing_is_claimed():
    empty = frame("weight", A=[0.1]).clear()
    found = compare_orders(empty, empty, frame("forward_return", A=[0.0]).clear())
    assert (found.share_that_differs, found.sessions, found.orders) == (None, 0, 0)
    assert (found.challenger.total_return, found.challenger.drawdown) == (None, None)


def test_rows_of_one_version_alone_are_left_out_and_counted():
    champion, challenger = frame("weight", A=[0.1, 0.1, 0.1]), frame("weight", A=[0.1], B=[0.2, 0.2])
    found = compare_orders(champion, challenger, frame("forward_return", A=[0.0]))
    assert (found.left_out, found.counts[Verdict.SAME], found.orders) == (4, 1, 1)


def test_a_period_begins_with_what_was_held_before_it():
    champion, challenger = frame("weight", A=[0.5, 0.5, 0.0]), frame("weight", A=[0.5, 0.0, 0.0])
    returns = frame("forward_return", A=[0.5, 0.1, 0.1])
    found = compare_orders(champion, challenger, returns, within=champion.filter(pl.col("date") > DAYS[0]))
    assert found.counts[Verdict.ONLY_CHALLENGER] == 1  # it sells on the second day what both held
    assert found.counts[Verdict.ONLY_CHAMPION] == 1  # and the champion on the third
    assert (found.orders, found.sessions, found.left_out) == (2, 2, 0)
    assert (found.champion.turnover, found.champion.total_return) == (0.25, pytest.approx(0.05))
    assert (found.challenger.turnover, found.challenger.total_return) == (0.25, 0.0)
    assert found.equity.rows() == [(DAYS[1], pytest.approx(1.05), 1.0), (DAYS[2], pytest.approx(1.05), 1.0)]


weights = st.lists(st.sampled_from([0.0, 0.1, 0.2]), min_size=4, max_size=4)


@given(st.dictionaries(st.sampled_from("ABC"), st.tuples(weights, weights), min_size=1))
def test_a_version_beside_itself_never_differs_and_swapping_sides_swaps_the_verdicts(
    targets: dict[str, tuple[list[float], list[float]]],
):
    one, other = (frame("weight", **{name: pair[side] for name, pair in targets.items()}) for side in (0, 1))
    nothing = frame("forward_return", A=[0.0])
    itself = compare_orders(one, one, nothing)
    assert itself.share_that_differs in (None, 0.0)
    assert itself.champion == itself.challenger
    there, back = compare_orders(one, other, nothing), compare_orders(other, one, nothing)
    assert there.counts[Verdict.ONLY_CHAMPION] == back.counts[Verdict.ONLY_CHALLENGER]
    assert there.share_that_differs == back.share_that_differs
    assert (there.champion, there.challenger) == (back.challenger, back.champion)
