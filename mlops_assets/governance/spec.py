"""What a request for approval is: what it binds to, who had a hand in it, and what was said so far."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mlops_assets.governance.evidence import Evidence
from mlops_assets.governance.transitions import LIVE, State
from mlops_assets.kernel.fingerprint import Json, fingerprint
from mlops_assets.kernel.identity import Role


class Verdict(StrEnum):
    """What one approver says."""

    APPROVE = "approve"
    REJECT = "reject"


class Duty(StrEnum):
    """What somebody had to do with what is to be approved; who had any of these decides nothing."""

    AUTHOR = "author"
    LAUNCHER = "launcher"
    SUBMITTER = "submitter"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Party:
    """Somebody who had a hand in it."""

    principal: str
    duty: Duty


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One approver's word. `capacity` is the role in which it counts, `credential` how they proved who they are."""

    approver: str
    verdict: Verdict
    capacity: Role | None
    note: str
    credential: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """One of the two people of an emergency override, and why."""

    principal: str
    reason: str
    credential: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """What a request still waits for."""

    people: int
    role: Role | None

    @property
    def is_nothing(self) -> bool:
        return self.people == 0

    @property
    def words(self) -> str:
        if self.is_nothing:
            return "nothing"
        return f"{self.people} more" if self.role is None else f"{self.people} more, {self.role}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A request to approve `subject` as described by `evidence`, and what was decided so far.

    `round` counts the requests for the same evidence. `due_at` is when a decision should be there, `expires_at` when
    the request, or the approval, ends. `moved` says which parts of the evidence made it void.
    """

    id: str
    subject: str
    tier: int
    evidence: Evidence
    evidence_fingerprint: str
    round: int
    quorum: int
    required_role: Role | None
    state: State
    is_override: bool
    closed_reason: str
    moved: tuple[str, ...]
    created_by: str
    created_at: datetime
    submitted_by: str | None
    submitted_at: datetime | None
    review_started_at: datetime | None
    decided_at: datetime | None
    due_at: datetime | None
    expires_at: datetime | None
    valid_days: int
    parties: tuple[Party, ...] = ()
    decisions: tuple[Decision, ...] = ()
    overrides: tuple[Override, ...] = ()

    @property
    def is_live(self) -> bool:
        """Say whether it is open or approved: whether anything can still come of it."""
        return self.state in LIVE

    @property
    def is_intact(self) -> bool:
        """Say whether the stored evidence is what the request was bound to."""
        return self.evidence.fingerprint == self.evidence_fingerprint

    @property
    def fingerprint(self) -> str:
        """Identify everything that the request says now: the ledger's before and after."""
        times = (self.submitted_at, self.review_started_at, self.decided_at, self.due_at, self.expires_at)
        content: dict[str, Json] = {
            "id": self.id,
            "evidence": self.evidence_fingerprint,
            "state": self.state,
            "is_override": self.is_override,
            "closed_reason": self.closed_reason,
            "moved": self.moved,
            "times": [None if at is None else at.isoformat() for at in times],
            "parties": sorted([one.principal, one.duty] for one in self.parties),
            "decisions": sorted(
                [one.approver, one.verdict, one.capacity, one.note, one.credential, one.at.isoformat()]
                for one in self.decisions
            ),
            "overrides": sorted(
                [one.principal, one.reason, one.credential, one.at.isoformat()] for one in self.overrides
            ),
        }
        return fingerprint(content)

    def duties_of(self, name: str) -> tuple[Duty, ...]:
        """Say what somebody had to do with what is to be approved."""
        return tuple(one.duty for one in self.parties if one.principal == name)
