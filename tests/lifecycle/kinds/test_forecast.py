import hashlib
import json
import math
import subprocess
import sys
from functools import cache

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import mean_pinball_loss

from mlops_assets.features.spec import Fold
from mlops_assets.kernel.fingerprint import canonical_json
from mlops_assets.lifecycle.kinds.forecast import (
    COLUMNS,
    QUANTILES,
    CannotCalibrate,
    Forecast,
    MalformedForecast,
    conformal_widening,
    pinball,
    read_forecast,
    thinned,
    valid_halves,
    with_equity,
)
from mlops_assets.lifecycle.plots import skill_plot, spread_plot
from mlops_assets.lifecycle.template import IncompleteMetadata, require_complete
from mlops_assets.lifecycle.training.candidate import train_candidate
from tests.lifecycle.kinds.forecast_worlds import FEATURES, forecast_set, forecast_spec, rows_of

KIND = Forecast()
_FIT = """
import hashlib
from mlops_assets.features.spec import Fold
from mlops_assets.lifecycle.kinds.forecast import Forecast
from tests.lifecycle.kinds.forecast_worlds import forecast_set, forecast_spec, rows_of
table = forecast_set()
fitted = Forecast().fit(rows_of(table, Fold.TRAIN), rows_of(table, Fold.VALID), forecast_spec())
print(hashlib.sha256(fitted.content).hexdigest())
"""


@cache
def _folds(seed: int = 1) -> dict[Fold, pl.DataFrame]:
    table = forecast_set(seed=seed)
    return {fold: rows_of(table, fold) for fold in (Fold.TRAIN, Fold.VALID, Fold.TEST)}


@cache
def _content(seed: int = 1) -> bytes:
    return KIND.fit(_folds(seed)[Fold.TRAIN], _folds(seed)[Fold.VALID], forecast_spec()).content


@cache
def _said(seed: int = 1) -> pl.DataFrame:
    return KIND.predict(_folds(seed)[Fold.TEST], _content(seed), forecast_spec())


