from datetime import date

import numpy as np
import polars as pl
import pytest

from mlops_assets.evaluation.checks import data_complete, out_of_sample, prefix_invariance, rerun_identical
from mlops_assets.evaluation.spec import Strategy
from tests.evaluation.worlds import curve, market


def honest(market):
    return np.where(market.prices > 2, 1.0, 0.0)


def peeks_at_tomorrow(market):
    tomorrow = np.roll(market.prices, -1, axis=0)
    return np.where(tomorrow > market.prices, 1.0, 0.0)


def uses_the_whole_sample(market):
    return np.where(market.prices > market.prices.mean(axis=0), 1.0, 0.0)


def strategy(signal) -> Strategy:
    return Strategy(
        name="some_rule", version="1.0.0", owner="team:quant", description="x", signal=signal, parameters={}
    )


PRICES = market([1.0, 3.0, 2.0, 5.0, 4.0, 6.0, 2.0])


def test_a_signal_that_looks_back_only_is_prefix_invariant():
    verdict = prefix_invariance(strategy(honest), PRICES, honest(PRICES))
    assert verdict.is_passed
    assert verdict.facts["cuts"] == 7


@pytest.mark.parametrize("signal", [peeks_at_tomorrow, uses_the_whole_sample])
def test_a_strategy_that_peeks_is_caught_with_the_day(signal):
    verdict = prefix_invariance(strategy(signal), PRICES, signal(PRICES))
    assert not verdict.is_passed
    assert str(verdict.facts["first_difference"]).startswith("2020-01-0")


def test_a_rerun_that_differs_in_one_value_is_caught():
    assert rerun_identical(curve([1, 2, 3]), curve([1, 2, 3])).is_passed
    assert not rerun_identical(curve([1, 2, 3]), curve([1, 2, np.nextafter(3, 4)])).is_passed


@pytest.mark.parametrize(("folds", "is_passed"), [(["test", "live"], True), (["test", "train"], False), ([], False)])
def test_only_rows_the_model_never_saw_may_be_used(folds, is_passed):
    rows = pl.DataFrame(
        {
            "symbol": ["A"] * len(folds),
            "date": [date(2020, 1, 2)] * len(folds),
            "fold": folds,
        },
        schema={"symbol": pl.String, "date": pl.Date, "fold": pl.String},
    )
    assert out_of_sample(PRICES, rows.to_arrow()).is_passed is is_passed


def test_a_missing_price_is_counted():
    assert data_complete(PRICES).is_passed
    assert data_complete(market([1.0, float("nan"), 0.0])).facts["missing"] == 2
