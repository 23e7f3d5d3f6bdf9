"""Which model versions and deployments exist, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from mlops_assets.governance.reading import ApprovalReader
from mlops_assets.governance.spec import Approval
from mlops_assets.governance.transitions import State as ApprovalState
from mlops_assets.lifecycle.deployment.checklist import ItemStatus, ShownBy
from mlops_assets.lifecycle.deployment.deployments import Deployments
from mlops_assets.lifecycle.deployment.record import Deployment
from mlops_assets.lifecycle.deployment.serving_moves import Action, Move
from mlops_assets.lifecycle.deployment.serving_store import ServingStore
from mlops_assets.lifecycle.deployment.states import RUNNING, DeploymentStatus, State
from mlops_assets.lifecycle.registry import ModelRegistry, ModelVersion
from mlops_assets.lifecycle.serving.deployment_health import DeploymentHealth, Judged
from mlops_assets.lifecycle.serving.health import ServingHealth
from mlops_assets.storage.blobs import BlobStore

Stage = Literal["experimental", "staging", "production", "archived"]
Environment = Literal["development", "staging", "production"]
Health = Literal["healthy", "degraded", "unhealthy"]
Skip = Annotated[int, Query(ge=0)]
Limit = Annotated[int, Query(ge=1, le=100)]
Version = Annotated[int, Path(ge=1, le=2**31 - 1)]

_ENDED = frozenset({DeploymentStatus.TERMINATED, DeploymentStatus.ROLLBACK, DeploymentStatus.FAILED})
_AT = "2024-05-02T21:31:00Z"
_SHA256 = "0f343b0931126a20f133d67c2b018a3b5e2c5f3f8b7b7a51f1a3a5d5a0b3f2c1"
_CHECK: dict[str, Any] = {
    "name": "report.covid_crash",
    "status": "passed",
    "note": "report 0f343b093112 of covid_crash",
    "rule": "SR 11-7: outcomes analysis",
    "evidence": _SHA256,
    "shown_by": "machine",
    "completed_at": _AT,
}
_MODEL: dict[str, Any] = {
    "model_name": "signal_classifier",
    "version": "1",
    "run_id": "a1b2c3d4e5f60718",
    "stage": "experimental",
    "metrics": {"test_auc": 0.51},
    "approval_checklist": [_CHECK],
    "approved_by": None,
    "approved_at": None,
    "rollback_notes": None,
    "fingerprint": _SHA256,
    "created_by": "dagster",
    "created_at": _AT,
    "updated_at": _AT,
}
_DEPLOYMENT: dict[str, Any] = {
    "_id": _SHA256,
    "id": _SHA256,
    "model_name": "signal_classifier",
    "model_version": "1",
    "experiment_name": "signal_classifier",
    "environment": "staging",
    "endpoint": "predictions/signal_classifier",
    "state": "in_review",
    "status": "pending",
    "health_status": None,
    "approval_checklist": [_CHECK],
    "evidence_fingerprint": _SHA256,
    "logs": [],
    "error_rate": None,
    "metrics": None,
    "created_by": "dagster",
    "created_at": _AT,
    "updated_at": _AT,
    "deployed_at": None,
    "terminated_at": None,
    "rollback_from": None,
}


class ChecklistItem(BaseModel):
    """One thing that must hold before a version may be deployed."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CHECK]})

    name: str
    status: ItemStatus
    note: str
    rule: str
    evidence: str | None = Field(description="Fingerprint of what shows that it holds.")
    shown_by: ShownBy = Field(default=ShownBy.MACHINE, description="Whether stores show it or people attest it.")
    completed_at: datetime | None


class Model(BaseModel):
    """One registered version of a model."""

    model_config = ConfigDict(json_schema_extra={"examples": [_MODEL]}, protected_namespaces=())

    model_name: str
    version: str
    run_id: str
    stage: Stage = Field(
        description="production: champion there; staging: runs there; archived: each deployment of it was superseded "
        "or retired; else experimental."
    )
    metrics: dict[str, float | None]
    approval_checklist: list[ChecklistItem]
    approved_by: str | None = Field(description="Who approved its newest approved deployment.")
    approved_at: datetime | None
    rollback_notes: str | None
    fingerprint: str
    created_by: str
    created_at: datetime
    updated_at: datetime


