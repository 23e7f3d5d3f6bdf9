import hashlib
import subprocess
import sys
from functools import cache

import numpy as np
import polars as pl
import pytest
from scipy.stats import multivariate_normal
from skops import io as skops_io

from mlops_assets.features.spec import Fold
from mlops_assets.lifecycle import skops_file
from mlops_assets.lifecycle.kinds.regime import (
    ESTIMATOR,
    PROBABILITIES,
    REGIMES,
    NotOfTheDay,
    Regime,
    days_of,
    names_of,
    read_mixture,
)
from mlops_assets.lifecycle.plots import skill_plot, spread_plot
from mlops_assets.lifecycle.skops_file import RefusedArtifact
from mlops_assets.lifecycle.template import IncompleteMetadata, require_complete
from mlops_assets.lifecycle.training.candidate import train_candidate
from mlops_assets.lifecycle.training.folds import matrix
from tests.lifecycle.kinds.regime_worlds import CENTRES, FEATURES, regime_set, regime_spec, rows_of

KIND = Regime()
_FIT = """
import hashlib
from mlops_assets.features.spec import Fold
from mlops_assets.lifecycle.kinds.regime import Regime
from tests.lifecycle.kinds.regime_worlds import regime_set, regime_spec, rows_of
table = regime_set()
fitted = Regime().fit(rows_of(table, Fold.TRAIN), rows_of(table, Fold.VALID), regime_spec())
print(hashlib.sha256(fitted.content).hexdigest())
"""


@cache
def _folds() -> dict[Fold, pl.DataFrame]:
    table = regime_set()
    return {fold: rows_of(table, fold) for fold in (Fold.TRAIN, Fold.VALID, Fold.TEST)}


@cache
def _content() -> bytes:
    return KIND.fit(_folds()[Fold.TRAIN], _folds()[Fold.VALID], regime_spec()).content


@cache
def _said() -> pl.DataFrame:
    return KIND.predict(_folds()[Fold.TEST], _content(), regime_spec())


