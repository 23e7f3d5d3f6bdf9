"""Why the model said so: exact SHAP values of a LightGBM model, by LightGBM itself.

`pred_contrib` is the tree-path-dependent TreeSHAP of Lundberg, Erion and Lee (2018), in raw score (log-odds). The
`shap` package only draws: its own explainer delegates to the same routine.
"""

# pyarrow, LightGBM and scikit-learn carry no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import polars as pl

from mlops_assets.evaluation.market import DataNotComplete
from mlops_assets.features.spec import Fold
from mlops_assets.kernel.columns import Column
from mlops_assets.kernel.fingerprint import Json
from mlops_assets.lifecycle.training.folds import complete_rows, matrix

if TYPE_CHECKING:
    import pyarrow as pa

ADDITIVITY_LIMIT = 1e-9
"""Largest distance allowed between a raw score and the sum of its parts."""

PREFIX = "shap_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """How much a feature moves the raw score: mean |SHAP|, and that as a share of all features' together."""

    feature: str
    mean_absolute_shap: float
    share: float

    def as_json(self) -> dict[str, Json]:
        return {"feature": self.feature, "mean_absolute_shap": self.mean_absolute_shap, "share": self.share}


def columns_of(features: Sequence[str]) -> tuple[Column, ...]:
    """Describe the columns of an explanations table."""
    return (
        Column(name="symbol", type="string", description="Ticker symbol."),
        Column(name="date", type="date", description="Trading day of the features."),
        Column(name="event_at", type="timestamp", unit="UTC", description="Close of that day on the exchange."),
        Column(name="base", type="float", unit="log-odds", description="Raw score the model starts from."),
        Column(name="margin", type="float", unit="log-odds", description="Raw score: base plus every SHAP value."),
        *(
            Column(name=PREFIX + name, type="float", unit="log-odds", description=f"What {name} adds to the score.")
            for name in features
        ),
    )


def explain(training_set: pa.Table, *, text: str, features: Sequence[str]) -> pa.Table:
    """Explain every complete row of the test fold, sorted by symbol and date.

    Args:
        text: the model in LightGBM's text form.

    Raises:
        DataNotComplete: if the test fold has no complete row.
    """
    import lightgbm

    rows = complete_rows(training_set, features).filter(pl.col("fold") == Fold.TEST).sort("symbol", "date")
    if rows.is_empty():
        raise DataNotComplete(
            f"no row of the test fold has all of {', '.join(features)}: there is nothing to explain. "
            "Change folds, or ingest later bars."
        )
    booster = lightgbm.Booster(model_str=text)
    values = matrix(rows, features)
    parts = cast("np.ndarray", booster.predict(values, pred_contrib=True))
    margin = cast("np.ndarray", booster.predict(values, raw_score=True))
    return (
        rows.select("symbol", "date", "event_at")
        .with_columns(
            pl.Series("base", parts[:, -1]),
            pl.Series("margin", margin),
            *(pl.Series(PREFIX + name, parts[:, index]) for index, name in enumerate(features)),
        )
        .to_arrow(compat_level=pl.CompatLevel.oldest())
    )


def additivity_error(explanations: pa.Table) -> float:
    """Return the largest distance between a raw score and base plus its SHAP values."""
    frame = pl.DataFrame(pl.from_arrow(explanations))
    # One column after the other: the order of polars' sum_horizontal, and so its last bit, depends on its threads.
    total = frame["base"]
    for name in frame.columns:
        if name.startswith(PREFIX):
            total = total + frame[name]
    return float(cast("float", (frame["margin"] - total).abs().max()))


def importances(explanations: pl.DataFrame) -> list[Importance]:
    """Return the features by mean |SHAP|, the greatest first, ties by name.

    Raises:
        DataNotComplete: if there is no row.
    """
    if explanations.is_empty():
        raise DataNotComplete(
            "no explained row lies in the window: explanations are of the test fold. Move the scenario's window there, "
            "or change folds."
        )
    names = [name for name in explanations.columns if name.startswith(PREFIX)]
    means = {name.removeprefix(PREFIX): _mean_absolute(explanations[name]) for name in names}
    total = math.fsum(means.values())
    ordered = sorted(means.items(), key=lambda item: (-item[1], item[0]))
    return [
        Importance(feature=name, mean_absolute_shap=mean, share=mean / total if total else 0.0)
        for name, mean in ordered
    ]


def _mean_absolute(values: pl.Series) -> float:
    """Return the mean of |values|; `math.fsum` rounds once, so no processor's order of adding shows in a report."""
    return math.fsum(values.abs()) / len(values)