class Models(BaseModel):
    """A page of versions and how many there are in all."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"models": [_MODEL], "total": 1}]})

    models: list[Model]
    total: int


class ModelDetail(Model):
    """A version with what it was trained by; `artifact_path` is the model's own text, named by its SHA-256."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **_MODEL,
                    "framework": "lightgbm 4.7.0",
                    "hyperparameters": {"learning_rate": 0.03},
                    "size_mb": 0.4,
                    "artifact_path": f"blobs/{_SHA256}",
                    "deployment_count": 1,
                    "training_set_fingerprint": _SHA256,
                    "code_version": _SHA256,
                }
            ]
        },
        protected_namespaces=(),
    )

    framework: str
    hyperparameters: dict[str, Any]
    size_mb: float
    artifact_path: str
    deployment_count: int
    training_set_fingerprint: str
    code_version: str


class DeploymentMetrics(BaseModel):
    """What was asked of a deployment in the last day and how it answered; latencies are of what it answered."""

    request_count: int
    error_count: int
    avg_latency_ms: float | None
    p95_latency_ms: float | None
    p99_latency_ms: float | None
    last_updated: datetime | None


class DeploymentView(BaseModel):
    """One request to use a version in an environment, and how far it came. The id stands twice, for old clients."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DEPLOYMENT]}, protected_namespaces=())

    mongo_id: str = Field(serialization_alias="_id")
    id: str
    model_name: str
    model_version: str
    experiment_name: str
    environment: Environment
    endpoint: str
    state: State = Field(description="Where it stands; `status` is the coarser view of it.")
    status: DeploymentStatus
    health_status: Health | None
    approval_checklist: list[ChecklistItem]
    evidence_fingerprint: str | None = Field(description="What was approved, or waits for it; null while items lack.")
    logs: list[str]
    error_rate: float | None
    metrics: DeploymentMetrics | None
    created_by: str
    created_at: datetime
    updated_at: datetime
    deployed_at: datetime | None = Field(description="When it first ran, as shadow, canary or champion.")
    terminated_at: datetime | None
    rollback_from: str | None = Field(description="The deployment that was rolled back when this one served again.")


class DeploymentViews(BaseModel):
    """A page of deployments and how many there are in all."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"deployments": [_DEPLOYMENT], "total": 1}]})

    deployments: list[DeploymentView]
    total: int


def router(
    models: ModelRegistry,
    deployments: Deployments,
    blobs: BlobStore,
    health: DeploymentHealth,
    serving: ServingStore,
    approvals: ApprovalReader,
) -> APIRouter:
    """Return the routes of versions and deployments."""
    routes = APIRouter(tags=["lifecycle"])

    @routes.get("/models")
    def list_models(
        model_name: Annotated[str | None, Query()] = None,
        stage: Annotated[Stage | None, Query()] = None,
        skip: Skip = 0,
        limit: Limit = 50,
    ) -> Models:
        """List registered versions by model and number."""
        requests = _by_version(deployments.list(model=model_name))
        found = [
            (one, own)
            for one in models.list(model=model_name)
            for own in (requests.get((one.model, one.version), []),)
            if stage in (None, stage_of(own))
        ]
        shown = found[skip : skip + limit]
        approved = _approved(approvals, [request for _, own in shown for request in own])
        return Models(models=[_model(one, own, approved) for one, own in shown], total=len(found))

    @routes.get("/models/{model_name}/{version}")
    def show_model(model_name: str, version: Version) -> ModelDetail:
        """Show one version with what it was trained by."""
        found = models.get(model_name, version)
        requests = [one for one in deployments.list(model=model_name) if one.model_version == version]
        return ModelDetail(
            **dict(_model(found, requests, _approved(approvals, requests))),
            framework=str(found.metadata.get("library", "")),
            hyperparameters=dict(found.metadata.get("parameters", {})),
            size_mb=round(blobs.path(found.artifact_sha256).stat().st_size / 1e6, 3),
            artifact_path=f"blobs/{found.artifact_sha256}",
            deployment_count=len(requests),
            training_set_fingerprint=found.training_set_fingerprint,
            code_version=found.code_version,
        )

    @routes.get("/deployments")
    def list_deployments(
        model_name: Annotated[str | None, Query()] = None,
        environment: Annotated[Environment | None, Query()] = None,
        status: Annotated[DeploymentStatus | None, Query()] = None,
        skip: Skip = 0,
        limit: Limit = 50,
    ) -> DeploymentViews:
        """List deployment requests, oldest first."""
        found = deployments.list(model=model_name, environment=environment, status=status)
        shown = found[skip : skip + limit]
        judged, moves = health.of(shown), serving.of([one.id for one in shown])
        views = [_deployment(one, judged[one.id], moves[one.id]) for one in shown]
        return DeploymentViews(deployments=views, total=len(found))

    @routes.get("/deployments/{deployment_id}")
    def show_deployment(deployment_id: str) -> DeploymentView:
        """Show one deployment request with its checklist."""
        found = deployments.get(deployment_id)
        return _deployment(found, health.of([found])[found.id], serving.of([found.id])[found.id])

    return routes


