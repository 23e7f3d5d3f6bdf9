"""A small report of two hand-made replays, for the tests of report, page and store."""

from __future__ import annotations

import math

import numpy as np

from mlops_assets.catalog.strategies import buy_and_hold, sma_crossover
from mlops_assets.evaluation.checks import Verdict
from mlops_assets.evaluation.explain import Importance
from mlops_assets.evaluation.replay import replay
from mlops_assets.evaluation.report import Contender, Explained
from tests.evaluation.worlds import market, scenario

SCENARIO = scenario(
    stress_events=[{"label": "Fall <b>", "start": "2020-01-03", "end": "2020-01-06"}],
    gates=[{"metric": "total_return", "at_least": 0.0}, {"metric": "win_rate", "at_least": 0.5}],
    costs={"commission_bps": 10, "slippage_bps": 5},
)
MARKET = market([10.0, 11.0, 9.0, 12.0, 13.0, 12.5], [5.0, 5.0, 6.0, 5.5, 5.0, 4.0])
EXPLAINED = Explained(
    model="signal_classifier",
    explanations_fingerprint="e" * 64,
    window=(Importance(feature="rsi_14", mean_absolute_shap=0.2, share=1.0),),
    test_fold=(Importance(feature="rsi_14", mean_absolute_shap=0.1, share=1.0),),
    additivity_error=1e-16,
)


def contenders(last_target: float = 0.0) -> list[Contender]:
    """Return a baseline that buys and holds and a candidate that sells on the last day but one."""
    keep = [math.nan, math.nan]
    held = np.array([[0.5, 0.5], keep, keep, keep, keep, keep])
    traded = np.array([[0.4, 0.0], keep, [0.2, 0.6], keep, [last_target, last_target], keep])
    return [
        Contender(
            strategy=strategy,
            role=role,
            replay_id=strategy.name[0] * 64,
            result=replay(MARKET, targets, SCENARIO),
            verdicts=(Verdict(check="data_complete", is_passed=True, summary="6 days of 2 symbols"),),
            inputs={"market/bars": "b" * 64, f"strategies/{strategy.name}": strategy.name[0] * 64},
        )
        for strategy, role, targets in (
            (buy_and_hold.STRATEGY, "baseline", held),
            (sma_crossover.STRATEGY, "candidate", traded),
        )
    ]
