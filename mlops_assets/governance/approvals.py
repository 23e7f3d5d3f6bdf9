"""Who may approve what: one state machine for models, reports and prompts. An approval binds to its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from mlops_assets.kernel.errors import Conflict, Forbidden
from mlops_assets.kernel.fingerprint import Json, fingerprint
from mlops_assets.kernel.identity import Principal, Role

TIME_TO_LIVE = timedelta(days=14)
APPROVER_ROLES = frozenset({Role.COMPLIANCE, Role.MLOPS, Role.ADMIN})


class State(StrEnum):
    """Where a request stands."""

    IN_REVIEW = "in_review"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"


class Verdict(StrEnum):
    """What one approver says."""

    APPROVE = "approve"
    REJECT = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One approver's word."""

    approver: str
    verdict: Verdict
    note: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A request to approve `subject` as described by `evidence`, and what was decided so far.

    `round` counts the requests for the same evidence: one that expired unanswered may be asked for again.
    """

    id: str
    subject: str
    evidence: Mapping[str, Json]
    evidence_fingerprint: str
    round: int
    state: State
    quorum: int
    author: str
    submitted_at: datetime
    expires_at: datetime
    decisions: tuple[Decision, ...] = ()

    @property
    def is_open(self) -> bool:
        return self.state is State.IN_REVIEW


def submit(
    *,
    subject: str,
    evidence: Mapping[str, Json],
    author: Principal,
    quorum: int,
    at: datetime,
    round_number: int = 1,
) -> Approval:
    """Ask for the approval of a subject; the evidence's fingerprint becomes part of the request's identity."""
    if quorum < 1:
        raise ValueError(f"a quorum of {quorum} would approve by itself")
    bound = fingerprint(evidence)
    return Approval(
        id=fingerprint({"subject": subject, "evidence": bound, "round": round_number}),
        subject=subject,
        evidence=dict(evidence),
        evidence_fingerprint=bound,
        round=round_number,
        state=State.IN_REVIEW,
        quorum=quorum,
        author=author.name,
        submitted_at=at,
        expires_at=at + TIME_TO_LIVE,
    )


def decide(approval: Approval, *, approver: Principal, verdict: Verdict, note: str, at: datetime) -> Approval:
    """Add one approver's verdict and move the state when the quorum is reached or somebody rejects.

    Raises:
        Forbidden: if the approver wrote what is to be approved, or has no approving role.
        Conflict: if the request is closed or expired, or this approver has already decided.
    """
    if approver.name == approval.author:
        raise Forbidden(f"{approver.name} submitted {approval.subject} and can't decide on it. Ask somebody else.")
    if not approver.has_any(APPROVER_ROLES):
        allowed = ", ".join(sorted(APPROVER_ROLES))
        raise Forbidden(f"{approver.name} has none of the roles that approve ({allowed}).")
    if has_expired(approval, at=at) or approval.state is State.EXPIRED:
        raise Conflict(
            f"{approval.subject}: the request expired on {approval.expires_at:%Y-%m-%d}. Submit it again: "
            "materialising the asset that asked for it opens a new round."
        )
    if not approval.is_open:
        raise Conflict(
            f"{approval.subject}: the request is {approval.state}. Its evidence can't be decided on again; "
            "what changes it asks anew."
        )
    if any(decision.approver == approver.name for decision in approval.decisions):
        raise Conflict(f"{approver.name} has already decided on {approval.subject}.")
    decisions = (*approval.decisions, Decision(approver=approver.name, verdict=verdict, note=note, at=at))
    return replace(approval, decisions=decisions, state=_state_after(decisions, approval.quorum))


def has_expired(approval: Approval, *, at: datetime) -> bool:
    """Say whether an open request has outlived its time."""
    return approval.is_open and at >= approval.expires_at


def _state_after(decisions: tuple[Decision, ...], quorum: int) -> State:
    if any(decision.verdict is Verdict.REJECT for decision in decisions):
        return State.REJECTED
    return State.APPROVED if len(decisions) >= quorum else State.IN_REVIEW
