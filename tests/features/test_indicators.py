"""Each indicator where its definition is at an edge; the shipped columns are compared in tests/catalog."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import talib

from mlops_assets.features.cross_section import standing
from mlops_assets.features.indicators import (
    annual_volatility,
    average_true_range,
    average_volume,
    bollinger_bands,
    drawdown,
    ema,
    index_relation,
    macd,
    momentum_12_1,
    on_balance_volume,
    rsi,
    simple_return,
    true_range,
    wilder_average,
)

PRICES = 100 * np.exp(np.cumsum(np.random.default_rng(7).normal(0, 0.02, 900)))

P, Q, R = pl.col("p"), pl.col("q"), pl.col("r")


def over(values: object, expr: pl.Expr) -> pl.Series:
    """Evaluate an expression of `p` over one series."""
    return pl.DataFrame({"p": pl.Series(values, dtype=pl.Float64)}).select(expr).to_series()


def of(expr: pl.Expr, **series: object) -> list[float | None]:
    """Evaluate an expression over named series."""
    frame = pl.DataFrame({name: pl.Series(values, dtype=pl.Float64) for name, values in series.items()})
    return frame.select(expr).to_series().to_list()


def assert_equal(ours: pl.Series, theirs: np.ndarray):
    np.testing.assert_allclose(ours.to_numpy(), theirs, rtol=1e-9, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("period", [2, 5, 14, 30])
def test_rsi_equals_talib_for_any_period(period: int):
    assert_equal(over(PRICES, rsi(P, period)), talib.RSI(PRICES, period))


@pytest.mark.parametrize("bars", [1, 5, 20])
def test_returns_equal_talib(bars: int):
    assert_equal(over(PRICES, simple_return(P, bars)), talib.ROCP(PRICES, bars))


def test_macd_by_hand():
    # EMA 1 is the price; EMA 3 of 4, 8, 6: 4, 6, 6. Line from the third on: 0; then 10 - 8 = 2. Signal: EMA 1 of it.
    macd_of = macd(P, fast=1, slow=3, signal=1)
    assert over([4.0, 8.0, 6.0, 10.0], macd_of.struct.field("line")).to_list() == [None, None, 0.0, 2.0]
    assert over([4.0, 8.0, 6.0, 10.0], macd_of.struct.field("signal")).to_list() == [None, None, 0.0, 2.0]
    assert over([4.0, 8.0, 6.0, 10.0], macd_of.struct.field("histogram")).to_list() == [None, None, 0.0, 0.0]


def test_an_exponential_average_starts_at_the_first_value():
    # alpha = 1/2: 4, 4 + (8 - 4) / 2 = 6, 6 + (2 - 6) / 2 = 4
    assert over([4.0, 8.0, 2.0], ema(P, 3)).to_list() == [None, None, 4.0]


def test_momentum_12_1_leaves_out_the_last_month():
    values = over([100.0] + [50.0] * 230 + [120.0] + [7.0] * 21, momentum_12_1(P))
    assert values[252] == pytest.approx(0.2)
    assert values.null_count() == 252


def test_wilder_average_by_hand():
    # seed (1 + 2 + 3) / 3 = 2, then 2 + (8 - 2) / 3 = 4, then 4 + (1 - 4) / 3 = 3
    assert over([None, 1.0, 2.0, 3.0, 8.0, 1.0], wilder_average(P, 3)).to_list() == [None, None, None, 2.0, 4.0, 3.0]


def test_a_hole_leaves_wilders_average_as_it_was():
    # the seed takes the first three values there are; a null is null and changes nothing
    values = over([1.0, None, 2.0, 3.0, None, 8.0, None, 1.0], wilder_average(P, 3)).to_list()
    assert values == [None, None, None, 2.0, None, 4.0, None, 3.0]


def test_rsi_of_a_price_that_never_moves_is_50():
    assert over([10.0] * 20, rsi(P))[-1] == 50.0


def test_rsi_of_a_price_that_only_rises_is_100_and_of_one_that_only_falls_0():
    assert over(np.arange(1.0, 400.0), rsi(P)).drop_nulls().unique().to_list() == [100.0]
    assert over(np.arange(400.0, 1.0, -1.0), rsi(P)).drop_nulls().unique().to_list() == [0.0]


def test_the_true_range_counts_a_gap_from_yesterdays_close():
    # inside, gap up (11 - 5), gap down (9 - 1); the first bar has no yesterday
    closes, highs, lows = [5.0, 5.0, 9.0, 2.0], [6.0, 6.0, 11.0, 3.0], [4.0, 4.0, 8.0, 1.0]
    assert of(true_range(Q, R, P), p=closes, q=highs, r=lows) == [None, 2.0, 6.0, 8.0]


def test_a_bar_without_a_high_has_no_true_range():
    assert of(true_range(Q, R, P), p=[5.0, 5.0, 5.0], q=[6.0, None, 6.0], r=[4.0, 4.0, 4.0]) == [None, None, 2.0]
    atr = of(average_true_range(Q, R, P, 2), p=[5.0] * 5, q=[6.0, 6.0, None, 8.0, 6.0], r=[4.0] * 5)
    assert atr == [None, None, None, 3.0, 2.5]


@pytest.mark.parametrize("jump", [1.0, 50.0, 1e6])
def test_bands_of_a_price_that_stopped_moving_have_no_width_and_no_position(jump: float):
    prices = [*(PRICES[:40] * jump / 7), *[33.3] * 30]
    assert over(prices, bollinger_bands(P).struct.field("width"))[-1] == 0.0
    assert over(prices, bollinger_bands(P).struct.field("position"))[-1] is None
    assert over(prices, bollinger_bands(P).struct.field("upper"))[-1] == pytest.approx(33.3, rel=1e-9)


def test_the_rounding_of_an_adjusted_price_is_no_move():
    prices = 100 + 1e-13 * np.random.default_rng(1).normal(size=60)
    assert over(prices, bollinger_bands(P).struct.field("position")).null_count() == 60


def test_a_band_position_by_hand():
    # 1, 2, 3: mean 2, deviation sqrt(2/3); 3 lies 1 above, the band is 4 deviations wide
    position = over([1.0, 2.0, 3.0], bollinger_bands(P, window=3).struct.field("position"))[-1]
    assert position == pytest.approx(0.5 + 1 / (4 * math.sqrt(2 / 3)), rel=1e-12)


def test_a_lone_outlier_lies_as_far_out_as_any_value_can():
    for sign in (1, -1):
        position = over([100.0] * 19 + [100.0 + sign * 60], bollinger_bands(P).struct.field("position"))[-1]
        assert position == pytest.approx(0.5 + sign * math.sqrt(19) / 4, rel=1e-12)


def test_volatility_by_hand():
    # returns +10 %, -10 %: mean 0, sample deviation sqrt(0.02)
    assert over([100.0, 110.0, 99.0], annual_volatility(P, 2))[-1] == pytest.approx(math.sqrt(0.02 * 252), rel=1e-12)


def test_drawdown_is_zero_at_a_high_and_forgets_an_older_one():
    assert over([10.0, 8.0, 6.0, 6.0, 12.0], drawdown(P, 3)).to_list() == [None, None, -0.4, -0.25, 0.0]


def test_average_volume_counts_in_shares_of_its_day():
    # a split 2:1 on the third day: 100 and 100 old shares are 200 and 200 new ones
    volumes, factors = [100.0, 100.0, 200.0, 600.0], [1.0, 1.0, 2.0, 2.0]
    average = average_volume(P, Q, 3)
    assert of(average.struct.field("average"), p=volumes, q=factors) == [None, None, 200.0, pytest.approx(1000 / 3)]
    assert of(average.struct.field("ratio"), p=volumes, q=factors) == [None, None, 1.0, pytest.approx(1.8)]


def test_the_volume_ratio_is_null_where_nothing_was_traded():
    volumes, factors = [1e7, 12_345.0, 0.0, 0.0, 0.0, 5.0], [3.0] * 6
    average = average_volume(P, Q, 3)
    assert of(average.struct.field("ratio"), p=volumes, q=factors)[4:] == [None, pytest.approx(3.0)]
    assert min(value for value in of(average.struct.field("average"), p=volumes, q=factors) if value is not None) >= 0


def test_on_balance_volume_by_hand():
    # first + 10, up + 20, down - 30, unchanged 0; then a split 2:1 counts all in new shares and adds 50 new ones
    values = of(on_balance_volume(P, Q, R), p=[5, 6, 4, 4, 5], q=[10, 20, 30, 40, 50], r=[1, 1, 1, 1, 2])
    assert values == [10.0, 30.0, 0.0, 0.0, 50.0]


def test_a_bar_without_volume_counts_as_none_traded():
    assert of(on_balance_volume(P, Q, R), p=[5, 6, 7], q=[10, None, 30], r=[1, 1, 1]) == [10.0, None, 40.0]


def test_a_stock_that_is_the_index_twice_over_has_beta_2_and_correlation_1():
    returns = np.random.default_rng(3).normal(0, 0.01, 80)
    index, stock = np.cumprod(1 + returns), np.cumprod(1 + 2 * returns)
    assert of(index_relation(P, Q, 60).struct.field("beta"), p=stock, q=index)[-1] == pytest.approx(2.0, rel=1e-9)
    correlation = of(index_relation(P, Q, 60).struct.field("correlation"), p=stock, q=index)
    assert correlation[-1] == pytest.approx(1.0, abs=1e-12)
    assert max(value for value in correlation if value is not None) <= 1.0


def test_beta_is_null_against_an_index_that_stands_still_and_zero_for_a_stock_that_does():
    relation = index_relation(P, Q, 60)
    flat = [50.0] * 100
    assert of(relation.struct.field("beta"), p=PRICES[:100], q=flat) == [None] * 100
    assert of(relation.struct.field("correlation"), p=PRICES[:100], q=flat) == [None] * 100
    assert of(relation.struct.field("beta"), p=flat, q=PRICES[:100])[-1] == 0.0
    assert of(relation.struct.field("correlation"), p=flat, q=PRICES[:100]) == [None] * 100


def test_a_day_without_an_index_makes_its_windows_null():
    index = PRICES[:30].tolist()
    index[10] = None
    beta = of(index_relation(P, Q, 5).struct.field("beta"), p=PRICES[100:130], q=index)
    # the returns of days 10 and 11 are unknown, so windows that end on days 10 to 15 are
    assert [number for number, value in enumerate(beta) if value is None] == [*range(5), *range(10, 16)]


def test_standing_by_hand():
    # 1, 2, 2, 5: ranks 1, 2.5, 2.5, 4 of 4; mean 2.5, sample variance 9 / 3
    values = [5.0, 2.0, None, 1.0, 2.0]
    assert of(standing(P).struct.field("rank"), p=values) == [1.0, 0.5, None, 0.0, 0.5]
    scores = [2.5 / math.sqrt(3), -0.5 / math.sqrt(3), None, -1.5 / math.sqrt(3), -0.5 / math.sqrt(3)]
    assert of(standing(P).struct.field("z_score"), p=values) == [
        None if score is None else pytest.approx(score, rel=1e-12) for score in scores
    ]


@pytest.mark.parametrize("values", [[3.0], [3.0, None], [0.1, 0.1, 0.1], [None, None]])
def test_where_stocks_do_not_differ_nobody_stands_out(values: list[float | None]):
    for field in ("rank", "z_score"):
        assert of(standing(P).struct.field(field), p=values) == [None] * len(values)


@pytest.mark.parametrize("length", [0, 1, 13, 14])
def test_a_short_history_gives_nulls_of_its_own_length(length: int):
    for expr in (
        rsi(P),
        macd(P).struct.field("signal"),
        momentum_12_1(P),
        bollinger_bands(P).struct.field("position"),
        annual_volatility(P, 20),
        drawdown(P),
        index_relation(P, P * 1.0, 60).struct.field("beta"),
    ):
        values = over(PRICES[:length], expr)
        assert len(values) == length
        assert values.null_count() == length
