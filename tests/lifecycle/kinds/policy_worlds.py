"""A small market for the policy: the lifecycle's random walks under the names of the policy's features."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import yaml

from mlops_assets import catalog
from mlops_assets.features.spec import Fold
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.lifecycle.training.folds import fold_rows
from tests.lifecycle.worlds import training_set

DECLARATION = Path(str(catalog.__file__)).parent / "models" / "allocation_policy.yaml"
FEATURES = ("momentum_12_1", "return_20d", "volatility_20d")


@cache
def declared() -> dict[str, Any]:
    """The catalogue's declaration as parsed."""
    return yaml.safe_load(DECLARATION.read_text(encoding="utf-8"))


def policy_spec(
    *, params: dict[str, object] | None = None, learner: dict[str, object] | None = None, **changes: object
):
    """The catalogue's policy, learned in few passes and tried over a history of two years."""
    block = declared()["learner"]
    block = {**block, "params": {**block["params"], "passes": 4, **(params or {})}, **(learner or {})}
    small = {"learner": block, "walk_forward": {"windows": 2, "window_sessions": 100}}
    return ModelSpec.from_mapping({**declared(), **small, **changes}, DECLARATION)


def allocation_set(*, seed: int = 1, signal: float = 0.0) -> pa.Table:
    """A training set of random features whose return follows `volatility_20d` with strength `signal`."""
    table = pl.DataFrame(pl.from_arrow(training_set(seed=seed, signal=signal)))
    renamed = table.drop("return_5d", "rsi_14").rename({"return_1d": "volatility_20d"})
    return renamed.to_arrow(compat_level=pl.CompatLevel.oldest())


def rows_of(table: pa.Table, fold: Fold) -> pl.DataFrame:
    """A fold's complete rows."""
    return fold_rows(table, FEATURES, fold)
