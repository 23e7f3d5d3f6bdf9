"""Which replays were run and what their reports say, over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from mlops_assets.evaluation.store import ReportStore, StoredReport
from mlops_assets.kernel.errors import IntegrityViolation, NotFound
from mlops_assets.lifecycle.registry import ModelRegistry

RunStatus = Literal["pending", "running", "completed", "failed"]
Compliance = Literal["passed", "warning", "failed"]

_UNKNOWN = "unknown"
_ID = "5d0f2a1f6f3d8c1b9c0e7a6b5d4c3f2e1a0b9c8d7e6f5a4b3c2d1e0f9a8b7c6d"
_METRIC: dict[str, Any] = {
    "metric_name": "sharpe_ratio",
    "candidate": 0.81,
    "baseline_average": 0.62,
    "delta": 0.19,
    "unit": "ratio",
}
_FEATURE: dict[str, Any] = {"feature_name": "momentum_12_1", "importance": 0.31, "impact_direction": "mixed"}
_CHECK: dict[str, Any] = {"check": "out_of_sample", "is_passed": True, "summary": "5,060 predictions, 0 seen"}
_RUN: dict[str, Any] = {
    "id": _ID,
    "scenario_name": "covid_crash",
    "candidate_backtest_id": _ID,
    "candidate_name": "signal_ml",
    "candidate_model_name": "signal_classifier",
    "candidate_model_version": "1",
    "status": "completed",
    "started_at": None,
    "completed_at": "2024-05-02T21:31:00Z",
    "summary": {"metrics": [_METRIC], "compliance": "passed", "notes": "", "detailed_metrics": {"sharpe_ratio": 0.81}},
    "explainability": [_FEATURE],
    "compliance_checks": [_CHECK],
}


class MetricComparison(BaseModel):
    """One metric of a candidate beside the mean of the baselines; None where it is undefined."""

    model_config = ConfigDict(json_schema_extra={"examples": [_METRIC]})

    metric_name: str
    candidate: float | None
    baseline_average: float | None
    delta: float | None
    unit: str


class FeatureImportance(BaseModel):
    """How much a feature moves the model's score: its share of all features' mean |SHAP|."""

    model_config = ConfigDict(json_schema_extra={"examples": [_FEATURE]})

    feature_name: str
    importance: float
    impact_direction: Literal["positive", "negative", "mixed"] = "mixed"


class ComplianceCheck(BaseModel):
    """One check of a replay or one gate of its scenario."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CHECK]})

    check: str
    is_passed: bool
    summary: str


class RunSummary(BaseModel):
    """What a run came to."""

    metrics: list[MetricComparison]
    compliance: Compliance
    notes: str
    detailed_metrics: dict[str, float | None]


class EvaluationRun(BaseModel):
    """One candidate replayed in one scenario. Everything in it was measured by the harness.

    The model is the one whose probabilities the candidate read, under its registered version; a candidate that reads
    none stands there itself, with the version of its strategy.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_RUN]})

    id: str
    scenario_name: str
    candidate_backtest_id: str
    candidate_name: str
    candidate_model_name: str
    candidate_model_version: str
    status: RunStatus
    started_at: datetime | None
    completed_at: datetime | None
    summary: RunSummary
    explainability: list[FeatureImportance]
    compliance_checks: list[ComplianceCheck]


class EvaluationRuns(BaseModel):
    """A page of runs, newest first, and how many there are in all."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"runs": [_RUN], "total": 1}]})

    runs: list[EvaluationRun]
    total: int


