"""How well the desk's MLOps is doing: each KPI with its definition, its target and the facts it is computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Literal

Unit = Literal["fraction", "hours", "count"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the stores and the ledger say. `approval_lead_times` run from submission to the deciding verdict.

    `approvals_decided_in_time` counts those of them that kept the tier's limit; `approval_overrides` are violations.
    """

    model_versions: int
    model_versions_with_complete_metadata: int
    replays: int
    model_driven_replays: int
    model_driven_replays_with_explanations: int
    approval_lead_times: Sequence[timedelta]
    approvals_decided_in_time: int
    approval_overrides: int
    prompt_evaluations: int
    prompt_evaluations_passed: int
    open_drift_events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kpi:
    """One measure. `value` is None while nothing has happened that it could be computed from."""

    name: str
    definition: str
    unit: Unit
    owner: str
    target: float | None
    value: float | None

    @property
    def is_met(self) -> bool | None:
        """Say whether the target is reached; None where there is no target or no value."""
        if self.target is None or self.value is None:
            return None
        return self.value <= self.target if self.unit != "fraction" else self.value >= self.target


def measure(facts: Facts) -> list[Kpi]:
    """Compute every KPI."""
    return [
        Kpi(
            name="lifecycle_metadata_complete",
            definition="Registered model versions whose required metadata is complete / all registered versions.",
            unit="fraction",
            owner="team:mlops",
            target=1.0,
            value=_share(facts.model_versions_with_complete_metadata, facts.model_versions),
        ),
        Kpi(
            name="evaluations_with_explanations",
            definition="Replays of model-driven candidates whose model version has SHAP values / all such replays.",
            unit="fraction",
            owner="team:quant",
            target=1.0,
            value=_share(facts.model_driven_replays_with_explanations, facts.model_driven_replays),
        ),
        Kpi(
            name="prompt_evaluations_passed",
            definition="Prompt evaluations that passed all their checks / all prompt evaluations.",
            unit="fraction",
            owner="team:compliance",
            target=0.95,
            value=_share(facts.prompt_evaluations_passed, facts.prompt_evaluations),
        ),
        Kpi(
            name="approval_lead_time",
            definition="Median time from an approval's submission to the verdict that decided it.",
            unit="hours",
            owner="team:compliance",
            target=24.0,
            value=_median_hours(facts.approval_lead_times),
        ),
        Kpi(
            name="approvals_decided_in_time",
            definition="Approvals and rejections within the time that the tier's rule gives / all of them.",
            unit="fraction",
            owner="team:compliance",
            target=0.95,
            value=_share(facts.approvals_decided_in_time, len(facts.approval_lead_times)),
        ),
        Kpi(
            name="approval_overrides",
            definition="Emergency overrides: what two people let through without its quorum, each a violation.",
            unit="count",
            owner="team:compliance",
            target=0.0,
            value=float(facts.approval_overrides),
        ),
        Kpi(
            name="drift_events_open",
            definition="Drift events that nobody has resolved.",
            unit="count",
            owner="team:mlops",
            target=None,
            value=float(facts.open_drift_events),
        ),
        Kpi(
            name="replays",
            definition="Distinct replays kept, by run identity.",
            unit="count",
            owner="team:quant",
            target=None,
            value=float(facts.replays),
        ),
    ]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _median_hours(times: Sequence[timedelta]) -> float | None:
    return median(time / timedelta(hours=1) for time in times) if times else None
