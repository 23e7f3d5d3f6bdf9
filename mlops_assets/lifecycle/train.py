"""How a classifier is fitted: on the train fold alone, stopped early on the valid fold, never shown the test fold.

How good it is, is asked in `skill.py`. The fit is deterministic to the byte: fixed seeds, one thread, fixed row order.
"""

# pyarrow, LightGBM and scikit-learn carry no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from mlops_assets.features.spec import Fold
from mlops_assets.kernel.errors import PlatformError
from mlops_assets.kernel.fingerprint import Json
from mlops_assets.lifecycle.spec import ModelSpec, fields_of

if TYPE_CHECKING:
    import pyarrow as pa

FOLDS = (Fold.TRAIN, Fold.VALID, Fold.TEST)


class EmptyFold(PlatformError):
    """A fold of the training set has no complete rows."""

    code = "empty_fold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A fitted model: LightGBM's own text form, which executes nothing when it is loaded."""

    text: str
    rounds: int
    parameters: dict[str, Json]
    library: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """What lies between two folds. `sessions` counts trading days strictly between the last label and the next row."""

    earlier: str
    later: str
    last_label_known: str
    first_row: str
    sessions: int
    is_disjoint: bool


def fit(table: pa.Table, spec: ModelSpec) -> Fit:
    """Fit the declared model to a training set.

    Raises:
        EmptyFold: if train or valid have no row with all features and a label.
    """
    import lightgbm

    train, valid = (fold_rows(table, spec.features, name) for name in (Fold.TRAIN, Fold.VALID))
    parameters = lightgbm_parameters(spec)
    data = _dataset(train, spec.features, parameters)
    booster = lightgbm.train(
        parameters,
        data,
        num_boost_round=spec.params.rounds,
        valid_sets=[_dataset(valid, spec.features, parameters, reference=data)],
        callbacks=[lightgbm.early_stopping(spec.params.early_stopping_rounds, verbose=False)],
    )
    return Fit(
        text=booster.model_to_string(num_iteration=booster.best_iteration),
        rounds=booster.best_iteration,
        parameters=parameters,
        library=f"lightgbm {lightgbm.__version__}",
    )


def lightgbm_parameters(spec: ModelSpec) -> dict[str, Json]:
    """Return the parameters of a fit: the declared ones and those that make it repeatable."""
    declared = fields_of(spec.params)
    for name in ("rounds", "early_stopping_rounds"):
        declared.pop(name)
    return {
        "objective": "binary",
        "metric": "binary_logloss",
        **declared,
        "seed": spec.seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }


def fold_rows(table: pa.Table, features: Sequence[str], fold: Fold) -> pl.DataFrame:
    """Return a fold's rows that have every feature and a label, by date and symbol.

    Raises:
        EmptyFold: if there are none.
    """
    rows = complete_rows(table, features).filter(pl.col("fold") == fold, pl.col("label").is_not_null())
    if rows.is_empty():
        raise EmptyFold(
            f"the {fold} fold has no row with a label and all of {', '.join(features)}; "
            "move the dates in folds, or materialise the training set over a longer history."
        )
    return rows


def complete_rows(table: pa.Table, features: Sequence[str]) -> pl.DataFrame:
    """Return the rows in which every feature is a finite number: the model never sees a guessed one."""
    frame = pl.DataFrame(pl.from_arrow(table)).sort("date", "symbol")
    return frame.filter(pl.all_horizontal(pl.col(name).is_finite().fill_null(value=False) for name in features))


def matrix(rows: pl.DataFrame, features: Sequence[str]) -> np.ndarray:
    """Return the features as float64, one row a row, columns in the declared order."""
    return np.ascontiguousarray(rows.select(features).to_numpy(), dtype=np.float64)


def fold_gaps(table: pa.Table) -> list[Gap]:
    """Measure how far the folds lie apart, by when labels became known and not by their dates.

    Purged means: every label of the earlier fold was known before the first row of the later one.
    """
    frame = pl.DataFrame(pl.from_arrow(table))
    sessions = frame.get_column("date").unique().sort()
    gaps: list[Gap] = []
    for earlier, later in pairwise(FOLDS):
        learned = frame.filter(pl.col("fold") == earlier).get_column("label_known_at").drop_nulls().sort()
        rows = frame.filter(pl.col("fold") == later).sort("event_at")
        if learned.is_empty() or rows.is_empty():
            raise EmptyFold(f"the {earlier} or the {later} fold is empty; move the dates in folds.")
        last_label, first = learned[-1], rows.row(0, named=True)
        known_on = last_label.date()
        between = sessions.filter((sessions > known_on) & (sessions < first["date"]))
        gaps.append(
            Gap(
                earlier=earlier,
                later=later,
                last_label_known=str(known_on),
                first_row=str(first["date"]),
                sessions=len(between),
                is_disjoint=last_label < first["event_at"],
            )
        )
    return gaps


def _dataset(rows: pl.DataFrame, features: Sequence[str], parameters: dict[str, Json], **options: Any):  # noqa: ANN202, ANN401 - LightGBM's own
    import lightgbm

    return lightgbm.Dataset(
        matrix(rows, features),
        label=rows.get_column("label").to_numpy(),
        feature_name=list(features),
        params=dict(parameters),
        **options,
    )
