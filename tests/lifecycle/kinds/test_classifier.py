import math
from datetime import date, timedelta

import lightgbm
import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from mlops_assets.lifecycle.kinds.classifier import (
    BASE_RATE,
    MOMENTUM_SIGN,
    Classifier,
    baseline_probabilities,
    bucket_of,
    information_coefficient,
    log_losses,
    scores_of,
)
from mlops_assets.lifecycle.training.skill import gain_over, steady
from tests.evaluation.processors import printed_on_each
from tests.lifecycle.worlds import FEATURES, small_spec, spec, training_set


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


def _gain(rows: pl.DataFrame, model: np.ndarray, naive: np.ndarray, *, seed: int):
    label = rows["label"].to_numpy()
    return gain_over(BASE_RATE, rows["date"], log_losses(label, model), log_losses(label, naive), seed=seed)


def test_scores_agree_with_a_worked_example():
    rows = pl.DataFrame(
        {"date": [date(2020, 1, 1)] * 4, "label": [1, 0, 1, 0], "forward_return": [0.03, -0.01, 0.02, -0.02]}
    )
    found = scores_of(rows, np.array([0.9, 0.6, 0.55, 0.2]))
    assert found["auc"] == 3 / 4
    assert found["accuracy"] == 3 / 4
    assert found["brier"] == pytest.approx((0.1**2 + 0.6**2 + 0.45**2 + 0.2**2) / 4)
    assert found["log_loss"] == pytest.approx(-(math.log(0.9) + math.log(0.4) + math.log(0.55) + math.log(0.8)) / 4)
    assert found["information_coefficient"] == pytest.approx(0.8)


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
    found = scores_of(rows, constant)
    assert found["auc"] == 0.5
    assert found["information_coefficient"] is None


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
        gain = _gain(rows, model, naive, seed=1)
        assert gain.is_real is is_real
        assert gain.low < gain.estimate < gain.high


def test_the_gain_is_the_difference_of_the_log_losses():
    rows = _rows()
    model, naive = np.random.default_rng(2).uniform(0.1, 0.9, size=(2, rows.height))
    gain = _gain(rows, model, naive, seed=1)
    assert gain.estimate == pytest.approx(scores_of(rows, naive)["log_loss"] - scores_of(rows, model)["log_loss"])


SKILL_OF_RANDOM_MODELS = """
import numpy as np
from mlops_assets.lifecycle.kinds.classifier import scores_of
from tests.lifecycle.kinds.test_classifier import _gain, _rows

for seed in range(3):
    rows = _rows(seed=seed)
    model, naive = np.random.default_rng(seed).uniform(0.1, 0.9, size=(2, rows.height))
    print(dict(scores_of(rows, model)), _gain(rows, model, naive, seed=seed).as_json())
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
        *scores_of(rows, model).values(),
        *list(_gain(rows, model, naive, seed=1).as_json().values())[1:],
    ]
    assert all(steady(figure) == figure for figure in figures)


def test_a_threshold_belongs_to_the_bucket_further_from_hold():
    said = np.array([0.1, 0.25, 0.26, 0.4, 0.41, 0.59, 0.6, 0.74, 0.75, 0.99])
    assert bucket_of(said, spec().learner.buckets) == [
        *["strong_sell"] * 2,
        *["sell"] * 2,
        *["hold"] * 2,
        *["buy"] * 2,
        *["strong_buy"] * 2,
    ]


def test_a_probability_is_the_logistic_of_the_raw_score():
    rows = pl.DataFrame(pl.from_arrow(training_set(signal=1.0)))
    train, valid = (rows.filter(pl.col("fold") == fold) for fold in ("train", "valid"))
    content = Classifier().fit(train, valid, small_spec()).content
    margin = lightgbm.Booster(model_str=content.decode()).predict(rows.select(FEATURES).to_numpy(), raw_score=True)
    found = Classifier().predict(rows, content, small_spec())["probability"].to_numpy()
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-np.asarray(margin))), rtol=1e-12)


def test_impossible_probabilities_are_counted():
    said = pl.DataFrame({"probability": [0.0, 1.0, 1.1, None, float("nan")]})
    assert Classifier().check(said) == {"outside_0_to_1": 3}