class EvaluationReport(BaseModel):
    """What the sealed report says of one candidate. `sha256` identifies the report; `html_url` is its page."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "run_id": _ID,
                    "scenario_name": "covid_crash",
                    "candidate_model_name": "signal_classifier",
                    "candidate_model_version": "1",
                    "compliance": "passed",
                    "metrics": [_METRIC],
                    "notes": "",
                    "explainability": [_FEATURE],
                    "sign_off": None,
                    "sha256": _ID,
                    "html_url": f"/reports/{_ID}",
                    "inputs": {"market/bars": _ID},
                    "created_at": "2024-05-02T21:31:00Z",
                }
            ]
        }
    )

    run_id: str
    scenario_name: str
    candidate_model_name: str
    candidate_model_version: str
    compliance: Compliance
    metrics: list[MetricComparison]
    notes: str
    explainability: list[FeatureImportance]
    sign_off: dict[str, Any] | None
    sha256: str
    html_url: str
    inputs: dict[str, str]
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One replayed candidate and the newest report about it."""

    id: str
    candidate: str
    report: StoredReport


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evaluated:
    """What the record of the newest report says of a run. `model_version` is None for a candidate without a model."""

    run: _Run
    record: Mapping[str, Any]
    model_version: str | None

    @property
    def candidate(self) -> str:
        return self.run.candidate

    @property
    def report(self) -> StoredReport:
        return self.run.report

    @property
    def result(self) -> Mapping[str, Any]:
        return self.record["results"][self.candidate]

    @property
    def model(self) -> str | None:
        return self.result["strategy"]["model"]


_Numbers = Callable[[str], Mapping[str, str]]
"""The registered numbers of a model's versions, by fingerprint."""


def router(reports: ReportStore, models: ModelRegistry) -> APIRouter:
    """Return the routes of the evaluation harness."""
    routes = APIRouter(tags=["evaluation"])

    @routes.get("/runs")
    def list_runs(
        scenario_name: Annotated[str | None, Query()] = None,
        status: Annotated[RunStatus | None, Query()] = None,
        skip: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=100)] = 50,
    ) -> EvaluationRuns:
        """List the replays of candidates that a report was sealed about, newest first."""
        found = list(_runs(reports, scenario_name)) if status in (None, "completed") else []
        numbers = _numbers(models)
        shown = [_run(_evaluated_or_damaged(reports, numbers, one)) for one in found[skip : skip + limit]]
        return EvaluationRuns(runs=shown, total=len(found))

    @routes.get("/runs/{run_id}")
    def show_run(run_id: str) -> EvaluationRun:
        """Show one replay."""
        return _run(_evaluated(reports, _numbers(models), _find(reports, run_id)))

    @routes.get("/runs/{run_id}/report")
    def show_report(run_id: str) -> EvaluationReport:
        """Show what the newest sealed report says of a replay."""
        return _report(_evaluated(reports, _numbers(models), _find(reports, run_id)))

    return routes


def _runs(reports: ReportStore, scenario_name: str | None = None) -> Iterator[_Run]:
    """Yield each replayed candidate once, with the report sealed last about it; no record is read for that."""
    seen: set[str] = set()
    for sealing in reports.sealings(scenario_name):
        for candidate, run_id in sealing.runs.items():
            if run_id not in seen:
                seen.add(run_id)
                yield _Run(id=run_id, candidate=candidate, report=sealing.report)


def _find(reports: ReportStore, run_id: str) -> _Run:
    for one in _runs(reports):
        if one.id == run_id:
            return one
    raise NotFound(kind="evaluation run", name=run_id, remedy="The list of runs has every id.")


def _evaluated(reports: ReportStore, numbers: _Numbers, run: _Run) -> _Evaluated:
    """Read what the newest report says of a run.

    Raises:
        IntegrityViolation: if the report's record is damaged.
    """
    record = reports.record(run.report.sha256)
    model = record["results"][run.candidate]["strategy"]["model"]
    version = None if model is None else numbers(model).get(record["inputs"][f"models/{model}"], _UNKNOWN)
    return _Evaluated(run=run, record=record, model_version=version)


