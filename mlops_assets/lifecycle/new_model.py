"""The file that a new model starts from: every block of its kind with what it is for, and sentences left to write.

A sentence that begins with TODO is refused when the catalogue is read, so that nothing is trained before its author
said what it is for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import ClassVar

from mlops_assets.kernel.errors import Conflict, PlatformError
from mlops_assets.lifecycle.learner import Kind
from mlops_assets.lifecycle.spec import NAME
from mlops_assets.storage.files import publish_new_file, temporary_file

_OWNER = re.compile(r"team:[a-zA-Z0-9_/-]+|[a-zA-Z0-9][a-zA-Z0-9._+-]*@[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)+")
_NOT_WORDS = frozenset({"null", "true", "false", "yes", "off"})
"""Names that YAML reads as something else."""


class InvalidName(PlatformError):
    """A new model can't have that name or owner."""

    code: ClassVar[str] = "invalid_name"


def start_model(folder: Path, *, name: str, kind: Kind, owner: str) -> Path:
    """Write the file of a new model below the catalogue's `folder` and return where it is.

    Raises:
        InvalidName: if the name or the owner has another form.
        Conflict: if the model is declared already; its file stays as it is.
    """
    if re.fullmatch(NAME, name) is None or name in _NOT_WORDS:
        raise InvalidName(
            f"{name!r} is no name of a model. Use 3-60 of a-z, 0-9 and _, beginning with a letter, and no word of YAML."
        )
    if _OWNER.fullmatch(owner) is None:
        raise InvalidName(f"{owner!r} is no owner. Write it like team:quant, or as an address.")
    file = folder / "models" / f"{name}.yaml"
    with temporary_file(file.parent) as temporary:
        temporary.write_text(draft(name, kind, owner), encoding="utf-8")
        if not publish_new_file(temporary, file):
            raise Conflict(f"{file} is there already. Edit it, or choose another name.")
    return file


def draft(name: str, kind: Kind, owner: str) -> str:
    """Return the text of a new model's file."""
    return _WHOLE.substitute(name=name, kind=kind, owner=owner, **_PARTS[kind])


_WHOLE = Template("""\
# $what
# Sentences that begin with TODO are yours to write; the catalogue is refused until they are.
name: $name
kind: $kind
version: 0.1.0 # of this file, by semantic versioning; trained versions are counted by the registry
owner: $owner
tier: 2 # risk: 1 is the highest, and asks for the most people
description: TODO What it is, in two or three sentences for somebody who has not seen it.
purpose: TODO Which decision it serves, and for whom.
scope: TODO Markets, horizon and use it is meant for, and those it is not.
assumptions:
  - TODO What has to stay true for it to work; one line each.
limitations:
  - TODO What it does not know, and where it is known to be weak; one line each.

# What it learns from: columns of feature views (`mlops features list`), a label, and folds in time.
training_set:
  name: ${name}_rows
  owner: $owner
  description: TODO What one row holds, and what it is to be predicted from it.
  features:
$features
  label:
    horizon_sessions: $horizon # trading days ahead
    threshold: 0.0 # the label is true where the return is above it
  folds:
    valid_sessions: 750 # before those that test: they decide when to stop, and what a sweep prefers
    test_sessions: 1250 # the last ones; both move on with the history. Or fix them: train_until and valid_until
    embargo_sessions: $embargo # left out between folds

# How it learns. `mlops models sweep` may try other values of params; the rest is yours.
learner:
$learner
seed: 20240607

# How it is tried: a fit for each of the last periods, from what was known before it alone.
walk_forward:
  windows: 4
  window_sessions: 252

# How its inputs are watched; embargo_sessions is at least the longest look-back of a feature.
monitoring:
  window_sessions: 60
  stride_sessions: 5
  embargo_sessions: 272
  family_alpha: 0.05 # chance that a check speaks up though nothing changed

# Where it asks to go, in which steps, and what ends it by itself.
deployment:
  environment: development
  rollout:
    shadow_sessions: 5
    canary_sessions: 10
    canary: {by: symbols, share: 0.2}
  limits:
    max_order_difference: 0.5 # share of orders that are not the champion's
    max_drawdown: 0.1 # fraction of its slice's highest value
    max_weight: 0.2 # of one symbol, a fraction of equity
    max_orders_a_session: 20
    max_error_rate: 0.01
    max_p99_ms: 250

# When a candidate is trained again; it never promotes itself.
retraining:
  cron: "0 6 2 1,4,7,10 *" # UTC
  within_days: 100
  after_drift: true
  most_a_year: 4 # of what drift asks for

# What a sweep tries. It adopts nothing: write what you like above.
search:
  trials: 20
  space:
$space
""")

