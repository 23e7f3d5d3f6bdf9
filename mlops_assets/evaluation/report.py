"""What a report says and how it is sealed: canonical JSON is the record, HTML is made from it.

Nothing in a sealed report depends on when, where or how often it was made: no clock, no path, no version counter.
"""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlops_assets.evaluation import metrics
from mlops_assets.evaluation.checks import DESCRIPTIONS, Verdict
from mlops_assets.evaluation.explain import Importance
from mlops_assets.evaluation.gates import GateResult, apply_gates
from mlops_assets.evaluation.metrics import METRICS, RELATIVE_METRICS
from mlops_assets.evaluation.replay import Replay
from mlops_assets.evaluation.spec import Scenario, Strategy
from mlops_assets.kernel.fingerprint import (
    Json,
    bytes_sha256,
    canonical_json,
    file_sha256,
    fingerprint,
    source_fingerprint,
)

FORMAT = "mlops_assets/report@1"
TEMPLATE = Path(__file__).with_name("report.html")
RULE_MODULES = (
    "mlops_assets.evaluation.gates",
    "mlops_assets.evaluation.page",
    "mlops_assets.evaluation.metrics",
    "mlops_assets.evaluation.plots",
    "mlops_assets.evaluation.report",
)
STRESS_METRICS = (metrics.total_return, metrics.maximum_drawdown, metrics.volatility)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kpi:
    """One number of a report under its key `<scenario>.<candidate>.<metric>`, in the metric's natural unit."""

    key: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One strategy in the report: what was declared, what its replay gave and what its checks said."""

    strategy: Strategy
    role: Literal["candidate", "baseline"]
    replay_id: str
    result: Replay
    verdicts: tuple[Verdict, ...]
    inputs: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.strategy.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """The importances of one model: over the scenario's window, on which it decided, and over its whole test fold."""

    model: str
    explanations_fingerprint: str
    window: tuple[Importance, ...]
    test_fold: tuple[Importance, ...]
    additivity_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedReport:
    """A report that can no longer change: its identity is the SHA-256 of its record."""

    name: str
    record: bytes
    html: bytes
    kpis: tuple[Kpi, ...]
    inputs: Mapping[str, str]

    @property
    def sha256(self) -> str:
        return bytes_sha256(self.record)


def build_record(scenario: Scenario, contenders: Sequence[Contender], explained: Sequence[Explained]) -> dict[str, Any]:
    """Say everything the report says, as plain values.

    Args:
        contenders: baselines first; metrics that relate to a baseline use the first one.
    """
    baseline = contenders[0]
    measured = {
        one.name: {
            **metrics.measure(one.result),
            **({} if one is baseline else metrics.compare(one.result, baseline.result)),
        }
        for one in contenders
    }
    gates = apply_gates(scenario, measured)
    return {
        "format": FORMAT,
        "name": scenario.name,
        "scenario": scenario.as_json(),
        "baseline": baseline.name,
        "results": {one.name: _result(scenario, one, measured[one.name]) for one in contenders},
        "gates": [gate.as_json() for gate in gates],
        "explanations": {one.model: _explanation(one) for one in explained},
        "definitions": _definitions(),
        "check_descriptions": dict(DESCRIPTIONS),
        "inputs": inputs_of(scenario, contenders, explained),
        "summary": _summary(contenders, gates),
    }


def kpis_of(record: Mapping[str, Any]) -> tuple[Kpi, ...]:
    """Return the numbers of a record under their keys; a metric that is undefined has none."""
    return tuple(
        Kpi(key=f"{record['name']}.{candidate}.{metric}", value=float(measured["value"]), unit=measured["unit"])
        for candidate, result in sorted(record["results"].items())
        for metric, measured in result["metrics"].items()
        if measured["value"] is not None
    )


def seal(record: Mapping[str, Any], html: bytes) -> SealedReport:
    """Freeze a record and the HTML made from it."""
    return SealedReport(
        name=record["name"],
        record=canonical_json(record),
        html=html,
        kpis=kpis_of(record),
        inputs=record["inputs"],
    )


