"""How good a classifier's probabilities are, beside the naive ones it has to beat.

Two baselines: the base rate of the train fold said to every row, and the sign of a momentum feature, turned into a
probability by how often the label followed that sign in the train fold.

The figures enter a version's metadata and the evidence for its deployment, so their bits may not depend on the
processor: logarithms are `math`'s and not numpy's, which has others for AVX-512, and figures are `steady`.
"""

# pyarrow, LightGBM and scikit-learn carry no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import polars as pl

from mlops_assets.kernel.fingerprint import Json

BASE_RATE = "base_rate"
MOMENTUM_SIGN = "momentum_sign"
BASELINES = (BASE_RATE, MOMENTUM_SIGN)

_BLOCK_SESSIONS = 20
_RESAMPLES = 1000
_CONFIDENCE = 0.9


def steady(figure: float) -> float:
    """Round to 12 significant digits, the last of which is far below what any test fold can tell apart.

    Libraries add and take logarithms in ways that depend on the processor and differ in the last of 17 digits.
    """
    return float(f"{figure:.12g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Metrics of one set of probabilities on one fold.

    `information_coefficient` is the mean over days of the Spearman correlation, across symbols, of probability and
    forward return; None where no day ranks the symbols (the base rate says the same of all).
    """

    rows: int
    auc: float
    log_loss: float
    brier: float
    accuracy: float
    information_coefficient: float | None

    def as_json(self) -> dict[str, Json]:
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """How much lower the model's log loss is than a baseline's, with a 90 % interval from a block bootstrap of days."""

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
    """A model on the test fold beside its baselines, and on the valid fold for comparison."""

    test: Mapping[str, Scores]
    valid: Scores
    gains: Sequence[Gain]

    @property
    def model(self) -> Scores:
        return self.test["model"]

    @property
    def beats_every_baseline(self) -> bool:
        return all(gain.is_real for gain in self.gains)

    def as_json(self) -> dict[str, Json]:
        return {
            "test": {name: scores.as_json() for name, scores in self.test.items()},
            "valid": self.valid.as_json(),
            "gains": [gain.as_json() for gain in self.gains],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """What a tenth of the rows was told on average, and how often it came true."""

    said: float
    came_true: float
    rows: int


def judge(
    *,
    train: pl.DataFrame,
    valid: pl.DataFrame,
    test: pl.DataFrame,
    valid_probability: np.ndarray,
    test_probability: np.ndarray,
    momentum: str,
    seed: int,
) -> Skill:
    """Score a model and its baselines. Frames hold `date`, `label`, `forward_return` and the momentum feature."""
    said = {"model": test_probability, **baseline_probabilities(train, test, momentum)}
    return Skill(
        test={name: score(test, probability) for name, probability in said.items()},
        valid=score(valid, valid_probability),
        gains=[gain_over(name, test, said["model"], said[name], seed=seed) for name in BASELINES],
    )


def baseline_probabilities(train: pl.DataFrame, rows: pl.DataFrame, momentum: str) -> dict[str, np.ndarray]:
    """Return what each baseline says of `rows`, having seen the train fold alone."""
    rate = train.get_column("label").cast(pl.Float64).mean()
    by_sign = train.group_by((pl.col(momentum) > 0).alias("is_up")).agg(
        pl.col("label").cast(pl.Float64).mean().alias("rate")
    )
    signed = rows.select((pl.col(momentum) > 0).alias("is_up")).join(
        by_sign, on="is_up", how="left", maintain_order="left"
    )
    return {
        BASE_RATE: np.full(rows.height, rate, dtype=np.float64),
        MOMENTUM_SIGN: signed.get_column("rate").fill_null(rate).to_numpy(),
    }


def score(rows: pl.DataFrame, probability: np.ndarray) -> Scores:
    """Return the metrics of `probability` against the labels of `rows`."""
    from sklearn import metrics

    label = rows.get_column("label").to_numpy()
    return Scores(
        rows=rows.height,
        auc=steady(metrics.roc_auc_score(label, probability)),
        log_loss=steady(math.fsum(_loss(label, probability)) / rows.height),
        brier=steady(metrics.brier_score_loss(label, probability)),
        accuracy=steady(metrics.accuracy_score(label, probability > 0.5)),
        information_coefficient=information_coefficient(rows, probability),
    )


def information_coefficient(rows: pl.DataFrame, probability: np.ndarray) -> float | None:
    """Return the mean daily rank correlation of probability and forward return, or None if no day has one."""
    daily = (
        rows.select("date", "forward_return", pl.Series("probability", probability))
        .group_by("date")
        .agg(
            pl.corr("probability", "forward_return", method="spearman").alias("rho"),
            (pl.col("probability").n_unique() > 1).alias("is_ranked"),
        )
        .filter("is_ranked", pl.col("rho").is_finite())
        .sort("date")
    )
    return None if daily.is_empty() else steady(math.fsum(daily.get_column("rho")) / daily.height)


def gain_over(baseline: str, rows: pl.DataFrame, model: np.ndarray, naive: np.ndarray, *, seed: int) -> Gain:
    """Compare log losses by day; days are resampled in blocks because labels of neighbouring days share prices."""
    label = rows.get_column("label").to_numpy()
    _, day = np.unique(rows.get_column("date").to_numpy(), return_inverse=True)
    gain, count = np.bincount(day, weights=_loss(label, naive) - _loss(label, model)), np.bincount(day)
    days = _block_resamples(len(gain), np.random.default_rng(seed))
    resampled = gain[days].sum(axis=1) / count[days].sum(axis=1)
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    estimate = math.fsum(gain) / rows.height
    return Gain(baseline=baseline, estimate=steady(estimate), low=steady(low), high=steady(high))


def _loss(label: np.ndarray, probability: np.ndarray) -> np.ndarray:
    clipped = np.clip(probability, 1e-15, 1 - 1e-15).tolist()
    pairs = zip(label.tolist(), clipped, strict=True)
    return np.array([-math.log(said) if came_true == 1 else -math.log1p(-said) for came_true, said in pairs])


def _block_resamples(days: int, generator: np.random.Generator) -> np.ndarray:
    """Return day indices of a circular block bootstrap (Politis and Romano 1992), one resample a row."""
    blocks = -(-days // _BLOCK_SESSIONS)
    starts = generator.integers(0, days, size=(_RESAMPLES, blocks))
    return ((starts[:, :, None] + np.arange(_BLOCK_SESSIONS)) % days).reshape(_RESAMPLES, -1)[:, :days]


def reliability(label: np.ndarray, probability: np.ndarray, *, bins: int = 10) -> list[Reliability]:
    """Group rows by what they were told, in equal counts, lowest first."""
    order = np.argsort(probability, kind="stable")
    return [
        Reliability(said=float(probability[group].mean()), came_true=float(label[group].mean()), rows=group.size)
        for group in np.array_split(order, bins)
        if group.size
    ]
