import lightgbm
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import shap

from mlops_assets.evaluation.explain import additivity_error, explain, importances
from mlops_assets.evaluation.market import DataNotComplete
from mlops_assets.evaluation.plots import beeswarm
from mlops_assets.orchestration.results import png_bytes
from tests.evaluation.models import FEATURES, model_text, training_set


@pytest.fixture(scope="module")
def explanations() -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(explain(training_set(), text=model_text(), features=FEATURES)))


def test_only_complete_rows_of_the_test_fold_are_explained(explanations):
    # 200 test days of two symbols, without the last day, whose feature is missing
    assert explanations.height == 398
    assert explanations.columns == ["symbol", "date", "event_at", "base", "margin", *(f"shap_{n}" for n in FEATURES)]
    assert explanations.select("symbol", "date").equals(explanations.select("symbol", "date").sort("symbol", "date"))


def test_the_parts_add_up_to_the_score_behind_the_probability(explanations):
    assert additivity_error(explanations.to_arrow()) < 1e-9
    booster = lightgbm.Booster(model_str=model_text())
    rows = pl.DataFrame(pl.from_arrow(training_set())).join(explanations, on=["symbol", "date"], how="right")
    probability = booster.predict(rows.select(FEATURES).to_numpy())
    assert np.allclose(1 / (1 + np.exp(-explanations["margin"].to_numpy())), probability, atol=1e-12)


def test_a_part_that_was_changed_breaks_additivity(explanations):
    forged = explanations.with_columns(shap_beta_5d=pl.col("shap_beta_5d") + 1e-6)
    assert additivity_error(forged.to_arrow()) > 1e-9


def test_the_shap_package_finds_the_same_values(explanations):
    rows = pl.DataFrame(pl.from_arrow(training_set())).join(explanations, on=["symbol", "date"], how="right").head(50)
    explainer = shap.TreeExplainer(lightgbm.Booster(model_str=model_text()))
    theirs = np.asarray(explainer.shap_values(rows.select(FEATURES).to_numpy()))
    ours = rows.select([f"shap_{name}" for name in FEATURES]).to_numpy()
    assert np.allclose(ours, theirs.reshape(ours.shape), atol=1e-12)


def test_the_feature_that_matters_comes_first_and_shares_add_up(explanations):
    found = importances(explanations)
    assert [one.feature for one in found] == list(FEATURES)
    assert sum(one.share for one in found) == pytest.approx(1.0)
    assert found[0].mean_absolute_shap == pytest.approx(explanations["shap_alpha_1d"].abs().mean())


def test_a_window_without_explained_rows_is_said(explanations):
    with pytest.raises(DataNotComplete, match="no explained row"):
        importances(explanations.clear())


def test_nothing_to_explain_is_said():
    only_train = pl.DataFrame(pl.from_arrow(training_set())).filter(pl.col("fold") == "train")
    with pytest.raises(DataNotComplete, match="nothing to explain"):
        explain(only_train.to_arrow(), text=model_text(), features=FEATURES)


def test_the_beeswarm_is_the_same_picture_twice_and_leaves_the_generator_alone(explanations):
    table: pa.Table = training_set()
    values = explanations.select("symbol", "date").join(pl.DataFrame(pl.from_arrow(table)), on=["symbol", "date"])
    np.random.seed(11)
    first = png_bytes(beeswarm(explanations, values, FEATURES, seed=5))
    after = np.random.random()
    assert png_bytes(beeswarm(explanations, values, FEATURES, seed=5)) == first
    np.random.seed(11)
    assert np.random.random() == after