def inputs_of(scenario: Scenario, contenders: Sequence[Contender], explained: Sequence[Explained]) -> dict[str, str]:
    """Name everything the report was made from, by fingerprint."""
    inputs: dict[str, str] = {}
    for one in contenders:
        inputs |= one.inputs
        inputs[f"evaluation/{scenario.name}/{one.name}"] = one.result.fingerprint
    inputs |= {f"explanations/{one.model}": one.explanations_fingerprint for one in explained}
    code = {"rules": source_fingerprint(*RULE_MODULES), "template": file_sha256(TEMPLATE)}
    libraries = {name: importlib.metadata.version(name) for name in ("jinja2", "matplotlib")}
    return {**inputs, "code/report": fingerprint(code), "code/report_libraries": fingerprint(libraries)}


def _result(scenario: Scenario, one: Contender, measured: Mapping[str, float | None]) -> dict[str, Json]:
    fall = metrics.deepest_drawdown(one.result)
    trips = metrics.round_trips(one.result.fills)
    units = {metric.name: metric.unit for metric in (*METRICS, *RELATIVE_METRICS)}
    return {
        "role": one.role,
        "strategy": {
            "version": one.strategy.version,
            "owner": one.strategy.owner,
            "description": one.strategy.description,
            "parameters": dict(one.strategy.parameters),
            "model": one.strategy.model,
        },
        "replay": one.replay_id,
        "result_fingerprint": one.result.fingerprint,
        "metrics": {name: {"value": value, "unit": units[name]} for name, value in measured.items()},
        "drawdown": {
            "depth": fall.depth,
            "peak": fall.peak.isoformat(),
            "trough": fall.trough.isoformat(),
            "recovered": fall.recovered.isoformat() if fall.recovered else None,
        },
        "account": {
            "first_equity": float(one.result.equity[0]),
            "last_equity": float(one.result.equity[-1]),
            "fills": len(one.result.fills),
            "costs": math.fsum(fill.cost for fill in one.result.fills),
            "open_positions": _open_positions(one.result),
            "best_round_trip": max((trip.profit for trip in trips), default=None),
            "worst_round_trip": min((trip.profit for trip in trips), default=None),
        },
        "stress": {event.label: _stress(one.result, event.start, event.end) for event in scenario.stress_events},
        "checks": [verdict.as_json() for verdict in one.verdicts],
    }


def _stress(result: Replay, start: Any, end: Any) -> dict[str, Json]:  # noqa: ANN401
    part = result.between(start, end)
    if len(part.dates) < 2:
        return {compute.__name__: None for compute in STRESS_METRICS}
    return {compute.__name__: compute(part, part) for compute in STRESS_METRICS}


def _open_positions(result: Replay) -> int:
    held: dict[str, float] = {}
    for fill in result.fills:
        held[fill.symbol] = held.get(fill.symbol, 0.0) + fill.quantity
    return sum(quantity != 0.0 for quantity in held.values())


def _explanation(one: Explained) -> dict[str, Json]:
    return {
        "window": [importance.as_json() for importance in one.window],
        "test_fold": [importance.as_json() for importance in one.test_fold],
        "additivity_error": one.additivity_error,
        "unit": "log-odds",
    }


def _definitions() -> dict[str, Json]:
    return {
        metric.name: {
            "title": metric.title,
            "unit": metric.unit,
            "definition": metric.definition,
            "undefined_when": metric.undefined_when,
        }
        for metric in (*METRICS, *RELATIVE_METRICS)
    }


def _summary(contenders: Sequence[Contender], gates: Sequence[GateResult]) -> dict[str, Json]:
    verdicts = [verdict for one in contenders for verdict in one.verdicts]
    return {
        "checks": len(verdicts),
        "failed_checks": sum(not verdict.is_passed for verdict in verdicts),
        "gates": len(gates),
        "failed_gates": sum(not gate.is_passed for gate in gates),
    }
