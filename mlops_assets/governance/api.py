"""What waits for approval, who decided what on which evidence, and the verdicts: over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from mlops_assets.governance.approvals import LONGEST_NOTE
from mlops_assets.governance.evidence import PartKind
from mlops_assets.governance.spec import Approval, Duty, Verdict
from mlops_assets.governance.store import ApprovalStore
from mlops_assets.governance.transitions import State
from mlops_assets.identity.claims import check_claimed
from mlops_assets.kernel.cursor import Listing
from mlops_assets.kernel.errors import Conflict
from mlops_assets.kernel.identity import Gate, Principal, Role

_SHA256 = "0f343b0931126a20f133d67c2b018a3b5e2c5f3f8b7b7a51f1a3a5d5a0b3f2c1"
_AT = "2024-05-02T21:31:00Z"
_APPROVAL: dict[str, Any] = {
    "id": _SHA256,
    "subject": "deployments/signal_classifier@1/staging",
    "tier": 2,
    "state": "in_review",
    "round": 1,
    "quorum": 2,
    "required_role": None,
    "is_override": False,
    "closed_reason": "",
    "moved": [],
    "evidence_fingerprint": _SHA256,
    "created_by": "dagster",
    "created_at": _AT,
    "submitted_by": "dagster",
    "submitted_at": _AT,
    "review_started_at": _AT,
    "decided_at": None,
    "due_at": "2024-05-04T21:31:00Z",
    "expires_at": "2024-05-16T21:31:00Z",
    "valid_days": 365,
}
_DETAIL: dict[str, Any] = {
    **_APPROVAL,
    "evidence": [{"name": "report", "kind": "report", "fingerprint": _SHA256, "note": "covid_crash"}],
    "is_intact": True,
    "parties": [{"principal": "dagster", "duty": "launcher"}],
    "decisions": [{"approver": "carol", "verdict": "approve", "capacity": "compliance", "note": "", "at": _AT}],
    "overrides": [],
}
_WAITING: dict[str, Any] = {
    "approval": _APPROVAL,
    "age_seconds": 3600.0,
    "due_at": "2024-05-04T21:31:00Z",
    "is_overdue": False,
    "needed": "1 more",
}

Note = Annotated[str, Field(max_length=LONGEST_NOTE)]
Reason = Annotated[str, Field(min_length=1, max_length=LONGEST_NOTE)]
Claimed = Annotated[str, Field(max_length=200)]
ApprovalId = Annotated[str, Path(min_length=1, max_length=64)]


class ApprovalView(BaseModel):
    """A request and where it stands. `moved` names the parts of the evidence that changed and made it void."""

    model_config = ConfigDict(json_schema_extra={"examples": [_APPROVAL]})

    id: str
    subject: str
    tier: int
    state: State
    round: int
    quorum: int
    required_role: Role | None
    is_override: bool
    closed_reason: str
    moved: list[str]
    evidence_fingerprint: str
    created_by: str
    created_at: datetime
    submitted_by: str | None
    submitted_at: datetime | None
    review_started_at: datetime | None
    decided_at: datetime | None
    due_at: datetime | None
    expires_at: datetime | None
    valid_days: int


class EvidencePart(BaseModel):
    """One thing that the approval is bound to."""

    name: str
    kind: PartKind
    fingerprint: str
    note: str


class PartyView(BaseModel):
    """Somebody who authored, launched or submitted it, and so decides nothing."""

    principal: str
    duty: Duty


class DecisionView(BaseModel):
    """One approver's word. `capacity` is the role in which it counts."""

    approver: str
    verdict: Verdict
    capacity: Role | None
    note: str
    at: datetime


class OverrideView(BaseModel):
    """One of the two people of an emergency override."""

    principal: str
    reason: str
    at: datetime


class ApprovalDetail(ApprovalView):
    """A request with everything that it is bound to and everything that was said. `is_intact` is false where the stored
    evidence is not what the request was bound to."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DETAIL]})

    evidence: list[EvidencePart]
    is_intact: bool
    parties: list[PartyView]
    decisions: list[DecisionView]
    overrides: list[OverrideView]


class Approvals(BaseModel):
    """A page of requests, oldest first; ask again with `cursor=next_cursor` until that is None."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"approvals": [_APPROVAL], "next_cursor": None}]})

    approvals: list[ApprovalView]
    next_cursor: str | None


class WaitingView(BaseModel):
    """A request that waits for a decision: how old it is, when it is due and what is missing."""

    approval: ApprovalView
    age_seconds: float
    due_at: datetime
    is_overdue: bool
    needed: str


class Queue(BaseModel):
    """A page of what waits for a decision, due first, and how much there is in all."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"waiting": [_WAITING], "total": 1}]})

    waiting: list[WaitingView]
    total: int


class Bound(BaseModel):
    """What every move names: the evidence that the caller has seen. It must be the request's."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"evidence_fingerprint": _SHA256}]}
    )

    evidence_fingerprint: Annotated[str, Field(min_length=1, max_length=64)]


class Verdictive(Bound):
    """A verdict's note. `reviewer` and `approved_by` are taken from old clients, where they name the caller."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"evidence_fingerprint": _SHA256, "note": "read the report"}]}
    )

    note: Note = ""
    reviewer: Claimed | None = None
    approved_by: Claimed | None = None


class Reasoned(Bound):
    """Why a request is withdrawn, an approval taken back, or something let through at once."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"evidence_fingerprint": _SHA256, "reason": "the data was corrected"}]}
    )

    reason: Reason


