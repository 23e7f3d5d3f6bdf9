"""Whether a deployment keeps its limits: each one is kept, passed, or not measured, and never taken for kept unseen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.lifecycle.deployment.record import Deployment
from mlops_assets.lifecycle.plans import Limits

FEWEST_REQUESTS_FOR_ERRORS = 20
FEWEST_REQUESTS_FOR_P99 = 100
"""Below these a single request decides: 1 error of 5 says little of a rate, and p99 of 50 is their slowest."""


class NoLimits(PlatformError):
    """A deployment was approved without the limits that there are by now."""

    code: ClassVar[str] = "no_limits"

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(
            f"the plan of deployment {deployment.id[:12]} of {deployment.subject} lacks limits. Request it again: "
            f"`mlops deployments request {deployment.model} --version {deployment.model_version}`."
        )


class Standing(StrEnum):
    """Where a measured value stands towards its limit."""

    KEPT = "kept"
    BREACHED = "breached"
    NOT_MEASURED = "not_measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was seen of a deployment. None where nothing could be.

    `requests` is how many the error rate and p99 are of. `drawdown` is positive: 0.1 is a fall by a tenth.
    """

    requests: int = 0
    error_rate: float | None = None
    p99_ms: float | None = None
    order_difference: float | None = None
    drawdown: float | None = None
    largest_weight: float | None = None
    most_orders_a_session: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One limit beside what was measured; `value` is None if it was not."""

    limit: str
    allowed: float
    value: float | None
    standing: Standing

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.limit}: not measured, allowed {self.allowed:g}"
        sign = ">" if self.standing is Standing.BREACHED else "<="
        return f"{self.limit}: {self.value:.4g} {sign} {self.allowed:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A limit that was passed."""

    limit: str
    value: float
    allowed: float

    def __str__(self) -> str:
        return f"{self.limit} {self.value:.4g} > {self.allowed:g}"


def limits_of(deployment: Deployment) -> Limits:
    """Return the limits that a deployment was approved with.

    Raises:
        NoLimits: if it has none, or those of another time.
    """
    declared: Mapping[str, Any] = deployment.plan.get("limits") or {}
    if declared.keys() != Limits.__dataclass_fields__.keys():
        raise NoLimits(deployment)
    return Limits(**declared)


def findings(measured: Measured, limits: Limits) -> list[Finding]:
    """Say of each limit where it stands; a value that equals its limit keeps it."""
    return [_finding(name, value, getattr(limits, name)) for name, value in _values(measured).items()]


def breaches(measured: Measured, limits: Limits) -> list[Breach]:
    """Return the limits that were passed."""
    return breaches_in(findings(measured, limits))


def breaches_in(found: Sequence[Finding]) -> list[Breach]:
    """Return those of the findings that passed their limit."""
    return [
        Breach(limit=one.limit, value=one.value, allowed=one.allowed)
        for one in found
        if one.standing is Standing.BREACHED and one.value is not None
    ]


def not_measured(found: Sequence[Finding]) -> list[str]:
    """Name the limits of which nothing is known."""
    return [one.limit for one in found if one.standing is Standing.NOT_MEASURED]


def _values(measured: Measured) -> Mapping[str, float | None]:
    counts_errors = measured.requests >= FEWEST_REQUESTS_FOR_ERRORS
    counts_slow = measured.requests >= FEWEST_REQUESTS_FOR_P99
    return {
        "max_order_difference": measured.order_difference,
        "max_drawdown": measured.drawdown,
        "max_weight": measured.largest_weight,
        "max_orders_a_session": measured.most_orders_a_session,
        "max_error_rate": measured.error_rate if counts_errors else None,
        "max_p99_ms": measured.p99_ms if counts_slow else None,
    }


def _finding(name: str, value: float | None, allowed: float) -> Finding:
    if value is None:
        return Finding(limit=name, allowed=allowed, value=None, standing=Standing.NOT_MEASURED)
    is_kept = value <= allowed  # not a number is not within anything
    return Finding(limit=name, allowed=allowed, value=value, standing=Standing.KEPT if is_kept else Standing.BREACHED)
