"""A small market for the forecast: random features, and returns whose spread one of them tells."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import yaml

from mlops_assets import catalog
from mlops_assets.features.spec import Fold
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.lifecycle.training.folds import fold_rows
from tests.lifecycle.worlds import changed, training_set

DECLARATION = Path(str(catalog.__file__)).parent / "models" / "return_forecast.yaml"
FEATURES = ("return_5d", "return_20d", "momentum_12_1", "volatility_20d", "volatility_252d", "drawdown_252d")


@cache
def declared() -> dict[str, Any]:
    """The catalogue's declaration as parsed."""
    return yaml.safe_load(DECLARATION.read_text(encoding="utf-8"))


def forecast_spec(**changes: object) -> ModelSpec:
    """The catalogue's forecast with few, small trees, tried over a history of two years."""
    learner = declared()["learner"]
    params = {**learner["params"], "rounds": 30, "early_stopping_rounds": 5, "min_data_in_leaf": 20}
    small = {
        "learner": {**learner, "params": params, "every_sessions": 2},
        "walk_forward": {"windows": 2, "window_sessions": 100},
    }
    return ModelSpec.from_mapping({**declared(), **small, **changes}, DECLARATION)


def forecast_set(*, seed: int = 1, symbols: int = 4) -> pa.Table:
    """Independent returns of a tenth of the row's volatility, which lies between .1 and .5."""
    table = training_set(seed=seed, symbols=symbols)
    generator = np.random.default_rng(seed + 1000)
    volatility = pl.Series(generator.uniform(0.1, 0.5, table.num_rows))
    noise = pl.Series(generator.normal(size=table.num_rows))
    known = pl.col("forward_return").is_not_null()
    return changed(
        table,
        volatility.alias("volatility_20d"),
        pl.col("rsi_14").alias("volatility_252d"),
        pl.col("return_1d").alias("drawdown_252d"),
        pl.when(known).then(volatility * noise / 10).alias("forward_return"),
    )


def rows_of(table: pa.Table, fold: Fold) -> pl.DataFrame:
    """A fold's complete rows."""
    return fold_rows(table, FEATURES, fold)
