"""Whether one version of a model is better than another, on days that none of them learned from.

Versions are judged on the same rows: those that lie in the test fold of each, with the same outcome. Differences are
paired by day, and days are resampled in blocks as for the gain over a baseline. A version is better or worse by its
loss alone; of the other figures it is only said which way they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import reduce
from typing import ClassVar

import numpy as np
import polars as pl

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.kernel.fingerprint import Json
from mlops_assets.lifecycle.kinds.kind import Figures, KindOfModel
from mlops_assets.lifecycle.kinds.known import kind_of
from mlops_assets.lifecycle.learner import PolicyLearner, RegimeLearner
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.lifecycle.training.skill import block_resamples, gain_over, steady

KEYS = ["date", "symbol"]
SCORE_RESAMPLES = 200
"""Scores are made anew for each resample, which takes time; the loss has all 1,000."""
_TAIL = 0.05


class NotComparable(PlatformError):
    """Versions were not asked the same question, or have no row in common that neither learned from."""

    code: ClassVar[str] = "not_comparable"


class Verdict(StrEnum):
    """What the interval of a difference says of a version beside the first one."""

    BETTER = "better"
    WORSE = "worse"
    HIGHER = "higher"
    LOWER = "lower"
    NOT_TOLD_APART = "not told apart"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """A version and the rows of its own test fold. `say` is asked of the rows that all versions share, and of no other.

    So a policy's replay begins on the first shared day with nothing held, whenever its own fold begins.
    """

    version: int
    spec: ModelSpec
    rows: pl.DataFrame
    say: Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How far a version's figure is above the first one's, with a 90 % interval; None where it can't be measured."""

    version: int
    metric: str
    estimate: float
    low: float
    high: float
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Versions side by side. `values` has each metric's figure by version; differences are to the first version.

    `restated` counts rows left out because their outcome is another one in another training set.
    """

    model: str
    versions: Sequence[int]
    loss: str
    rows: int
    first: str
    last: str
    restated: int
    values: Mapping[str, Mapping[int, float | None]]
    differences: Sequence[Difference]

    def as_json(self) -> Mapping[str, Json]:
        """Return all of it as plain JSON."""
        values = {name: _by_text(one) for name, one in self.values.items()}
        return {**asdict(self), "values": values}

    def by_metric(self) -> list[dict[str, Json]]:
        """Return the figures as the API gives them: a metric, and its value by version where it has one."""
        return [
            {"metric_name": name, "values": {key: one for key, one in _by_text(values).items() if one is not None}}
            for name, values in self.values.items()
        ]


def require_same_question(specs: Mapping[int, ModelSpec]) -> None:
    """Check that versions are judged by the same loss of the same outcome.

    Raises:
        NotComparable: naming what differs.
    """
    (first, reference), *others = specs.items()
    for version, spec in others:
        asked, wanted = _question(spec), _question(reference)
        moved = [name for name in wanted if asked.get(name) != wanted[name]]
        if moved:
            told = "; ".join(
                f"{name} is {wanted[name]} in {first} and {asked.get(name)} in {version}" for name in moved
            )
            raise NotComparable(
                f"Versions {first} and {version} of {spec.name} answer different questions: {told}. "
                "Compare versions of one question."
            )


def compare(judged: Sequence[Judged], *, progress: Callable[[str], None] = lambda _what: None) -> Comparison:
    """Compare versions with the first one on the rows that they share.

    Raises:
        NotComparable: if they were not asked the same question, or share no row.
    """
    require_same_question({one.version: one.spec for one in judged})
    shared, restated = shared_rows([one.rows for one in judged])
    if shared.is_empty():
        spans = ", ".join(f"{one.version}: {one.rows['date'].min()} to {one.rows['date'].max()}" for one in judged)
        raise NotComparable(
            f"No row lies in the test fold of every version of {judged[0].spec.name} ({spans}), so that one would be "
            "judged on what it learned from. Compare versions whose test folds overlap."
        )
    everyone = list[_Answered]()
    for one in judged:
        progress(f"asking version {one.version} of {shared.height} rows")
        everyone.append(_Answered.of(one, shared))
    reference, *others = everyone
    scores = {one.version: one.scores() for one in everyone}
    names = [name for name in scores[reference.version] if name != "rows"]
    loss = reference.kind.loss_name
    resampled = {one.version: _resampled_scores(one, reference.spec.seed, progress) for one in everyone}
    differences = [
        difference
        for other in others
        for difference in (
            _loss_difference(reference, other),
            *_score_differences(reference.version, other.version, scores, resampled, skip=loss),
        )
    ]
    dates = shared.get_column("date")
    return Comparison(
        model=reference.spec.name,
        versions=[one.version for one in everyone],
        loss=loss,
        rows=shared.height,
        first=str(dates.min()),
        last=str(dates.max()),
        restated=restated,
        values={name: {version: figures[name] for version, figures in scores.items()} for name in names},
        differences=differences,
    )


def shared_rows(tables: Sequence[pl.DataFrame]) -> tuple[pl.DataFrame, int]:
    """Return the keys of the rows that are in every table with the same outcome, and how many have another one."""
    outcome = [*KEYS, "forward_return", "label"]
    keyed = reduce(lambda left, right: left.join(right, on=KEYS, how="semi"), [one.select(KEYS) for one in tables])
    same = reduce(
        lambda left, right: left.join(right, on=outcome, how="semi", nulls_equal=True),
        [one.select(outcome) for one in tables],
    )
    return same.select(KEYS).sort(KEYS), keyed.height - same.height


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Answered:
    """What a version said of rows, by date and symbol."""

    version: int
    spec: ModelSpec
    rows: pl.DataFrame
    said: pl.DataFrame

    @classmethod
    def of(cls, one: Judged, keys: pl.DataFrame) -> _Answered:
        rows = keys.join(one.rows, on=KEYS, how="left", maintain_order="left")
        return cls(version=one.version, spec=one.spec, rows=rows, said=one.say(rows))

    def losses(self) -> np.ndarray:
        return self.kind.losses(self.rows, self.said, self.spec)

    def scores(self) -> Figures:
        return self.kind.scores(self.rows, self.said, self.spec)

    @property
    def kind(self) -> KindOfModel:
        return kind_of(self.spec.kind)


def _loss_difference(reference: _Answered, other: _Answered) -> Difference:
    spec, dates = reference.spec, reference.rows.get_column("date")
    before, now = reference.losses(), other.losses()
    if not (np.isfinite(before) & np.isfinite(now)).any():
        raise NotComparable(
            f"Versions {reference.version} and {other.version} of {spec.name} share {dates.n_unique()} sessions, too "
            "few for one decision to be judged. Compare versions whose test folds overlap for longer."
        )
    gain = gain_over("", dates, now, before, seed=spec.seed)
    verdict = Verdict.BETTER if gain.low > 0 else Verdict.WORSE if gain.high < 0 else Verdict.NOT_TOLD_APART
    return Difference(
        version=other.version,
        metric=other.kind.loss_name,
        estimate=-gain.estimate,
        low=-gain.high,
        high=-gain.low,
        verdict=verdict,
    )


def _score_differences(
    first: int,
    other: int,
    scores: Mapping[int, Figures],
    resampled: Mapping[int, Mapping[str, np.ndarray]],
    *,
    skip: str,
) -> list[Difference]:
    found = list[Difference]()
    for name, value in scores[other].items():
        before = scores[first].get(name)
        if name in {"rows", skip} or value is None or before is None:
            continue
        gaps = resampled[other][name] - resampled[first][name]
        gaps = gaps[np.isfinite(gaps)]
        if not len(gaps):
            continue
        low, high = (steady(float(one)) for one in np.quantile(gaps, [_TAIL, 1 - _TAIL]))
        verdict = Verdict.HIGHER if low > 0 else Verdict.LOWER if high < 0 else Verdict.NOT_TOLD_APART
        found.append(
            Difference(version=other, metric=name, estimate=steady(value - before), low=low, high=high, verdict=verdict)
        )
    return found


def _resampled_scores(one: _Answered, seed: int, progress: Callable[[str], None]) -> dict[str, np.ndarray]:
    """Return every score on each resample of days; the seed and the days are the same for every version.

    A day that is drawn twice counts as two days: each drawn day gets a date of its own, in the order of the draw.
    """
    progress(f"resampling the days of version {one.version}")
    days = one.rows.get_column("date").unique().sort()
    draws: list[list[int]] = block_resamples(len(days), np.random.default_rng(seed))[:SCORE_RESAMPLES].tolist()
    rows_of = _rows_by_day(one.rows)
    first = days.to_numpy()[0]
    found: list[Figures] = []
    for draw in draws:
        parts = [rows_of[day] for day in draw]
        chosen = np.concatenate(parts)
        dates = first + np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        drawn = one.rows[chosen].with_columns(pl.Series("date", dates))
        found.append(_Answered(version=one.version, spec=one.spec, rows=drawn, said=one.said[chosen]).scores())
    return {
        name: np.array([np.nan if (value := figures[name]) is None else value for figures in found])
        for name in found[0]
    }


def _rows_by_day(rows: pl.DataFrame) -> list[np.ndarray]:
    """Return the numbers of each day's rows, the earliest day first."""
    dates = rows.get_column("date").to_numpy()
    _, first_rows = np.unique(dates, return_index=True)
    return np.split(np.arange(len(dates)), first_rows[1:])


def _question(spec: ModelSpec) -> dict[str, object]:
    """Return what decides what a loss means."""
    label, learner = spec.training_set.label, spec.learner
    asked: dict[str, object] = {
        "kind": spec.kind,
        "label.horizon_sessions": label.horizon_sessions,
        "label.threshold": label.threshold,
    }
    match learner:
        case RegimeLearner():
            # A density is one over the features: two sets of them have no common scale.
            asked["features"] = list(spec.features)
        case PolicyLearner():
            asked |= {"learner.cost_bps": learner.cost_bps, "learner.every_sessions": learner.every_sessions}
        case _:
            pass
    return asked


def _by_text(values: Mapping[int, float | None]) -> dict[str, float | None]:
    return {str(version): value for version, value in values.items()}
