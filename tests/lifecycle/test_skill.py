import math
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from mlops_assets.lifecycle.skill import (
    BASE_RATE,
    MOMENTUM_SIGN,
    baseline_probabilities,
    gain_over,
    information_coefficient,
    reliability,
    score,
    steady,
)
from tests.evaluation.processors import printed_on_each


def _rows(days: int = 300, symbols: int = 6, *, seed: int = 0, signal: float = 0.0) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    momentum = generator.normal(size=days * symbols)
    forward = signal * momentum + generator.normal(size=days * symbols)
    return pl.DataFrame(
        {
            "date": [date(2020, 1, 1) + timedelta(days=day) for day in range(days) for _ in range(symbols)],
            "return_20d": momentum,
            "forward_return": forward,
            "label": (forward > 0).astype(np.int8),
        }
    )


def test_scores_agree_with_a_worked_example():
    rows = pl.DataFrame(
        {"date": [date(2020, 1, 1)] * 4, "label": [1, 0, 1, 0], "forward_return": [0.03, -0.01, 0.02, -0.02]}
    )
    found = score(rows, np.array([0.9, 0.6, 0.55, 0.2]))
    assert found.auc == 3 / 4
    assert found.accuracy == 3 / 4
    assert found.brier == pytest.approx((0.1**2 + 0.6**2 + 0.45**2 + 0.2**2) / 4)
    assert found.log_loss == pytest.approx(-(math.log(0.9) + math.log(0.4) + math.log(0.55) + math.log(0.8)) / 4)
    assert found.information_coefficient == pytest.approx(0.8)


def test_the_information_coefficient_is_the_mean_of_daily_rank_correlations():
    rows = _rows(days=40)
    probability = np.random.default_rng(5).uniform(size=rows.height)
    daily = [
        spearmanr(probability[start : start + 6], rows["forward_return"][start : start + 6].to_numpy()).statistic
        for start in range(0, rows.height, 6)
    ]
    assert information_coefficient(rows, probability) == pytest.approx(np.mean(daily))


def test_the_base_rate_ranks_nothing_and_says_so():
    rows = _rows()
    constant = baseline_probabilities(rows, rows, "return_20d")[BASE_RATE]
    found = score(rows, constant)
    assert found.auc == 0.5
    assert found.information_coefficient is None


def test_the_momentum_baseline_says_how_often_the_train_fold_followed_the_sign():
    train = pl.DataFrame({"return_20d": [1.0, 2.0, 3.0, -1.0, -2.0], "label": [1, 1, 0, 0, 1]})
    rows = pl.DataFrame({"return_20d": [-5.0, 5.0, 0.0]})
    found = baseline_probabilities(train, rows, "return_20d")
    assert found[MOMENTUM_SIGN] == pytest.approx([1 / 2, 2 / 3, 1 / 2])
    assert found[BASE_RATE] == pytest.approx([3 / 5] * 3)


def test_a_gain_is_real_only_where_there_is_a_signal():
    for signal, is_real in ((0.0, False), (0.8, True)):
        rows = _rows(signal=signal)
        model = 1 / (1 + np.exp(-rows["return_20d"].to_numpy()))
        naive = np.full(rows.height, rows["label"].mean())
        gain = gain_over(BASE_RATE, rows, model, naive, seed=1)
        assert gain.is_real is is_real
        assert gain.low < gain.estimate < gain.high


def test_the_gain_is_the_difference_of_the_log_losses():
    rows = _rows()
    model, naive = np.random.default_rng(2).uniform(0.1, 0.9, size=(2, rows.height))
    gain = gain_over(BASE_RATE, rows, model, naive, seed=1)
    assert gain.estimate == pytest.approx(score(rows, naive).log_loss - score(rows, model).log_loss)


SKILL_OF_RANDOM_MODELS = """
import numpy as np
from mlops_assets.lifecycle.skill import gain_over, score
from tests.lifecycle.test_skill import _rows

for seed in range(3):
    rows = _rows(seed=seed)
    model, naive = np.random.default_rng(seed).uniform(0.1, 0.9, size=(2, rows.height))
    print(score(rows, model).as_json(), gain_over("base_rate", rows, model, naive, seed=seed).as_json())
"""


def test_no_processor_changes_a_digit_of_the_skill():
    (printed,) = printed_on_each(SKILL_OF_RANDOM_MODELS)
    assert printed.count("log_loss") == 3


def test_figures_have_twelve_significant_digits_and_differences_below_vanish():
    assert steady(0.688996808433044612) == 0.688996808433
    assert steady(np.nextafter(0.6889968084330446, 1)) == steady(0.6889968084330446)
    assert steady(-1.23456789012345e-7) == -1.23456789012e-7
    assert steady(0.0) == 0.0
    rows = _rows()
    model, naive = np.random.default_rng(2).uniform(0.1, 0.9, size=(2, rows.height))
    figures = [
        *score(rows, model).as_json().values(),
        *list(gain_over(BASE_RATE, rows, model, naive, seed=1).as_json().values())[1:],
    ]
    assert all(steady(figure) == figure for figure in figures)


def test_reliability_groups_equal_counts_from_low_to_high():
    groups = reliability(np.array([0, 0, 1, 1]), np.array([0.8, 0.1, 0.9, 0.2]), bins=2)
    assert [(group.said, group.came_true, group.rows) for group in groups] == [
        (pytest.approx(0.15), 0.5, 2),
        (pytest.approx(0.85), 0.5, 2),
    ]