def test_two_processes_fit_the_same_bytes():
    there = subprocess.run([sys.executable, "-c", _FIT], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == hashlib.sha256(_content()).hexdigest()


def test_what_is_stored_is_canonical_json():
    assert canonical_json(json.loads(_content())) == _content()


def test_pinball_is_worked_by_hand():
    # 0.2 too low costs q each, 0.2 too high costs 1 - q each
    assert pinball(np.array([1.2, 0.8]), np.array([1.0, 1.0]), 0.05) == pytest.approx([0.01, 0.19])


def test_the_loss_is_that_of_scikit_learn():
    rows, said = _folds()[Fold.TEST], _said()
    equity = 1 + rows["forward_return"].to_numpy()
    one_by_one = [
        mean_pinball_loss(equity, said[column].to_numpy(), alpha=quantile)
        for column, quantile in zip(COLUMNS, QUANTILES.values(), strict=True)
    ]
    scores = KIND.scores(rows, said, forecast_spec())
    assert scores["pinball_loss"] == pytest.approx(sum(one_by_one) / 3, rel=1e-9)
    assert [scores[f"pinball_{name}"] for name in QUANTILES] == pytest.approx(one_by_one, rel=1e-9)


def test_scores_are_worked_by_hand():
    rows = pl.DataFrame({"date": [1, 1, 2, 2], "forward_return": [-0.3, 0.0, 0.1, 0.4]})
    said = pl.DataFrame({"equity_q05": [0.9] * 4, "equity_q50": [1.0, 1.1, 1.2, 1.3], "equity_q95": [1.2] * 4})
    scores = KIND.scores(rows, said, forecast_spec())
    assert (scores["coverage"], scores["share_below"], scores["share_above"]) == (0.5, 0.25, 0.25)
    assert scores["mean_width"] == pytest.approx(0.3)
    assert scores["information_coefficient"] == 1.0
    assert KIND.check(said) == {"quantiles_that_cross": 1, "impossible_equity": 0}


def test_the_interval_covers_what_it_says_of_rows_it_never_saw():
    seeds = range(1, 6)
    outside = [KIND.scores(_folds(seed)[Fold.TEST], _said(seed), forecast_spec()) for seed in seeds]
    coverage = [float(str(scores["coverage"])) for scores in outside]
    calibrated = valid_halves(_folds()[Fold.VALID]).calibration.height
    tested = _folds()[Fold.TEST].height
    # binomial in the test rows, and in the calibration rows that the widening was taken from
    error = math.sqrt(0.09 / calibrated + 0.09 / tested)
    assert np.mean(coverage) == pytest.approx(0.9, abs=3 * error / math.sqrt(len(seeds)))
    assert all(abs(one - 0.9) < 4 * error for one in coverage)


def test_calibration_repairs_an_interval_of_any_width():
    generator = np.random.default_rng(5)
    equity = generator.normal(1, 0.1, size=(2, 4000))
    for width in (0.01, 0.5):
        low, high = np.full(4000, 1 - width), np.full(4000, 1 + width)
        widening = conformal_widening(low, high, equity[0])
        inside = (equity[1] >= low - widening) & (equity[1] <= high + widening)
        assert inside.mean() == pytest.approx(0.9, abs=3 * math.sqrt(2 * 0.09 / 4000))


def test_the_widening_is_worked_by_hand():
    # n = 19: the 18th smallest of how far outside; 1..19 above an upper end at 0
    equity = np.arange(1.0, 20.0)
    assert conformal_widening(np.full(19, -100.0), np.zeros(19), equity) == 18.0
    # n = 9: the 9th of 9, which is the largest
    assert conformal_widening(np.full(9, -100.0), np.zeros(9), np.arange(1.0, 10.0)) == 9.0


def test_quantiles_never_cross():
    assert KIND.check(_said()) == {"quantiles_that_cross": 0, "impossible_equity": 0}


def test_wider_rows_get_a_wider_interval():
    rows, said = _folds()[Fold.TEST], _said()
    width = said["equity_q95"] - said["equity_q05"]
    calm, wild = rows["volatility_20d"] < 0.2, rows["volatility_20d"] > 0.4
    assert width.filter(wild).mean() > 1.5 * width.filter(calm).mean()


def test_thinning_counts_each_symbol_for_itself():
    rows = _folds()[Fold.TRAIN]
    alone = rows.filter(pl.col("symbol") == "S2")
    kept = thinned(rows, 5)
    assert kept.filter(pl.col("symbol") == "S2").equals(thinned(alone, 5))
    assert thinned(alone, 5)["date"].to_list() == alone["date"].to_list()[::5]
    late_other = rows.filter((pl.col("symbol") != "S1") | (pl.col("date") > rows["date"][40]))
    assert thinned(late_other, 5).filter(pl.col("symbol") == "S2").equals(thinned(alone, 5))


def test_another_symbols_future_changes_nothing_that_is_said():
    rows, spec = _folds()[Fold.TEST], forecast_spec()
    alone = rows.filter(pl.col("symbol") == "S0")
    together = _said().filter(rows["symbol"] == "S0")
    assert KIND.predict(alone, _content(), spec).equals(together)


def test_later_rows_change_nothing_that_was_said():
    rows, spec = _folds()[Fold.TEST], forecast_spec()
    for height in (1, 7, 1000):
        assert KIND.predict(rows.head(height), _content(), spec).equals(_said().head(height))


def test_the_valid_halves_share_no_session():
    valid = _folds()[Fold.VALID]
    halves = valid_halves(valid)
    assert halves.stopping["label_known_at"].max() < halves.calibration["event_at"].min()
    assert halves.calibration["date"].n_unique() == pytest.approx(valid["date"].n_unique() / 2, abs=1)


def test_trees_stop_by_the_first_half_and_the_interval_is_calibrated_by_the_second():
    train, valid = _folds()[Fold.TRAIN], _folds()[Fold.VALID]
    border = valid_halves(valid).calibration["date"].min()
    late, value = pl.col("date") >= border, pl.col("forward_return")
    changes = {
        "none": value,
        "first": pl.when(late).then(value).otherwise(-3 * value),
        "second": pl.when(late).then(3 * value).otherwise(value),
    }
    fitted = {
        half: json.loads(KIND.fit(train, valid.with_columns(forward_return=changed), forecast_spec()).content)
        for half, changed in changes.items()
    }
    assert fitted["second"]["trees"] == fitted["none"]["trees"]
    assert fitted["second"]["widening"] > fitted["none"]["widening"] + 0.03
    assert fitted["first"]["trees"] != fitted["none"]["trees"]


def test_the_test_fold_is_never_seen_by_fit():
    trained = train_candidate(forecast_set(), forecast_spec())
    assert trained.fitted.content == _content()


def test_baselines_say_what_the_train_fold_was():
    train, test = _folds()[Fold.TRAIN], _folds()[Fold.TEST]
    said = KIND.naive(train, test, forecast_spec())
    equity = np.sort(1 + train["forward_return"].to_numpy())
    assert said["train_quantiles"].row(0)[0] == pytest.approx(equity[int(0.05 * len(equity))], abs=2e-3)
    assert said["train_quantiles"].n_unique() == 1
    # returns are a tenth of the volatility times a normal number, whose 95 percentile is 1.645
    expected = 1 + test["volatility_20d"] * 0.1645
    assert np.abs(said["volatility_scaled"]["equity_q95"] - expected).max() < 0.01


def test_a_candidate_says_what_its_template_asks_for_and_can_be_drawn():
    trained = train_candidate(forecast_set(), forecast_spec())
    said_elsewhere = {"training_set_fingerprint", "inputs", "feature_views", "code_version", "environment", "trials"}
    with pytest.raises(IncompleteMetadata) as refused:
        require_complete("return_forecast", "forecast", trained.metadata())
    assert set(refused.value.missing) == said_elsewhere
    assert skill_plot(trained).axes[0].get_legend_handles_labels()[1] == list(COLUMNS)
    assert spread_plot(trained.said, trained.spec).axes[0].get_legend_handles_labels()[1] == list(COLUMNS)


def test_too_short_a_valid_fold_is_refused():
    valid = _folds()[Fold.VALID]
    with pytest.raises(CannotCalibrate, match="change folds"):
        valid_halves(valid.filter(pl.col("date") <= valid["date"][30]))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "JSON"),
        (b'{"trees": {"q05": "", "q50": ""}, "widening": 0.0}', "trees.q95"),
        (b'{"trees": {"q05": "", "q50": "", "q95": ""}, "widening": 0.0}', "no LightGBM trees"),
        (b'{"trees": {"q05": "", "q50": "", "q95": ""}, "widening": 0.0, "more": 1}', "more"),
    ],
)
def test_bytes_that_are_no_forecast_are_refused(content: bytes, problem: str):
    with pytest.raises(MalformedForecast, match=problem):
        read_forecast(content, FEATURES)


def test_a_forecast_for_other_features_is_refused():
    with pytest.raises(MalformedForecast, match="for volatility_20d"):
        read_forecast(_content(), ("volatility_20d", *FEATURES[:3]))


def test_equity_is_one_plus_the_return():
    assert with_equity(pl.DataFrame({"forward_return": [-1.0, 0.25]}))["forward_equity"].to_list() == [0.0, 1.25]