def test_two_processes_fit_the_same_bytes():
    there = subprocess.run([sys.executable, "-c", _FIT], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == hashlib.sha256(_content()).hexdigest()


def test_components_are_named_by_their_means():
    # volatile is number 2 although it falls most; of the others 0 rises most and 3 least
    assert names_of([0.05, 0.01, -0.2, -0.01], [0.1, 0.2, 0.4, 0.3]) == ["bullish", "sideways", "volatile", "bearish"]


def test_names_do_not_depend_on_the_order_of_the_components():
    trend, volatility = [0.05, 0.01, -0.2, -0.01], [0.1, 0.2, 0.4, 0.3]
    named = dict(zip(trend, names_of(trend, volatility), strict=True))
    for order in ([3, 1, 0, 2], [2, 3, 1, 0]):
        moved = names_of([trend[place] for place in order], [volatility[place] for place in order])
        assert [named[trend[place]] for place in order] == moved


def test_days_drawn_from_known_clouds_get_their_names():
    assert (_said()["regime"] == _folds()[Fold.TEST]["truth"]).mean() > 0.99
    facts = KIND.fit(_folds()[Fold.TRAIN], _folds()[Fold.VALID], regime_spec()).facts["regimes"]
    assert isinstance(facts, dict)
    for name, centre in CENTRES.items():
        assert list(facts[name]["means"].values()) == pytest.approx(centre, abs=0.02)


def test_the_posterior_is_that_of_scikit_learn():
    rows, estimator = _folds()[Fold.TEST], skops_file.loads(_content(), estimator=ESTIMATOR)
    values = matrix(rows, FEATURES)
    names = names_of(estimator.means_[:, 0].tolist(), estimator.means_[:, 1].tolist())
    expected = estimator.predict_proba(values)[:, [names.index(name) for name in REGIMES]]
    np.testing.assert_allclose(_said().select(PROBABILITIES).to_numpy(), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(_said()["log_density"].to_numpy(), estimator.score_samples(values), rtol=1e-9)


def test_the_baselines_are_gaussians_of_the_train_fold():
    train, test = _folds()[Fold.TRAIN], _folds()[Fold.TEST]
    said = KIND.naive(train, test, regime_spec())
    seen, judged = matrix(train.unique("date"), FEATURES), matrix(test, FEATURES)

    def gaussian(days: np.ndarray) -> np.ndarray:
        covariance = np.cov(days, rowvar=False, bias=True) + 1e-6 * np.eye(3)
        return multivariate_normal(days.mean(axis=0), covariance).pdf(judged)

    np.testing.assert_allclose(said["single_gaussian"]["log_density"], np.log(gaussian(seen)), rtol=1e-7)
    rises, moves = (seen[:, place] > np.median(seen[:, place]) for place in (0, 1))
    parts = [seen[(rises == up) & (moves == wild)] for up in (True, False) for wild in (True, False)]
    mixed = sum(len(part) / len(seen) * gaussian(part) for part in parts)
    np.testing.assert_allclose(said["quadrants"]["log_density"], np.log(mixed), rtol=1e-7)


def test_the_right_model_beats_both_baselines():
    trained = train_candidate(regime_set(), regime_spec())
    assert trained.skill.beats_every_baseline
    assert [gain.baseline for gain in trained.skill.gains] == list(KIND.baselines)


def test_later_days_and_other_symbols_change_nothing_that_is_said():
    rows, spec = _folds()[Fold.TEST], regime_spec()
    for height in (1, 2, 7, 1000):
        assert KIND.predict(rows.head(height), _content(), spec).equals(_said().head(height))
    alone = rows.filter(pl.col("symbol") == "S1")
    assert KIND.predict(alone, _content(), spec).equals(_said().filter(rows["symbol"] == "S1"))


def test_every_stock_of_a_day_is_told_the_same():
    said = pl.concat([_folds()[Fold.TEST].select("date"), _said()], how="horizontal")
    assert said.unique().height == said["date"].n_unique()
    assert KIND.check(_said()) == {"no_distribution": 0, "unknown_regime": 0, "no_density": 0}


def test_a_day_teaches_once_however_many_stocks_it_has():
    few, many = regime_set(symbols=1), regime_set(symbols=5)
    fits = [KIND.fit(rows_of(one, Fold.TRAIN), rows_of(one, Fold.VALID), regime_spec()) for one in (few, many)]
    assert fits[0].content == fits[1].content


def test_valid_and_test_teach_nothing():
    other = regime_set(seed=9)
    fitted = KIND.fit(_folds()[Fold.TRAIN], rows_of(other, Fold.VALID), regime_spec())
    assert fitted.content == _content()
    assert train_candidate(regime_set(), regime_spec()).fitted.content == _content()


def test_a_day_is_judged_once():
    rows = _folds()[Fold.TEST]
    losses = KIND.losses(rows, _said(), regime_spec())
    assert np.isfinite(losses).sum() == rows["date"].n_unique()
    assert KIND.scores(rows, _said(), regime_spec())["negative_log_density"] == pytest.approx(np.nanmean(losses))


def test_scores_are_worked_by_hand():
    rows = pl.DataFrame({"date": [1, 1, 2, 2, 3, 3], "forward_return": [0.1, 0.3, 0.0, 0.2, -0.2, 0.0]}).with_columns(
        pl.col("date").cast(pl.Float64).alias(name) for name in FEATURES
    )
    said = pl.DataFrame({"regime": ["bullish"] * 4 + ["volatile"] * 2, "log_density": [1.0, 1.0, 2.0, 2.0, 6.0, 6.0]})
    scores = KIND.scores(rows, said, regime_spec())
    assert (scores["rows"], scores["negative_log_density"]) == (3, -3.0)
    assert scores["mean_dwell_sessions"] == 1.5
    assert (scores["share_bullish"], scores["share_sideways"]) == (pytest.approx(2 / 3), 0.0)
    assert scores["forward_return_bullish"] == pytest.approx(0.15)
    assert scores["forward_spread_bullish"] == pytest.approx(0.1 / 2**0.5)
    assert (scores["forward_return_sideways"], scores["forward_spread_volatile"]) == (None, None)


def test_features_of_single_stocks_are_refused():
    rows = _folds()[Fold.TRAIN].with_columns(pl.int_range(pl.len()).cast(pl.Float64).alias("index_trend"))
    with pytest.raises(NotOfTheDay, match="take features from a view with one value a day"):
        days_of(rows, FEATURES)


def test_a_candidate_says_what_its_template_asks_for_and_can_be_drawn():
    trained = train_candidate(regime_set(), regime_spec())
    said_elsewhere = {"training_set_fingerprint", "inputs", "feature_views", "code_version", "environment", "trials"}
    with pytest.raises(IncompleteMetadata) as refused:
        require_complete("regime_classifier", "regime", trained.metadata())
    assert set(refused.value.missing) == said_elsewhere
    assert skill_plot(trained).axes[0].get_legend_handles_labels()[1] == list(REGIMES)
    bars = spread_plot(trained.said, trained.spec).axes[0].containers[0]
    assert sum(bar.get_height() for bar in bars) == pytest.approx(1)


def test_a_mixture_of_another_shape_is_refused():
    with pytest.raises(RefusedArtifact, match="means_"):
        read_mixture(_content(), FEATURES[:2])


def test_an_unfitted_mixture_is_refused():
    from sklearn.mixture import GaussianMixture

    with pytest.raises(RefusedArtifact, match="weights_"):
        read_mixture(skops_io.dumps(GaussianMixture(4)), FEATURES)