def stage_of(requests: Sequence[Deployment]) -> Stage:
    """Say how far a version came, from all its deployments."""
    if any((one.environment, one.state) == ("production", State.CHAMPION) for one in requests):
        return "production"
    if any(one.environment == "staging" and one.state in RUNNING for one in requests):
        return "staging"
    is_over = requests and all(one.state in (State.SUPERSEDED, State.RETIRED) for one in requests)
    return "archived" if is_over else "experimental"


def _by_version(requests: Sequence[Deployment]) -> dict[tuple[str, int], list[Deployment]]:
    found: dict[tuple[str, int], list[Deployment]] = {}
    for one in requests:
        found.setdefault((one.model, one.model_version), []).append(one)
    return found


def _approved(approvals: ApprovalReader, requests: Sequence[Deployment]) -> dict[str, Approval]:
    """Return by deployment the approval that people gave and did not take back; its time may be over by now."""
    found = approvals.of_evidence([one.evidence_fingerprint for one in requests if one.evidence_fingerprint])
    return {
        one.id: given
        for one in requests
        if (given := found.get(one.evidence_fingerprint or "")) is not None
        and given.decided_at is not None
        and given.state in (ApprovalState.APPROVED, ApprovalState.EXPIRED)
    }


def _approvers(given: Approval) -> str:
    """Name who approved, in their order; of an override those who took part in it."""
    names = (
        [one.principal for one in given.overrides] if given.is_override else [one.approver for one in given.decisions]
    )
    return ", ".join(names)


def _model(version: ModelVersion, own: Sequence[Deployment], approved: Mapping[str, Approval]) -> Model:
    """Show a version; its checklist is that of its newest deployment, its approval the newest that was given."""
    given = next((approved[one.id] for one in reversed(own) if one.id in approved), None)
    return Model.model_validate(
        {
            "model_name": version.model,
            "version": str(version.version),
            "run_id": version.run_id,
            "stage": stage_of(own),
            "metrics": dict(version.metrics),
            "approval_checklist": _checklist(own[-1]) if own else [],
            "approved_by": None if given is None else _approvers(given),
            "approved_at": None if given is None else given.decided_at,
            "rollback_notes": None,
            "fingerprint": version.fingerprint,
            "created_by": version.created_by,
            "created_at": version.created_at,
            "updated_at": max([version.created_at, *(one.updated_at for one in own)]),
        }
    )


def _deployment(request: Deployment, judged: Judged, moves: Sequence[Move]) -> DeploymentView:
    """Show a deployment with what the serving log says of it."""
    own = [one for one in moves if one.runs(request.id)]
    restored = [one.deployment_id for one in own if one.action is Action.ROLL_BACK and one.has_champion(request.id)]
    return DeploymentView.model_validate(
        {
            "mongo_id": request.id,
            "id": request.id,
            "model_name": request.model,
            "model_version": str(request.model_version),
            "experiment_name": request.model,
            "environment": request.environment,
            "endpoint": f"predictions/{request.model}",
            "state": request.state,
            "status": request.status,
            "health_status": judged.status,
            "approval_checklist": _checklist(request),
            "evidence_fingerprint": request.evidence_fingerprint,
            "logs": [_told(one) for one in moves],
            "error_rate": judged.health.error_rate,
            "metrics": _metrics(judged.health),
            "created_by": request.created_by,
            "created_at": request.created_at,
            "updated_at": request.updated_at,
            "deployed_at": own[0].at if own else None,
            "terminated_at": request.updated_at if request.status in _ENDED else None,
            "rollback_from": restored[-1] if restored else None,
        }
    )


def _told(move: Move) -> str:
    return f"{move.at:%Y-%m-%dT%H:%M:%SZ} {move.action} by {move.actor}: {move.after.words}. {move.reason}"


def _metrics(health: ServingHealth) -> DeploymentMetrics | None:
    """Show the figures; a deployment of which nothing was asked has none."""
    if not health.request_count:
        return None
    return DeploymentMetrics(
        request_count=health.request_count,
        error_count=health.error_count,
        avg_latency_ms=health.mean_ms,
        p95_latency_ms=health.p95_ms,
        p99_latency_ms=health.p99_ms,
        last_updated=health.last_updated,
    )


def _checklist(request: Deployment) -> list[ChecklistItem]:
    """Show the items as they stood when the deployment was asked for."""
    return [
        ChecklistItem.model_validate({**item, "completed_at": request.created_at if item["evidence"] else None})
        for item in request.checklist
    ]
