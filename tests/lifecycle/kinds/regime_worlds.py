"""A small market for the regimes: days from four known clouds of trend and volatility, the same for each stock."""

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
from tests.lifecycle.worlds import training_set

DECLARATION = Path(str(catalog.__file__)).parent / "models" / "regime_classifier.yaml"
FEATURES = ("index_trend", "index_volatility", "index_volatility_ratio")
CENTRES = {
    "bullish": (0.10, 0.12, 0.9),
    "bearish": (-0.10, 0.18, 1.0),
    "volatile": (-0.05, 0.50, 1.8),
    "sideways": (0.00, 0.10, 0.8),
}


@cache
def declared() -> dict[str, Any]:
    """The catalogue's declaration as parsed."""
    return yaml.safe_load(DECLARATION.read_text(encoding="utf-8"))


def regime_spec(**changes: object) -> ModelSpec:
    """The catalogue's regimes, tried over a history of two years."""
    small = {"walk_forward": {"windows": 2, "window_sessions": 100}}
    return ModelSpec.from_mapping({**declared(), **small, **changes}, DECLARATION)


def regime_set(*, seed: int = 1, symbols: int = 3) -> pa.Table:
    """Four equally likely clouds; `truth` names the one that a day was drawn from."""
    table = pl.DataFrame(pl.from_arrow(training_set(seed=seed, symbols=symbols)))
    days = table["date"].unique().sort()
    generator = np.random.default_rng(seed + 1000)
    drawn = generator.integers(0, 4, len(days))
    centres = np.array(list(CENTRES.values()))
    values = centres[drawn] + generator.normal(size=(len(days), 3)) * [0.01, 0.015, 0.05]
    of_days = pl.DataFrame(
        {
            "date": days,
            **{name: values[:, number] for number, name in enumerate(FEATURES)},
            "truth": [list(CENTRES)[one] for one in drawn],
        }
    )
    joined = table.drop("return_1d", "return_5d", "return_20d", "momentum_12_1", "rsi_14").join(
        of_days, on="date", how="left", maintain_order="left"
    )
    return joined.to_arrow(compat_level=pl.CompatLevel.oldest())


def rows_of(table: pa.Table, fold: Fold) -> pl.DataFrame:
    """A fold's complete rows."""
    return fold_rows(table, FEATURES, fold)
