"""What a deployment is: the request to use one version in one environment, and how far it came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from mlops_assets.kernel.fingerprint import Json, fingerprint
from mlops_assets.lifecycle.deployment.states import DeploymentStatus, State, Verb, moved, rest_status

STEPS = (State.SHADOW, State.CANARY)
"""What a version goes through beside the champion, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One request and what became of it. `epoch` counts its changes.

    `checklist` and `evidence_fingerprint` are those of its last change while it waited, and what was approved;
    `plan` is the declared rollout with its limits.
    """

    id: str
    model: str
    model_version: int
    environment: str
    tier: int
    state: State
    evidence_fingerprint: str | None
    checklist: Sequence[Mapping[str, Any]]
    plan: Mapping[str, Any]
    epoch: int
    created_at: datetime
    updated_at: datetime
    created_by: str

    @property
    def status(self) -> DeploymentStatus:
        return rest_status(self.state)

    @property
    def subject(self) -> str:
        """What its approvals and ledger entries are about."""
        return f"deployments/{self.model}@{self.model_version}/{self.environment}"

    @property
    def version_id(self) -> str:
        return f"models/{self.model}@{self.model_version}"

    @property
    def open_items(self) -> tuple[str, ...]:
        """The names of the items that are not shown."""
        return tuple(str(item["name"]) for item in self.checklist if item["status"] != "passed")

    def planned_sessions(self, step: State) -> int:
        """Return how many sessions a version has to spend in `step` before it goes on."""
        rollout: Mapping[str, Any] = self.plan.get("rollout", {})
        return int(rollout.get(f"{step}_sessions", 0))

    @property
    def slice(self) -> Mapping[str, Any]:
        """The part that it answers for as a canary."""
        rollout: Mapping[str, Any] = self.plan.get("rollout", {})
        return rollout.get("canary", {})

    def after(self, verb: Verb, target: State, *, at: datetime) -> Deployment:
        """Return it after a move.

        Raises:
            Conflict: if `verb` does not lead there from where it stands.
        """
        state = moved(self.state, verb, target, what=f"deployment {self.id[:12]} of {self.subject}")
        return replace(self, state=state, epoch=self.epoch + 1, updated_at=at)

    def as_json(self) -> dict[str, Json]:
        """Return it for copies in other systems, named as the REST API names things."""
        return {
            "id": self.id,
            "model_name": self.model,
            "model_version": str(self.model_version),
            "environment": self.environment,
            "tier": self.tier,
            "state": self.state.value,
            "status": self.status.value,
            "evidence_fingerprint": self.evidence_fingerprint,
            "approval_checklist": [dict(item) for item in self.checklist],
            "plan": dict(self.plan),
            "epoch": self.epoch,
            "created_at": self.created_at.isoformat(),
            "updated_at": self.updated_at.isoformat(),
            "created_by": self.created_by,
        }


def identity(*, version_fingerprint: str, environment: str, round_number: int) -> str:
    """Return the id of the `round_number`-th request to use a version in an environment."""
    return fingerprint({"model_version": version_fingerprint, "environment": environment, "round": round_number})
