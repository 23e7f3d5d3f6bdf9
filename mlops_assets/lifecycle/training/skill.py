"""How much better a model is than the naive ones it has to beat, and within what interval.

The figures enter a version's metadata and the evidence for its deployment, so their bits may not depend on the
processor: sums are `math.fsum`'s and figures are `steady`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import polars as pl

from mlops_assets.kernel.fingerprint import Json

_BLOCK_SESSIONS = 20
_RESAMPLES = 1000
_CONFIDENCE = 0.9


def steady(figure: float) -> float:
    """Round to 12 significant digits, the last of which is far below what any test fold can tell apart.

    Libraries add and take logarithms in ways that depend on the processor and differ in the last of 17 digits.
    """
    return float(f"{figure:.12g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """How much lower the model's loss is than a baseline's, with a 90 % interval from a block bootstrap of days."""

    baseline: str
    estimate: float
    low: float
    high: float

    @property
    def is_real(self) -> bool:
        """Tell whether the whole interval lies above zero."""
        return self.low > 0

    def as_json(self) -> dict[str, Json]:
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """A model on the test fold beside its baselines, and on the valid fold for comparison. `loss` names what gains."""

    loss: str
    test: Mapping[str, Mapping[str, float | None]]
    valid: Mapping[str, float | None]
    gains: Sequence[Gain]

    @property
    def beats_every_baseline(self) -> bool:
        return all(gain.is_real for gain in self.gains)

    def as_json(self) -> dict[str, Json]:
        return {
            "loss": self.loss,
            "test": {name: dict(scores) for name, scores in self.test.items()},
            "valid": dict(self.valid),
            "gains": [gain.as_json() for gain in self.gains],
        }


def gain_over(baseline: str, dates: pl.Series, model: np.ndarray, naive: np.ndarray, *, seed: int) -> Gain:
    """Compare losses by day; days are resampled in blocks because outcomes of neighbouring days share prices.

    Args:
        dates: the day of each row.
        model: the loss of each row; NaN where it is not judged, as in `naive`.
    """
    is_judged = np.isfinite(model) & np.isfinite(naive)
    better = naive[is_judged] - model[is_judged]
    _, day = np.unique(dates.to_numpy()[is_judged], return_inverse=True)
    gain, count = np.bincount(day, weights=better), np.bincount(day)
    days = block_resamples(len(gain), np.random.default_rng(seed))
    resampled = gain[days].sum(axis=1) / count[days].sum(axis=1)
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    estimate = math.fsum(gain) / len(better)
    return Gain(baseline=baseline, estimate=steady(estimate), low=steady(low), high=steady(high))


def block_resamples(days: int, generator: np.random.Generator) -> np.ndarray:
    """Return day indices of a circular block bootstrap (Politis and Romano 1992), one resample a row."""
    blocks = -(-days // _BLOCK_SESSIONS)
    starts = generator.integers(0, days, size=(_RESAMPLES, blocks))
    return ((starts[:, :, None] + np.arange(_BLOCK_SESSIONS)) % days).reshape(_RESAMPLES, -1)[:, :days]