_PARTS: Mapping[Kind, Mapping[str, str]] = {
    "classifier": {
        "what": "A classifier: the probability that a stock's return beats the label's threshold.",
        "horizon": "5",
        "embargo": "10",
        "features": """\
    - momentum.return_1d
    - momentum.return_20d
    - momentum.momentum_12_1""",
        "learner": """\
  params: # LightGBM's
    rounds: 200
    early_stopping_rounds: 20
    learning_rate: 0.05
    num_leaves: 15
    min_data_in_leaf: 500
  baseline:
    momentum: return_20d # its sign is what the model has to beat, beside the base rate
  buckets: {strong_sell: 0.25, sell: 0.4, buy: 0.6, strong_buy: 0.75}""",
        "space": """\
    learning_rate: {low: 0.01, high: 0.1, log: true}
    num_leaves: {low: 7, high: 63, log: true}""",
    },
    "forecast": {
        "what": "A forecast: calibrated quantiles (5, 50 and 95 %) of what one unit of equity becomes.",
        "horizon": "20",
        "embargo": "20",
        "features": """\
    - momentum.return_20d
    - momentum.momentum_12_1
    - volatility.volatility_20d""",
        "learner": """\
  params: # LightGBM's
    rounds: 150
    early_stopping_rounds: 20
    learning_rate: 0.1
    num_leaves: 7
    min_data_in_leaf: 200
  baseline:
    volatility: volatility_20d # past quantiles scaled by it are what the model has to beat, beside plain ones
  every_sessions: 5 # one row in so many teaches: neighbouring labels share most of their days""",
        "space": """\
    learning_rate: {low: 0.02, high: 0.2, log: true}
    num_leaves: {low: 3, high: 31, log: true}""",
    },
    "regime": {
        "what": "A regime: bullish, bearish, volatile or sideways, by a mixture over features of the market's day.",
        "horizon": "5",
        "embargo": "10",
        "features": """\
    - regime.index_trend
    - regime.index_volatility
    - regime.index_volatility_ratio""",
        "learner": """\
  params: # of scikit-learn's Gaussian mixture
    initialisations: 2
    max_iterations: 500
    tolerance: 0.0001
    regularisation: 0.000001
  trend: index_trend # features by whose means the four components get their names
  volatility: index_volatility""",
        "space": """\
    regularisation: {low: 0.0000001, high: 0.001, log: true}""",
    },
    "policy": {
        "what": "A policy: the target weight of each symbol, from a table learned in a seeded environment.",
        "horizon": "5",
        "embargo": "10",
        "features": """\
    - momentum.momentum_12_1
    - momentum.return_20d
    - volatility.volatility_20d""",
        "learner": """\
  params: # of Q-learning
    passes: 20
    exploration: 0.5
    discount: 0.8
  buckets: 3 # of each feature; a state is one of each, and the weight that is held
  weights: [0.0, 0.5, 1.0] # of the symbol's position limit
  every_sessions: 5 # from one decision to the next: the label's horizon
  cost_bps: 15.0 # paid on what is traded""",
        "space": """\
    exploration: {low: 0.1, high: 1.0}
    discount: {low: 0.0, high: 0.95}""",
    },
}
