"""Can this replay be believed: each check looks at one way in which backtests deceive."""

# pyarrow, LightGBM and scikit-learn carry no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mlops_assets.evaluation.market import Market
from mlops_assets.evaluation.replay import Floats, Replay
from mlops_assets.evaluation.spec import Strategy
from mlops_assets.features.spec import Fold
from mlops_assets.kernel.fingerprint import Json

if TYPE_CHECKING:
    import pyarrow as pa

CUTS = 64
"""How many days, evenly spaced and always with the first and the last, prefix invariance cuts the market at."""

DESCRIPTIONS: Mapping[str, str] = {
    "data_complete": "Every symbol has a price on every day of the window and its warm-up.",
    "prefix_invariance": "Bars after a day never change a signal at or before it.",
    "rerun_identical": "Replayed again from the same inputs, every fill and every equity value is equal to the bit.",
    "out_of_sample": "Every prediction the strategy could see is for a row the model was not fitted or tuned on.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one check found."""

    check: str
    is_passed: bool
    summary: str
    facts: Mapping[str, Json] = field(default_factory=dict[str, Json])

    def as_json(self) -> dict[str, Json]:
        return {"check": self.check, "is_passed": self.is_passed, "summary": self.summary, "facts": dict(self.facts)}


def data_complete(market: Market) -> Verdict:
    """Count the prices that are not finite and positive."""
    bad = int(np.count_nonzero(~(np.isfinite(market.prices) & (market.prices > 0))))
    days, symbols = market.prices.shape
    return Verdict(
        check="data_complete",
        is_passed=bad == 0,
        summary=f"{days} days of {symbols} symbols, {bad} prices missing",
        facts={"days": days, "symbols": symbols, "missing": bad},
    )


def prefix_invariance(strategy: Strategy, market: Market, targets: Floats, *, cuts: int = CUTS) -> Verdict:
    """Cut the market at days of the window and compare what the strategy says up to there with what it said before."""
    rows = np.unique(np.linspace(market.window_start, len(market.dates) - 1, cuts).astype(int))
    peeking = [int(row) for row in rows if not _says_the_same(strategy, market, targets, int(row))]
    first = str(market.dates[peeking[0]]) if peeking else None
    found = f"the signal up to {first} changes with what follows" if peeking else "no signal changes with what follows"
    return Verdict(
        check="prefix_invariance",
        is_passed=not peeking,
        summary=f"{found}; cut at {len(rows)} days",
        facts={"cuts": len(rows), "differing": len(peeking), "first_difference": first},
    )


def rerun_identical(result: Replay, again: Replay) -> Verdict:
    """Compare the fingerprints of two replays."""
    is_same = result.fingerprint == again.fingerprint
    return Verdict(
        check="rerun_identical",
        is_passed=is_same,
        summary=f"result {result.fingerprint[:12]}" + ("" if is_same else f", then {again.fingerprint[:12]}"),
        facts={"first": result.fingerprint, "second": again.fingerprint},
    )


def out_of_sample(market: Market, predictions: pa.Table) -> Verdict:
    """Look up the fold of every prediction from the first day of the warm-up to the last of the window."""
    first, last = market.dates[0].item(), market.dates[-1].item()
    used = pl.DataFrame(pl.from_arrow(predictions)).filter(
        pl.col("date").is_between(first, last), pl.col("symbol").is_in(market.symbols)
    )
    by_fold = {str(fold): int(count) for fold, count in used.group_by("fold").len().sort("fold").iter_rows()}
    seen = {fold: count for fold, count in by_fold.items() if fold not in (Fold.TEST, Fold.LIVE)}
    return Verdict(
        check="out_of_sample",
        is_passed=not seen and bool(by_fold),
        summary=f"{sum(by_fold.values()):,} predictions, {sum(seen.values()):,} of rows the model has seen",
        facts={"predictions_by_fold": by_fold},
    )


def _says_the_same(strategy: Strategy, market: Market, targets: Floats, row: int) -> bool:
    said = strategy.signal(market.until(row), **strategy.parameters)
    return np.array_equal(said, targets[: row + 1], equal_nan=True)
