import polars as pl

from mlops_assets.lifecycle.training.candidate import train_candidate
from mlops_assets.lifecycle.training.predictions import columns_of, predict
from tests.lifecycle.worlds import small_spec, training_set


def test_every_complete_row_is_predicted_the_live_ones_included():
    table, spec = training_set(signal=1.0), small_spec()
    content = train_candidate(table, spec).fitted.content
    found = pl.DataFrame(pl.from_arrow(predict(table, content, spec, model_version=3)))
    assert found.columns == [column.name for column in columns_of(spec)]
    assert found.height == table.num_rows
    assert found.filter(pl.col("fold") == "live").height == 4 * 5
    assert found["model_version"].unique().to_list() == [3]
    assert found.select("symbol", "date").equals(found.select("symbol", "date").sort("symbol", "date"))
