"""The kinds of model that there are. A new one is a module here, its block in `learner.py` and its template."""

from __future__ import annotations

from collections.abc import Mapping

from mlops_assets.lifecycle.kinds.classifier import Classifier
from mlops_assets.lifecycle.kinds.forecast import Forecast
from mlops_assets.lifecycle.kinds.kind import KindOfModel
from mlops_assets.lifecycle.kinds.policy import Policy
from mlops_assets.lifecycle.kinds.regime import Regime
from mlops_assets.lifecycle.learner import Kind

KINDS: Mapping[Kind, KindOfModel] = {
    "classifier": Classifier(),
    "policy": Policy(),
    "forecast": Forecast(),
    "regime": Regime(),
}


def kind_of(kind: Kind) -> KindOfModel:
    """Return a kind by its name."""
    return KINDS[kind]