def router(approvals: ApprovalStore, allowed: Gate) -> APIRouter:
    """Return the routes of the approvals."""
    routes = APIRouter(prefix="/approvals", tags=["governance"])
    submitter = Depends(allowed("approval.submit"))
    decider = Depends(allowed("approval.decide"))
    revoker = Depends(allowed("approval.revoke"))
    overrider = Depends(allowed("approval.override"))

    @routes.get("")
    def list_approvals(
        state: Annotated[State | None, Query()] = None,
        subject: Annotated[str | None, Query(max_length=400)] = None,
        cursor: Annotated[str | None, Query(max_length=1_000)] = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 50,
    ) -> Approvals:
        """List requests, oldest first, optionally of one state or subject."""
        listing = Listing(name="approvals", position=(str,), filters={"state": state, "subject": subject})
        position = listing.after(cursor)
        after = None if position is None else str(position[0])
        found = approvals.list(state=state, subject=subject, after=after, limit=limit + 1)
        more = listing.cursor((found[limit - 1].id,)) if len(found) > limit else None
        return Approvals(approvals=[_view(one) for one in found[:limit]], next_cursor=more)

    @routes.get("/queue")
    def show_queue(skip: Annotated[int, Query(ge=0)] = 0, limit: Annotated[int, Query(ge=1, le=100)] = 50) -> Queue:
        """List what waits for a decision, due first."""
        waiting = approvals.queue()
        shown = [
            WaitingView(
                approval=_view(one.approval),
                age_seconds=one.age.total_seconds(),
                due_at=one.due_at,
                is_overdue=one.is_overdue,
                needed=one.needed,
            )
            for one in waiting[skip : skip + limit]
        ]
        return Queue(waiting=shown, total=len(waiting))

    @routes.get("/{approval_id}")
    def show_approval(approval_id: ApprovalId) -> ApprovalDetail:
        """Show a request with its evidence, the people in it and what they said."""
        return _detail(approvals.get(approval_id))

    @routes.post("/{approval_id}/submit")
    def submit(approval_id: ApprovalId, asked: Bound, caller: Principal = submitter) -> ApprovalDetail:
        """Ask for verdicts on a draft."""
        _require_seen(approvals.get(approval_id), asked)
        return _detail(approvals.submit(approval_id, by=caller))

    @routes.post("/{approval_id}/review")
    def review(approval_id: ApprovalId, asked: Bound, caller: Principal = decider) -> ApprovalDetail:
        """Say that somebody who may decide is looking at it."""
        _require_seen(approvals.get(approval_id), asked)
        return _detail(approvals.start_review(approval_id, by=caller))

    def decide(approval_id: str, asked: Verdictive, caller: Principal, verdict: Verdict) -> ApprovalDetail:
        check_claimed(caller, reviewer=asked.reviewer, approved_by=asked.approved_by)
        _require_seen(approvals.get(approval_id), asked)
        return _detail(approvals.decide(approval_id, by=caller, verdict=verdict, note=asked.note))

    @routes.post("/{approval_id}/approve")
    def approve(approval_id: ApprovalId, asked: Verdictive, caller: Principal = decider) -> ApprovalDetail:
        """Approve; with enough people, and the required role among them, the request is approved."""
        return decide(approval_id, asked, caller, Verdict.APPROVE)

    @routes.post("/{approval_id}/reject")
    def reject(approval_id: ApprovalId, asked: Verdictive, caller: Principal = decider) -> ApprovalDetail:
        """Reject, with a note that says why; one rejection ends the request."""
        return decide(approval_id, asked, caller, Verdict.REJECT)

    @routes.post("/{approval_id}/revoke")
    def revoke(approval_id: ApprovalId, asked: Reasoned, caller: Principal = revoker) -> ApprovalDetail:
        """Withdraw a request or take an approval back."""
        _require_seen(approvals.get(approval_id), asked)
        return _detail(approvals.revoke(approval_id, by=caller, reason=asked.reason))

    @routes.post("/{approval_id}/override")
    def override(approval_id: ApprovalId, asked: Reasoned, caller: Principal = overrider) -> ApprovalDetail:
        """Take part in an emergency override: the second person's word approves it for a short time."""
        _require_seen(approvals.get(approval_id), asked)
        return _detail(approvals.override(approval_id, by=caller, reason=asked.reason))

    return routes


def _require_seen(request: Approval, asked: Bound) -> None:
    """Refuse a word about other evidence. What a request is bound to never changes, so this needs no lock."""
    if asked.evidence_fingerprint != request.evidence_fingerprint:
        raise Conflict(
            f"{request.subject}: you name evidence {asked.evidence_fingerprint[:12]!r}, and the request is about "
            f"{request.evidence_fingerprint}. Read GET /api/v1/approvals/{request.id} and decide on that."
        )


def _view(one: Approval) -> ApprovalView:
    return ApprovalView.model_validate({name: getattr(one, name) for name in ApprovalView.model_fields})


def _detail(one: Approval) -> ApprovalDetail:
    return ApprovalDetail(
        **dict(_view(one)),
        evidence=[EvidencePart.model_validate(part.as_json()) for part in one.evidence.parts],
        is_intact=one.is_intact,
        parties=[PartyView(principal=party.principal, duty=party.duty) for party in one.parties],
        decisions=[
            DecisionView(
                approver=said.approver, verdict=said.verdict, capacity=said.capacity, note=said.note, at=said.at
            )
            for said in sorted(one.decisions, key=lambda said: (said.at, said.approver))
        ],
        overrides=[
            OverrideView(principal=said.principal, reason=said.reason, at=said.at)
            for said in sorted(one.overrides, key=lambda said: (said.at, said.principal))
        ],
    )
