import lightgbm
import numpy as np
import polars as pl

from mlops_assets.lifecycle.predict import COLUMNS, bucket_of, predict
from mlops_assets.lifecycle.train import complete_rows, fit, matrix
from tests.lifecycle.worlds import FEATURES, small_spec, spec, training_set


def test_a_threshold_belongs_to_the_bucket_further_from_hold():
    said = np.array([0.1, 0.25, 0.26, 0.4, 0.41, 0.59, 0.6, 0.74, 0.75, 0.99])
    assert bucket_of(said, spec().buckets) == [
        *["strong_sell"] * 2,
        *["sell"] * 2,
        *["hold"] * 2,
        *["buy"] * 2,
        *["strong_buy"] * 2,
    ]


def test_every_complete_row_is_predicted_the_live_ones_included():
    table = training_set(signal=1.0)
    text = fit(table, small_spec()).text
    found = pl.DataFrame(
        pl.from_arrow(predict(table, text=text, features=FEATURES, buckets=spec().buckets, model_version=3))
    )
    assert found.columns == [column.name for column in COLUMNS]
    assert found.height == table.num_rows
    assert found.filter(pl.col("fold") == "live").height == 4 * 5
    assert found["model_version"].unique().to_list() == [3]
    assert found.select("symbol", "date").equals(found.select("symbol", "date").sort("symbol", "date"))


def test_a_probability_is_the_logistic_of_the_raw_score():
    table = training_set(signal=1.0)
    text = fit(table, small_spec()).text
    rows = complete_rows(table, FEATURES).sort("symbol", "date")
    margin = lightgbm.Booster(model_str=text).predict(matrix(rows, FEATURES), raw_score=True)
    found = predict(table, text=text, features=FEATURES, buckets=spec().buckets, model_version=1)
    np.testing.assert_allclose(found["probability"].to_numpy(), 1 / (1 + np.exp(-np.asarray(margin))), rtol=1e-12)
