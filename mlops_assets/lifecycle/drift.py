"""How far have a feature's recent values moved from those a model was trained on, and is that more than usual.

The usual defaults (a p-value, a fixed distance) take rows for independent and alarm on financial series that have not
changed. Here the reference itself says what is usual: contiguous windows as long as the recent one slide over it, each
is compared with the rest of the reference (an embargo apart), and the threshold is where a further such window would
land with the chance `family_alpha`, shared among all features and both distances.
"""

# pyarrow, LightGBM and scikit-learn carry no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mlops_assets.kernel.columns import Column
from mlops_assets.lifecycle.plans import Monitoring
from mlops_assets.lifecycle.training.skill import steady

if TYPE_CHECKING:
    import pyarrow as pa

_BINS = 1_000
_LEAST_WINDOWS = 4
"""Fewer independent windows than this leave a spread with too few degrees of freedom to say what is usual."""

_MOST_MISSING = 0.5


class Statistic(StrEnum):
    """A distance between two samples; `wasserstein` is in standard deviations of the reference."""

    KS = "ks"
    WASSERSTEIN = "wasserstein"


class Verdict(StrEnum):
    """What came out for a feature."""

    USUAL = "usual"
    EXCESSIVE = "excessive"
    NOT_MEASURED = "not_measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One distance of the recent window, beside the distance that is still usual."""

    statistic: Statistic
    value: float
    threshold: float
    effective_windows: float

    @property
    def is_excessive(self) -> bool:
        return self.value > self.threshold

    @property
    def times_threshold(self) -> float:
        return self.value / self.threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureDrift:
    """What was found for one feature. `reason` says why it could not be measured."""

    feature: str
    scores: tuple[Score, ...] = ()
    reason: str = ""

    @property
    def verdict(self) -> Verdict:
        if not self.scores:
            return Verdict.NOT_MEASURED
        return Verdict.EXCESSIVE if any(score.is_excessive for score in self.scores) else Verdict.USUAL

    @property
    def worst(self) -> Score | None:
        """The distance furthest beyond (or nearest to) its threshold."""
        return max(self.scores, key=lambda score: score.times_threshold, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftResult:
    """One check of all features of a model against one reference."""

    features: tuple[FeatureDrift, ...]
    reference_from: date | None
    reference_until: date | None
    recent_from: date | None
    recent_until: date | None
    alpha_each: float

    def of(self, verdict: Verdict) -> tuple[FeatureDrift, ...]:
        return tuple(one for one in self.features if one.verdict is verdict)


COLUMNS = (
    Column(name="feature", type="string", description="Monitored feature."),
    Column(name="statistic", type="string", description="ks or wasserstein; empty if the feature was not measured."),
    Column(
        name="value",
        type="float",
        description="Distance of the recent window; Wasserstein in standard deviations of the reference.",
        is_nullable=True,
        minimum=0.0,
    ),
    Column(name="threshold", type="float", description="Largest usual distance.", is_nullable=True, minimum=0.0),
    Column(name="verdict", type="string", description="usual, excessive or not_measured, for the whole feature."),
    Column(name="reason", type="string", description="Why the feature could not be measured."),
    Column(name="reference_from", type="date", description="First session of the reference.", is_nullable=True),
    Column(name="reference_until", type="date", description="Last session of the reference.", is_nullable=True),
    Column(name="recent_from", type="date", description="First session of the recent window.", is_nullable=True),
    Column(name="recent_until", type="date", description="Last session of the recent window.", is_nullable=True),
    Column(
        name="effective_windows",
        type="float",
        description="Independent windows behind the threshold.",
        is_nullable=True,
        minimum=0.0,
    ),
    Column(name="alpha_each", type="float", unit="fraction", description="False-alarm chance of one distance."),
)


def measure(rows: pl.DataFrame, features: Sequence[str], *, train_until: date, monitoring: Monitoring) -> DriftResult:
    """Compare the latest sessions of `rows` with those up to `train_until`.

    Args:
        rows: `date` and the features, several symbols a date.
    """
    sessions = rows.get_column("date").unique().sort()
    before = sessions.filter(sessions <= train_until)
    after = sessions.filter(sessions > train_until).tail(monitoring.window_sessions)
    reference = rows.filter(pl.col("date") <= train_until).sort("date")
    recent = rows.filter(pl.col("date").is_in(after.implode()))
    alpha = monitoring.family_alpha / (len(features) * len(Statistic))
    short = _too_short(len(before), len(after), monitoring)
    return DriftResult(
        features=tuple(
            FeatureDrift(feature=feature, reason=reason)
            if (reason := short or unusable(feature, reference, recent))
            else _measured(feature, reference, recent, monitoring, alpha)
            for feature in features
        ),
        reference_from=_first(before),
        reference_until=_last(before),
        recent_from=_first(after),
        recent_until=_last(after),
        alpha_each=alpha,
    )


def unusable(feature: str, reference: pl.DataFrame, recent: pl.DataFrame) -> str:
    """Say why a feature can't be compared, or nothing if it can."""
    for name, rows in (("reference", reference), ("recent window", recent)):
        if feature not in rows.columns:
            return f"the view has no column {feature}"
        if not rows.schema[feature].is_numeric():
            return f"the column is {rows.schema[feature]}, not a number"
        values = rows.get_column(feature).cast(pl.Float64)
        if (infinite := int(values.is_infinite().sum())) > 0:
            return f"the {name} holds {infinite} infinite values"
        finite = _finite(values)
        if finite.size < (1 - _MOST_MISSING) * rows.height or finite.size == 0:
            return f"the {name} holds a value in only {finite.size} of {rows.height} rows"
        if finite.min() == finite.max():
            return f"the {name} is constant at {finite.min():g}"
    return ""


def window_distances(values: np.ndarray, session: np.ndarray, monitoring: Monitoring) -> dict[Statistic, np.ndarray]:
    """Return the distance of every sliding window of the reference from the rest of it.

    Args:
        values: the feature's finite values.
        session: for each value, the number of its session, from 0 without gaps.
    """
    sketch = Sketch.of(values)
    counts = sketch.counts_by_session(values, session)
    running = np.vstack([np.zeros_like(counts[:1]), np.cumsum(counts, axis=0)])
    starts = np.arange(0, len(counts) - monitoring.window_sessions + 1, monitoring.stride_sessions)
    ends = starts + monitoring.window_sessions
    near_start = np.maximum(starts - monitoring.embargo_sessions, 0)
    near_end = np.minimum(ends + monitoring.embargo_sessions, len(counts))
    return sketch.distances(running[ends] - running[starts], running[-1] - (running[near_end] - running[near_start]))


def usual_limit(statistic: Statistic, distances: np.ndarray, *, effective_windows: float, alpha: float) -> float:
    """Return the distance that one more window exceeds with probability `alpha`.

    The one-sided prediction limit of a normal sample (Hahn and Meeker, Statistical Intervals, §4.8), on the log scale,
    or on the logit scale for Kolmogorov and Smirnov's distance, which ends at 1. Windows overlap, so the degrees of
    freedom are those of the effective number of windows.
    """
    from scipy.special import expit, logit
    from scipy.stats import t

    least, most = np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).epsneg
    is_bounded = statistic is Statistic.KS
    scaled = logit(np.clip(distances, least, most)) if is_bounded else np.log(np.maximum(distances, least))
    spread = float(scaled.std(ddof=1)) * np.sqrt(1 + 1 / effective_windows)
    limit = float(scaled.mean()) + float(t.ppf(1 - alpha, df=effective_windows - 1)) * spread
    return float(expit(limit) if is_bounded else np.exp(limit))


