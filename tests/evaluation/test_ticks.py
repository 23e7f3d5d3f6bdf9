import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlops_assets.evaluation.ticks import in_ticks, last_decided, order_of_averages


def test_the_order_of_averages_by_hand():
    prices = np.array([[1.0], [2.0], [3.0], [3.0], [1.0]])
    # short 1, long 3: 3 against 2, 3 against 8/3, 1 against 7/3; before that there is no long average
    assert order_of_averages(prices, 1, 3).ravel().tolist() == [0, 0, 1, 1, -1]


def test_a_price_that_stands_still_ties_where_running_sums_of_floats_do_not():
    prices = np.full((50, 1), 0.1)
    sums = np.cumsum(prices)
    floating = (sums[10:] - sums[7:-3]) / 3 - (sums[10:] - sums[:-10]) / 10
    assert np.any(floating != 0)
    assert not order_of_averages(prices, 3, 10).any()


def test_a_tie_is_no_crossing():
    order = np.array([[0], [0], [1], [0], [-1], [0], [0]], dtype=np.int8)
    assert last_decided(order).ravel().tolist() == [0, 0, 1, 1, -1, -1, -1]


@settings(deadline=None)
@given(arrays(np.int64, (60, 2), elements=st.integers(1, 10**9)))
def test_the_order_equals_that_of_exact_fractions(ticks):
    prices = ticks / 10**6
    order = order_of_averages(prices, 5, 20)
    exact = in_ticks(prices).astype(object)
    for row in (19, 30, 59):
        for column in (0, 1):
            short = sum(exact[row - 4 : row + 1, column]) * 20
            long = sum(exact[row - 19 : row + 1, column]) * 5
            assert order[row, column] == (short > long) - (short < long)


def test_windows_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="short < long"):
        order_of_averages(np.ones((5, 1)), 10, 5)
