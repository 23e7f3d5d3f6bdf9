"""Which bounds of a scenario a candidate keeps. A metric that is missing fails its gate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlops_assets.evaluation.metrics import BY_NAME
from mlops_assets.evaluation.spec import Gate, Scenario
from mlops_assets.kernel.errors import UnknownReference
from mlops_assets.kernel.fingerprint import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """One gate applied to one candidate."""

    candidate: str
    metric: str
    bound: str
    value: float | None
    is_passed: bool

    def as_json(self) -> dict[str, Json]:
        return {
            "candidate": self.candidate,
            "metric": self.metric,
            "bound": self.bound,
            "value": self.value,
            "is_passed": self.is_passed,
        }


def require_known_metrics(scenario: Scenario) -> None:
    """Refuse a gate on a metric that nobody computes.

    Raises:
        UnknownReference: naming the file and the near misses.
    """
    for gate in scenario.gates:
        if gate.metric not in BY_NAME:
            raise UnknownReference(
                kind="metric", name=gate.metric, known=BY_NAME, asked_by=str(scenario.declared_in), field="gates.metric"
            )


def apply_gates(scenario: Scenario, metrics: Mapping[str, Mapping[str, float | None]]) -> list[GateResult]:
    """Apply every gate to the candidates it binds; `metrics` is by candidate and metric."""
    return [
        _apply(gate, candidate, metrics[candidate].get(gate.metric))
        for gate in scenario.gates
        for candidate in _bound_by(gate, scenario.candidates)
    ]


def _bound_by(gate: Gate, candidates: Iterable[str]) -> list[str]:
    return [name for name in candidates if gate.candidate in (None, name)]


def _apply(gate: Gate, candidate: str, value: float | None) -> GateResult:
    is_kept = (
        value is not None
        and (gate.at_least is None or value >= gate.at_least)
        and (gate.at_most is None or value <= gate.at_most)
    )
    bounds = (("at least", gate.at_least), ("at most", gate.at_most))
    words = " and ".join(f"{word} {limit:g}" for word, limit in bounds if limit is not None)
    return GateResult(candidate=candidate, metric=gate.metric, bound=words, value=value, is_passed=is_kept)
