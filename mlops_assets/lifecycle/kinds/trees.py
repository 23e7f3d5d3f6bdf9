"""Boosted trees by LightGBM that come out the same to the byte: fixed seeds, one thread, fixed row order."""

# LightGBM carries no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

from mlops_assets.kernel.fingerprint import Json
from mlops_assets.lifecycle.kinds.kind import READ_AND_KEPT
from mlops_assets.lifecycle.learner import TreeParameters
from mlops_assets.lifecycle.spec import fields_of
from mlops_assets.lifecycle.training.folds import matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """Fitted trees in LightGBM's own text form, which executes nothing when it is loaded."""

    text: str
    rounds: int
    library: str


def fit_trees(
    train: pl.DataFrame,
    valid: pl.DataFrame,
    *,
    features: Sequence[str],
    target: str,
    params: TreeParameters,
    objective: dict[str, Json],
    seed: int,
) -> Trees:
    """Fit to `train` and stop early by `valid`. `objective` names the objective, its metric and what they need."""
    import lightgbm

    parameters = parameters_of(params, objective, seed)
    data = _dataset(train, features, target, parameters)
    booster = lightgbm.train(
        parameters,
        data,
        num_boost_round=params.rounds,
        valid_sets=[_dataset(valid, features, target, parameters, reference=data)],
        callbacks=[lightgbm.early_stopping(params.early_stopping_rounds, verbose=False)],
    )
    return Trees(
        text=booster.model_to_string(num_iteration=booster.best_iteration),
        rounds=booster.best_iteration,
        library=f"lightgbm {lightgbm.__version__}",
    )


def parameters_of(params: TreeParameters, objective: dict[str, Json], seed: int) -> dict[str, Json]:
    """Return the parameters of a fit: the declared ones and those that make it repeatable."""
    declared = fields_of(params)
    for name in ("rounds", "early_stopping_rounds"):
        declared.pop(name)
    return {
        **objective,
        **declared,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }


def values_of(text: str, rows: pl.DataFrame, features: Sequence[str]) -> np.ndarray:
    """Return what the trees say of each row."""
    return np.asarray(_booster(text).predict(matrix(rows, features), num_threads=1), dtype=np.float64)


@lru_cache(maxsize=3 * READ_AND_KEPT)
def _booster(text: str):  # noqa: ANN202 - LightGBM's own
    """Read the trees once: reading 400 of them takes thirteen times as long as asking them for a row.

    A forecast is three sets of trees. Where fewer are kept than take turns, every question reads them again.
    """
    import lightgbm

    return lightgbm.Booster(model_str=text)


def _dataset(rows: pl.DataFrame, features: Sequence[str], target: str, parameters: dict[str, Json], **options: Any):  # noqa: ANN202, ANN401 - LightGBM's own
    import lightgbm

    return lightgbm.Dataset(
        matrix(rows, features),
        label=rows.get_column(target).to_numpy(),
        feature_name=list(features),
        params=dict(parameters),
        **options,
    )