def effective_number(series: np.ndarray) -> float:
    """Return how many independent values a correlated series is worth (Geyer's initial positive sequence, 1992)."""
    centred = series - series.mean()
    length = len(series)
    transform = np.fft.rfft(centred, n=2 * length)
    covariance = np.fft.irfft(transform * np.conj(transform))[:length]
    if covariance[0] <= 0:
        return 1.0
    correlation = covariance / covariance[0]
    pairs = correlation[: length - length % 2].reshape(-1, 2).sum(axis=1)
    ends = np.flatnonzero(pairs <= 0)
    return float(length / (2 * pairs[: ends[0] if ends.size else None].sum() - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """The reference's quantiles, on which any sample becomes counts: distances cost the bins, not the rows.

    A count is of the values in (edge before, edge]; the last holds what is beyond the highest edge.
    """

    edges: np.ndarray
    sigma: float

    @classmethod
    def of(cls, reference: np.ndarray) -> Sketch:
        tail = np.geomspace(1e-6, 1 / _BINS, 20)
        edges = np.unique(np.quantile(reference, [*np.linspace(0, 1, _BINS + 1), *tail, *(1 - tail)]))
        return cls(edges=edges, sigma=float(reference.std(ddof=1)))

    def including(self, sample: np.ndarray) -> Sketch:
        """Return a sketch that also has the sample's extremes as edges, so that values beyond the range count."""
        return Sketch(edges=np.unique([*self.edges, *np.quantile(sample, np.linspace(0, 1, 101))]), sigma=self.sigma)

    def counts(self, sample: np.ndarray) -> np.ndarray:
        return np.bincount(np.searchsorted(self.edges, sample, side="left"), minlength=len(self.edges) + 1)

    def counts_by_session(self, sample: np.ndarray, session: np.ndarray) -> np.ndarray:
        """Return one row of counts for each session."""
        bins = len(self.edges) + 1
        place = session * bins + np.searchsorted(self.edges, sample, side="left")
        return np.bincount(place, minlength=(int(session.max()) + 1) * bins).reshape(-1, bins)

    def distances(self, one: np.ndarray, other: np.ndarray) -> dict[Statistic, np.ndarray]:
        """Return both distances between rows of counts: the largest gap of the distribution functions, and its area."""
        gap = _distribution(one) - _distribution(other)
        inside = (gap[..., :-2] + gap[..., 1:-1]) / 2
        area = (np.abs(inside) * np.diff(self.edges)).sum(axis=-1)
        return {Statistic.KS: np.abs(gap).max(axis=-1), Statistic.WASSERSTEIN: area / self.sigma}


def as_table(result: DriftResult) -> pa.Table:
    """Return the result as rows of the snapshot: one per feature and distance, one for a feature not measured."""
    import pyarrow as pa

    shared = {
        name: getattr(result, name)
        for name in ("reference_from", "reference_until", "recent_from", "recent_until", "alpha_each")
    }
    rows = [
        {
            "feature": feature.feature,
            "statistic": score.statistic.value if score else "",
            "value": score.value if score else None,
            "threshold": score.threshold if score else None,
            "verdict": feature.verdict.value,
            "reason": feature.reason,
            "effective_windows": score.effective_windows if score else None,
            **shared,
        }
        for feature in result.features
        for score in (feature.scores or (None,))
    ]
    types = {"string": pa.string(), "float": pa.float64(), "date": pa.date32()}
    return pa.Table.from_pylist(rows, schema=pa.schema([(column.name, types[column.type]) for column in COLUMNS]))


def from_table(table: pa.Table) -> list[FeatureDrift]:
    """Read back what `as_table` wrote."""
    found: dict[str, list[Score]] = {}
    reasons: dict[str, str] = {}
    for row in table.to_pylist():
        scores = found.setdefault(row["feature"], [])
        reasons[row["feature"]] = row["reason"]
        if row["value"] is not None:
            scores.append(
                Score(
                    statistic=Statistic(row["statistic"]),
                    value=row["value"],
                    threshold=row["threshold"],
                    effective_windows=row["effective_windows"],
                )
            )
    return [
        FeatureDrift(feature=feature, scores=tuple(scores), reason=reasons[feature])
        for feature, scores in found.items()
    ]


def _measured(
    feature: str, reference: pl.DataFrame, recent: pl.DataFrame, monitoring: Monitoring, alpha: float
) -> FeatureDrift:
    known = reference.select("date", pl.col(feature).cast(pl.Float64).alias("value")).filter(
        pl.col("value").is_finite()
    )
    sessions = known.n_unique("date")
    if short := _too_short(sessions, monitoring.window_sessions, monitoring):
        return FeatureDrift(feature=feature, reason=short)
    values, now = known.get_column("value").to_numpy(), _finite(recent.get_column(feature))
    sketch = Sketch.of(values).including(now)
    found = sketch.distances(sketch.counts(now), sketch.counts(values))
    session = known.get_column("date").rank("dense").to_numpy().astype(np.int64) - 1
    scores: list[Score] = []
    for statistic, distances in window_distances(values, session, monitoring).items():
        effective = min(effective_number(distances), sessions / monitoring.window_sessions)
        if effective < _LEAST_WINDOWS:
            reason = f"the reference is worth {effective:.1f} independent windows, fewer than {_LEAST_WINDOWS}"
            return FeatureDrift(feature=feature, reason=reason)
        limit = usual_limit(statistic, distances, effective_windows=effective, alpha=alpha)
        scores.append(
            Score(
                statistic=statistic,
                value=steady(float(found[statistic])),
                threshold=steady(limit),
                effective_windows=steady(effective),
            )
        )
    return FeatureDrift(feature=feature, scores=tuple(scores))


def _too_short(reference_sessions: int, recent_sessions: int, monitoring: Monitoring) -> str:
    if recent_sessions < monitoring.window_sessions:
        return f"only {recent_sessions} of {monitoring.window_sessions} sessions follow the reference"
    needed = max(
        _LEAST_WINDOWS * monitoring.window_sessions, monitoring.window_sessions + 2 * monitoring.embargo_sessions
    )
    if reference_sessions <= needed:
        return f"the reference has {reference_sessions} sessions; it takes more than {needed} to know what is usual"
    return ""


def _distribution(counts: np.ndarray) -> np.ndarray:
    cumulative = np.cumsum(counts, axis=-1, dtype=np.float64)
    return cumulative / cumulative[..., -1:]


def _finite(values: pl.Series) -> np.ndarray:
    numbers = values.cast(pl.Float64).drop_nulls().to_numpy()
    return numbers[np.isfinite(numbers)]


def _first(sessions: pl.Series) -> date | None:
    return None if sessions.is_empty() else sessions[0]


def _last(sessions: pl.Series) -> date | None:
    return None if sessions.is_empty() else sessions[-1]