def _evaluated_or_damaged(reports: ReportStore, numbers: _Numbers, run: _Run) -> _Evaluated:
    """Read what the newest report says of a run, or say that its record is damaged: the other runs are still shown."""
    try:
        return _evaluated(reports, numbers, run)
    except (IntegrityViolation, NotFound) as damage:
        result = {
            "role": "candidate",
            "strategy": {"model": None, "version": _UNKNOWN},
            "metrics": {},
            "checks": [{"check": "record_intact", "is_passed": False, "summary": str(damage)}],
        }
        record = {"results": {run.candidate: result}, "gates": [], "explanations": {}}
        return _Evaluated(run=run, record=record, model_version=None)


def _numbers(models: ModelRegistry) -> _Numbers:
    """Look versions up by fingerprint, each model's once."""
    return cache(lambda model: {version.fingerprint: str(version.version) for version in models.list(model=model)})


def _run(one: _Evaluated) -> EvaluationRun:
    comparisons = _comparisons(one)
    return EvaluationRun(
        id=one.run.id,
        scenario_name=one.report.name,
        candidate_backtest_id=one.run.id,
        candidate_name=one.candidate,
        candidate_model_name=one.model or one.candidate,
        candidate_model_version=one.model_version or one.result["strategy"]["version"],
        status="completed",
        started_at=None,
        completed_at=one.report.created_at,
        summary=RunSummary(
            metrics=comparisons,
            compliance=_compliance(one),
            notes=_notes(one),
            detailed_metrics={comparison.metric_name: comparison.candidate for comparison in comparisons},
        ),
        explainability=_importances(one),
        compliance_checks=_checks(one),
    )


def _report(one: _Evaluated) -> EvaluationReport:
    return EvaluationReport(
        run_id=one.run.id,
        scenario_name=one.report.name,
        candidate_model_name=one.model or one.candidate,
        candidate_model_version=one.model_version or one.result["strategy"]["version"],
        compliance=_compliance(one),
        metrics=_comparisons(one),
        notes=_notes(one),
        explainability=_importances(one),
        sign_off=None,
        sha256=one.report.sha256,
        html_url=f"/reports/{one.report.sha256}",
        inputs=dict(one.report.inputs),
        created_at=one.report.created_at,
    )


def _comparisons(one: _Evaluated) -> list[MetricComparison]:
    baselines = [result["metrics"] for result in one.record["results"].values() if result["role"] == "baseline"]
    return [_comparison(name, measured, baselines) for name, measured in one.result["metrics"].items()]


def _comparison(name: str, measured: Mapping[str, Any], baselines: list[Mapping[str, Any]]) -> MetricComparison:
    values = [metrics[name]["value"] for metrics in baselines if name in metrics]
    known = [value for value in values if value is not None]
    average = sum(known) / len(known) if known and len(known) == len(values) else None
    candidate = measured["value"]
    delta = None if candidate is None or average is None else candidate - average
    return MetricComparison(
        metric_name=name, candidate=candidate, baseline_average=average, delta=delta, unit=measured["unit"]
    )


def _checks(one: _Evaluated) -> list[ComplianceCheck]:
    checks = [
        ComplianceCheck(check=check["check"], is_passed=check["is_passed"], summary=check["summary"])
        for check in one.result["checks"]
    ]
    gates = [
        ComplianceCheck(
            check=f"gate:{gate['metric']}",
            is_passed=gate["is_passed"],
            summary=f"{gate['metric']} is {gate['value']}, bound {gate['bound']}",
        )
        for gate in one.record["gates"]
        if gate["candidate"] == one.candidate
    ]
    return [*checks, *gates]


def _compliance(one: _Evaluated) -> Compliance:
    return "passed" if all(check.is_passed for check in _checks(one)) else "failed"


def _notes(one: _Evaluated) -> str:
    return "; ".join(check.summary for check in _checks(one) if not check.is_passed)


def _importances(one: _Evaluated) -> list[FeatureImportance]:
    explained = one.record["explanations"].get(one.model or "", {})
    return [
        FeatureImportance(feature_name=item["feature"], importance=item["share"])
        for item in explained.get("window", [])
    ]
