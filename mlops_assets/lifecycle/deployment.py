"""Which versions ask to be deployed: a row per request, bound to the evidence that people approve."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from mlops_assets.governance.evidence import Evidence
from mlops_assets.governance.spec import Approval
from mlops_assets.governance.store import ApprovalStore
from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import Conflict, NotFound
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.kernel.identity import Principal
from mlops_assets.lifecycle.approval_evidence import approval_evidence
from mlops_assets.lifecycle.checklist import Checklist
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.lifecycle.spec import DeploymentTarget
from mlops_assets.storage.journal import Journal
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import deployment


class DeploymentStatus(StrEnum):
    """Where a deployment stands, in the words of the REST API."""

    PENDING = "pending"
    VALIDATING = "validating"
    DEPLOYING = "deploying"
    ACTIVE = "active"
    FAILED = "failed"
    ROLLBACK = "rollback"
    TERMINATED = "terminated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One request and what became of it. `epoch` counts its moves: a move names the epoch it starts from."""

    id: str
    model: str
    model_version: int
    environment: str
    status: DeploymentStatus
    evidence_fingerprint: str
    checklist: Sequence[Mapping[str, Any]]
    epoch: int
    created_at: datetime
    updated_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """A deployment and the approval it waits for."""

    deployment: Deployment
    approval: Approval


def supersede(older: Deployment, *, by: str, actor: str, at: datetime) -> tuple[Deployment, Change]:
    """End a pending request because the deployment `by` asks for the same model in the same environment.

    Raises:
        Conflict: if it is not pending.
    """
    if older.status is not DeploymentStatus.PENDING:
        raise Conflict(f"deployment {older.id} is {older.status}; only a pending one can be superseded.")
    change = Change(
        actor=actor,
        action="deployment.supersede",
        subject=_subject(older),
        before=older.evidence_fingerprint,
        reason=f"superseded by deployment {by}",
        details={"deployment": older.id, "superseded_by": by},
    )
    return _moved(older, DeploymentStatus.TERMINATED, at=at), change


def _moved(request: Deployment, status: DeploymentStatus, *, at: datetime) -> Deployment:
    return replace(request, status=status, epoch=request.epoch + 1, updated_at=at)


def _subject(request: Deployment) -> str:
    return f"deployments/{request.model}@{request.model_version}/{request.environment}"


class Deployments:
    """Keeps requests in SQL. Asking twice with the same evidence is asking once."""

    def __init__(self, database: Database, journal: Journal, approvals: ApprovalStore, clock: Clock) -> None:
        self._database, self._journal = database, journal
        self._approvals, self._clock = approvals, clock

    def request(
        self,
        *,
        version: ModelVersion,
        target: DeploymentTarget,
        tier: int,
        checklist: Checklist,
        makers: Collection[str],
        by: Principal,
    ) -> Requested:
        """Ask to deploy a version: a pending deployment, and an approval bound to the evidence.

        Older pending requests of the model for that environment end, and their approvals with them. Approvals are
        asked for and withdrawn after the row is committed; if the process dies between, asking again does it. One
        that was superseded and is asked for again is pending again.

        Args:
            tier: the model's risk tier, which decides how many people have to agree, and in which roles.
            makers: who made the evidence; none of them, nor `by`, decides.

        Raises:
            ChecklistIncomplete: naming what is missing.
        """
        evidence = approval_evidence(checklist, self._approvals.rules.of(tier))
        asked = _asked(version, target, checklist, evidence, by, self._clock.now())
        with self._database.begin() as connection:
            current = self._ask(connection, asked, version, by)
            for older in _pending_beside(connection, current):
                ended, change = supersede(older, by=current.id, actor=by.name, at=asked.created_at)
                _move(connection, ended)
                self._journal.append(connection, change)
            superseded = _superseded_subjects(connection, current)
        self._approvals.withdraw(superseded, by=by, reason=f"superseded by deployment {current.id}")
        approval = self._approvals.request(
            subject=_subject(current), tier=tier, evidence=evidence, authors={version.created_by, *makers}, by=by
        )
        return Requested(deployment=current, approval=approval)

    def _ask(self, connection: sa.Connection, asked: Deployment, version: ModelVersion, by: Principal) -> Deployment:
        known = _load(connection, asked.id)
        if known is not None and known.status is not DeploymentStatus.TERMINATED:
            return known
        if known is None:
            current = asked
            connection.execute(sa.insert(deployment).values({name: getattr(asked, name) for name in _FIELDS}))
        else:
            current = _moved(known, DeploymentStatus.PENDING, at=asked.created_at)
            _move(connection, current)
        self._journal.append(
            connection,
            Change(
                actor=by.name,
                action="deployment.request",
                subject=_subject(asked),
                after=asked.evidence_fingerprint,
                details={"deployment": asked.id, "model_version": version.fingerprint},
            ),
        )
        return current

    def get(self, deployment_id: str) -> Deployment:
        """Return one deployment.

        Raises:
            NotFound: if there is no such deployment.
        """
        with self._database.read() as connection:
            found = _load(connection, deployment_id)
        if found is None:
            raise NotFound(kind="deployment", name=deployment_id, remedy="List the deployments for known ids.")
        return found

    def list(
        self, *, model: str | None = None, environment: str | None = None, status: DeploymentStatus | None = None
    ) -> list[Deployment]:
        """Return deployments, oldest first, optionally of one model, environment or status."""
        statement = sa.select(deployment).order_by(deployment.c.created_at, deployment.c.id)
        wanted = (
            (deployment.c.model, model),
            (deployment.c.environment, environment),
            (deployment.c.status, status),
        )
        for column, value in wanted:
            if value is not None:
                statement = statement.where(column == value)
        with self._database.read() as connection:
            return [_deployment(row) for row in connection.execute(statement).mappings()]


