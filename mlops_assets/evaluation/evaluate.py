"""What one strategy does in one scenario: market, signal, replay, checks and metrics in one pure step."""

# pyarrow, LightGBM and scikit-learn carry no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mlops_assets.evaluation import checks, metrics
from mlops_assets.evaluation.checks import Verdict
from mlops_assets.evaluation.market import Market, market_of
from mlops_assets.evaluation.replay import ENGINE_MODULES, Replay, replay
from mlops_assets.evaluation.spec import Scenario, Strategy
from mlops_assets.kernel.fingerprint import fingerprint, source_fingerprint

if TYPE_CHECKING:
    import pyarrow as pa

RULE_MODULES = (
    *ENGINE_MODULES,
    "mlops_assets.evaluation.checks",
    "mlops_assets.evaluation.evaluate",
    "mlops_assets.evaluation.metrics",
    "mlops_assets.evaluation.tables",
)
"""Every module whose source decides what an evaluation says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A replay with what was checked and measured. `inputs` names everything it was made from, by fingerprint."""

    scenario: str
    candidate: str
    inputs: Mapping[str, str]
    result: Replay
    metrics: Mapping[str, float | None]
    verdicts: tuple[Verdict, ...]

    @property
    def id(self) -> str:
        return replay_id(self.inputs)


def replay_id(inputs: Mapping[str, str]) -> str:
    """Identify a run by everything that decides its result."""
    return fingerprint(dict(inputs))


def inputs_of(scenario: Scenario, strategy: Strategy, data: Mapping[str, str]) -> dict[str, str]:
    """Name what decides a replay: the data sets by fingerprint, both declarations, the engine and its libraries."""
    return {
        **data,
        f"scenarios/{scenario.name}": scenario.fingerprint,
        f"strategies/{strategy.name}": strategy.fingerprint,
        "code/evaluation": source_fingerprint(*RULE_MODULES),
        "code/libraries": fingerprint({"numpy": np.__version__, "polars": pl.__version__}),
    }


def evaluate(
    scenario: Scenario,
    strategy: Strategy,
    *,
    bars: pa.Table,
    predictions: pa.Table | None,
    data: Mapping[str, str],
) -> Evaluation:
    """Replay `strategy` in `scenario`.

    Args:
        predictions: of the strategy's model; None for a strategy without one.
        data: fingerprints of the tables, by dataset.

    Raises:
        DataNotComplete: if the bars or predictions do not cover the window.
        InvalidSignal: if the strategy returns what can't be traded.
    """
    market, targets, result = _run(scenario, strategy, bars, predictions)
    _, _, again = _run(scenario, strategy, bars, predictions)
    verdicts = [
        checks.data_complete(market),
        checks.prefix_invariance(strategy, market, targets),
        checks.rerun_identical(result, again),
    ]
    if predictions is not None:
        verdicts.append(checks.out_of_sample(market, predictions))
    return Evaluation(
        scenario=scenario.name,
        candidate=strategy.name,
        inputs=inputs_of(scenario, strategy, data),
        result=result,
        metrics=metrics.measure(result),
        verdicts=tuple(verdicts),
    )


def _run(
    scenario: Scenario, strategy: Strategy, bars: pa.Table, predictions: pa.Table | None
) -> tuple[Market, np.ndarray, Replay]:
    market = market_of(scenario, bars, predictions)
    targets = strategy.signal(market, **strategy.parameters)
    return market, targets, replay(market, targets, scenario)
