"""Who may approve what: one state machine for models, reports and prompts. An approval binds to its evidence."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import ClassVar

from mlops_assets.governance.evidence import Evidence
from mlops_assets.governance.rules import Emergency, TierRule
from mlops_assets.governance.spec import Approval, Decision, Duty, Needed, Override, Party, Verdict
from mlops_assets.governance.transitions import TRANSITIONS, State, Transition, Verb
from mlops_assets.kernel.errors import Conflict, Forbidden, IntegrityViolation, PlatformError
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.kernel.identity import Principal, Role

LONGEST_NOTE = 2_000
PEOPLE_OF_AN_OVERRIDE = 2


_REMEDIES = {
    State.DRAFT: "Submit it first: `mlops approvals submit`.",
    State.SUBMITTED: "Nobody has begun to review it: `mlops approvals review`.",
    State.IN_REVIEW: "It waits for verdicts.",
    State.APPROVED: "It can only be revoked.",
    State.REJECTED: "This evidence is decided; evidence that differs is asked for anew.",
    State.EXPIRED: "Ask again: what asked for it opens a new round.",
    State.REVOKED: "Ask again: what asked for it opens a new round.",
}


class DutiesNotApart(Forbidden):
    """Somebody would decide on their own work, or something that is no person would decide."""


class UnusableNote(PlatformError):
    """A note or a reason is missing, too long or no plain text."""

    code: ClassVar[str] = "invalid_request"


def draft(
    *,
    subject: str,
    rule: TierRule,
    evidence: Evidence,
    authors: Collection[str],
    by: Principal,
    at: datetime,
    round_number: int = 1,
) -> Approval:
    """Bind a request to its evidence, with those who made it; nobody is asked yet."""
    if not subject or not evidence.parts:
        raise ValueError("an approval needs a subject and evidence: one that is bound to nothing approves anything")
    bound = evidence.fingerprint
    return Approval(
        id=fingerprint({"subject": subject, "evidence": bound, "round": round_number}),
        subject=subject,
        tier=rule.tier,
        evidence=evidence,
        evidence_fingerprint=bound,
        round=round_number,
        quorum=rule.quorum,
        required_role=rule.required_role,
        state=State.DRAFT,
        is_override=False,
        closed_reason="",
        moved=(),
        created_by=by.name,
        created_at=at,
        submitted_by=None,
        submitted_at=None,
        review_started_at=None,
        decided_at=None,
        due_at=None,
        expires_at=None,
        valid_days=rule.valid_days,
        parties=parties_of(authors, launcher=by),
    )


def parties_of(authors: Collection[str], *, launcher: Principal) -> tuple[Party, ...]:
    """Name those who made something and the one whose run asks for its approval."""
    made = {Party(principal=name, duty=Duty.AUTHOR) for name in authors}
    return tuple(sorted({*made, Party(principal=launcher.name, duty=Duty.LAUNCHER)}))


def submit(approval: Approval, *, by: Principal, rule: TierRule, at: datetime) -> Approval:
    """Ask for verdicts: from now on the clock runs."""
    after = _moved(approval, Verb.SUBMIT, State.SUBMITTED)
    return replace(
        after,
        submitted_by=by.name,
        submitted_at=at,
        due_at=at + rule.decide_within,
        expires_at=at + rule.expires_after,
        parties=tuple(sorted({*approval.parties, Party(principal=by.name, duty=Duty.SUBMITTER)})),
    )


def start_review(approval: Approval, *, by: Principal, at: datetime) -> Approval:
    """Say that somebody who may decide is looking at it."""
    _require_apart(approval, by)
    _require_in_time(approval, at)
    return replace(_moved(approval, Verb.REVIEW, State.IN_REVIEW), review_started_at=at)


def decide(
    approval: Approval,
    *,
    by: Principal,
    verdict: Verdict,
    note: str,
    deciding: Collection[Role],
    holds: Callable[[Decision], bool],
    at: datetime,
) -> Approval:
    """Add one approver's verdict; move when enough people approved, or when one rejects.

    Args:
        deciding: the roles whose verdict counts.
        holds: whether an earlier approver is still active in the role they decided in; if not, they don't count.

    Raises:
        Forbidden: if they authored, launched or submitted it, are no person or hold no deciding role.
        Conflict: if it is not in review, its time is over, or they have decided already.
        UnusableNote: if a rejection says nothing, or the note can't be kept.
    """
    _require_apart(approval, by)
    said = plain_words(note, what="note", is_needed=verdict is Verdict.REJECT)
    _require_in_time(approval, at)
    _require_source(approval, Verb(verdict))
    if any(decision.approver == by.name for decision in approval.decisions):
        raise Conflict(f"{by.name} has already decided on {approval.subject}; a verdict stands.")
    if not (roles := by.roles & frozenset(deciding)):
        raise Forbidden(f"{by.name} holds no role that decides ({', '.join(sorted(deciding))}).")
    decision = Decision(
        approver=by.name,
        verdict=verdict,
        capacity=_capacity(roles, needed(approval, holds=holds).role, approval.required_role),
        note=said,
        credential=by.credential,
        at=at,
    )
    after = replace(approval, decisions=(*approval.decisions, decision))
    if verdict is Verdict.REJECT:
        return replace(_moved(after, Verb.REJECT, State.REJECTED), decided_at=at, closed_reason=said)
    if not needed(after, holds=lambda one: one is decision or holds(one)).is_nothing:
        return _moved(after, Verb.APPROVE, State.IN_REVIEW)
    valid_until = at + timedelta(days=approval.valid_days)
    return replace(_moved(after, Verb.APPROVE, State.APPROVED), decided_at=at, expires_at=valid_until)


def override(
    approval: Approval,
    *,
    by: Principal,
    reason: str,
    holds: Callable[[Override], bool],
    emergency: Emergency,
    at: datetime,
) -> Approval:
    """Let it through without its quorum: the second person's word approves it for a short time.

    A word counts as long as an override lasts: what one person said of one emergency is not the half of another's.

    Raises:
        Forbidden: if they authored, launched or submitted it, or are no person.
        Conflict: if it waits for no decision, its time is over, or they have said so already.
        UnusableNote: if no reason is given.
    """
    _require_apart(approval, by)
    said = plain_words(reason, what="reason", is_needed=True)
    _require_in_time(approval, at)
    _require_source(approval, Verb.OVERRIDE)
    if earlier := [one for one in approval.overrides if one.principal == by.name]:
        raise Conflict(
            f"{by.name} has already asked to override {approval.subject}, which counted until "
            f"{earlier[0].at + emergency.lasts:%Y-%m-%d %H:%M} UTC; it needs a second person in that time."
        )
    own = Override(principal=by.name, reason=said, credential=by.credential, at=at)
    after = replace(approval, overrides=(*approval.overrides, own))
    if sum(holds(one) for one in still_said(approval.overrides, at=at, lasts=emergency.lasts)) + 1 < (
        PEOPLE_OF_AN_OVERRIDE
    ):
        return _moved(after, Verb.OVERRIDE, State.IN_REVIEW)
    approved = _moved(after, Verb.OVERRIDE, State.APPROVED)
    return replace(approved, is_override=True, decided_at=at, expires_at=at + emergency.lasts)


def still_said(overrides: Iterable[Override], *, at: datetime, lasts: timedelta) -> list[Override]:
    """Leave out the words of an override that are as old as an override lasts."""
    return [one for one in overrides if at - one.at < lasts]


def expire(approval: Approval) -> Approval:
    """End what its time is over of."""
    return replace(_moved(approval, Verb.EXPIRE, State.EXPIRED), closed_reason=f"expired {approval.state}")


def revoke(approval: Approval, *, reason: str, moved: tuple[str, ...] = ()) -> Approval:
    """Withdraw a request or take an approval back; `moved` names the parts of the evidence that changed.

    Raises:
        Conflict: if it is closed already.
        UnusableNote: if no reason is given.
    """
    said = plain_words(reason, what="reason", is_needed=True)
    return replace(_moved(approval, Verb.REVOKE, State.REVOKED), closed_reason=said, moved=moved)


def has_expired(approval: Approval, *, at: datetime) -> bool:
    """Say whether a waiting request or an approval has outlived its time."""
    return approval.is_live and approval.expires_at is not None and at >= approval.expires_at


def needed(approval: Approval, *, holds: Callable[[Decision], bool]) -> Needed:
    """Say what is missing: people up to the quorum, and the required role if nobody who counts decided in it."""
    yeas = [one for one in approval.decisions if one.verdict is Verdict.APPROVE and holds(one)]
    wanted = approval.required_role
    role = None if wanted is None or any(one.capacity is wanted for one in yeas) else wanted
    return Needed(people=max(approval.quorum - len(yeas), 0 if role is None else 1), role=role)


def require_intact(approval: Approval) -> None:
    """Refuse to act on evidence that was changed behind the platform's back.

    Raises:
        IntegrityViolation: if the stored evidence is not what the request was bound to.
    """
    if not approval.is_intact:
        raise IntegrityViolation(
            what=f"evidence of approval {approval.id[:12]} ({approval.subject})",
            expected=approval.evidence_fingerprint,
            found=approval.evidence.fingerprint,
            remedy="Revoke it, find out who changed the database, and ask again.",
        )


def require_on_record(approval: Approval, recorded: str | None) -> None:
    """Refuse to act on an approval that came about without the ledger knowing.

    Raises:
        IntegrityViolation: if the ledger's newest entry of it, whose fingerprint is `recorded`, says something else.
    """
    if approval.fingerprint != recorded:
        raise IntegrityViolation(
            what=f"approval {approval.id[:12]} ({approval.subject}), compared with the ledger",
            expected=recorded or "an entry of the ledger",
            found=approval.fingerprint,
            remedy="Run `mlops audit verify`, find out who changed the database, revoke it and ask again.",
        )


def _moved(approval: Approval, verb: Verb, target: State) -> Approval:
    _require_source(approval, verb)
    if Transition(approval.state, verb, target) not in TRANSITIONS:
        raise ValueError(f"{verb} does not lead from {approval.state} to {target}")
    return replace(approval, state=target)


def _require_source(approval: Approval, verb: Verb) -> None:
    sources = list(dict.fromkeys(one.source for one in TRANSITIONS if one.verb is verb))
    if approval.state not in sources:
        asked = f"{verb} needs one that is {_listed(sources)}"
        reason = f" ({approval.closed_reason})" if approval.closed_reason else ""
        raise Conflict(
            f"{approval.subject}: the request is {approval.state}{reason}; {asked}. {_REMEDIES[approval.state]}"
        )


def _require_apart(approval: Approval, by: Principal) -> None:
    if duties := approval.duties_of(by.name):
        raise DutiesNotApart(
            f"{by.name} is {_listed(duties, last='and')} of {approval.subject} and can't decide on it. "
            "Ask somebody else."
        )
    if by.is_service or Role.SERVICE in by.roles:
        raise DutiesNotApart(f"{by.name} is a service; only people decide. Ask somebody who may.")


def _require_in_time(approval: Approval, at: datetime) -> None:
    if has_expired(approval, at=at):
        raise Conflict(
            f"{approval.subject}: the request expired on {approval.expires_at:%Y-%m-%d %H:%M} UTC. "
            f"{_REMEDIES[State.EXPIRED]}"
        )


def _capacity(roles: Collection[Role], still_needed: Role | None, required: Role | None) -> Role:
    """Choose the role in which a verdict counts: the required one while it is needed, else preferably another."""
    if still_needed is not None and still_needed in roles:
        return still_needed
    return min(roles, key=lambda role: (role is required, role))


def plain_words(text: str, *, what: str, is_needed: bool) -> str:
    """Return what somebody said, fit for the ledger.

    Raises:
        UnusableNote: if it is needed and missing, too long or no plain text.
    """
    said = text.strip()
    if is_needed and not said:
        raise UnusableNote(f"Give a {what}: it goes into the ledger, and others have to understand why.")
    if len(said) > LONGEST_NOTE:
        raise UnusableNote(f"The {what} has {len(said)} characters; keep it to {LONGEST_NOTE}.")
    if not all(one.isprintable() or one in "\n\t" for one in said):
        raise UnusableNote(f"The {what} holds control characters; write plain text.")
    return said


def _listed(names: Iterable[str], *, last: str = "or") -> str:
    *first, final = names
    return f"{', '.join(first)} {last} {final}" if first else final