_FIELDS = tuple(Deployment.__dataclass_fields__)


def _asked(
    version: ModelVersion,
    target: DeploymentTarget,
    checklist: Checklist,
    evidence: Evidence,
    by: Principal,
    at: datetime,
) -> Deployment:
    identity = fingerprint(
        {
            "model_version": version.fingerprint,
            "environment": target.environment,
            "evidence": evidence.fingerprint,
        }
    )
    return Deployment(
        id=identity,
        model=version.model,
        model_version=version.version,
        environment=target.environment,
        status=DeploymentStatus.PENDING,
        evidence_fingerprint=evidence.fingerprint,
        checklist=[item.as_json() for item in checklist.items],
        epoch=0,
        created_at=at,
        updated_at=at,
        created_by=by.name,
    )


def _pending_beside(connection: sa.Connection, current: Deployment) -> list[Deployment]:
    """Return the other pending requests of the same model and environment, oldest first."""
    statement = (
        sa.select(deployment)
        .where(
            deployment.c.model == current.model,
            deployment.c.environment == current.environment,
            deployment.c.status == DeploymentStatus.PENDING,
            deployment.c.id != current.id,
        )
        .order_by(deployment.c.created_at, deployment.c.id)
    )
    return [_deployment(row) for row in connection.execute(statement).mappings()]


def _superseded_subjects(connection: sa.Connection, current: Deployment) -> list[str]:
    """Name the other versions for that environment whose requests ended: nobody asks for their approval any more."""
    statement = sa.select(deployment).where(
        deployment.c.model == current.model,
        deployment.c.environment == current.environment,
        deployment.c.status == DeploymentStatus.TERMINATED,
    )
    found = {_subject(_deployment(row)) for row in connection.execute(statement).mappings()}
    return sorted(found - {_subject(current)})


def _move(connection: sa.Connection, moved: Deployment) -> None:
    connection.execute(
        sa.update(deployment)
        .where(deployment.c.id == moved.id)
        .values(status=moved.status, epoch=moved.epoch, updated_at=moved.updated_at)
    )


def _load(connection: sa.Connection, deployment_id: str) -> Deployment | None:
    row = connection.execute(sa.select(deployment).where(deployment.c.id == deployment_id)).mappings().one_or_none()
    return None if row is None else _deployment(row)


def _deployment(row: sa.RowMapping) -> Deployment:
    return Deployment(**{**row, "status": DeploymentStatus(row["status"])})
