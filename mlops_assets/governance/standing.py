"""Is something approved now, for exactly this evidence, by people who may still decide? If not, why not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlops_assets.governance.approvals import (
    PEOPLE_OF_AN_OVERRIDE,
    needed,
    require_intact,
    require_on_record,
    still_said,
)
from mlops_assets.governance.evidence import Evidence, moved
from mlops_assets.governance.spec import Approval, Decision, Override, Verdict
from mlops_assets.governance.transitions import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Holds:
    """Whether those who spoke may still speak: active, and in the role in which they did."""

    decision: Callable[[Decision], bool]
    override: Callable[[Override], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What an approval is worth now. `approval` is the request that was judged, if there is one.

    `moved` names the parts of the evidence that differ from those of a request that is still live.
    """

    subject: str
    evidence_fingerprint: str
    approval: Approval | None
    problems: tuple[str, ...]
    moved: tuple[str, ...] = ()

    @property
    def is_approved(self) -> bool:
        return self.approval is not None and not self.problems

    @property
    def words(self) -> str:
        return "approved" if self.is_approved else "; ".join(self.problems)

    @property
    def remedy(self) -> str:
        if self.approval is not None and self.approval.state is State.APPROVED and not self.moved:
            return "Revoke it and ask again, or give the role back."
        return "Ask for the approval of what is there now."


def judge(
    subject: str,
    evidence: Evidence,
    requests: Sequence[Approval],
    *,
    holds: Holds,
    has_expired: Callable[[Approval], bool],
    recorded: Callable[[Approval], str | None],
) -> Standing:
    """Judge a subject by all its requests, oldest first.

    Args:
        recorded: the fingerprint that the ledger's newest entry of a request gives it.

    Raises:
        IntegrityViolation: if the evidence stored with an approval is not what it was bound to, or if the approval
            is not what the ledger recorded.
    """
    asked = evidence.fingerprint
    exact = next((one for one in reversed(requests) if one.evidence_fingerprint == asked), None)
    if exact is not None and exact.state is State.APPROVED:
        require_intact(exact)
        require_on_record(exact, recorded(exact))
    other = next((one for one in reversed(requests) if one.is_live and one.evidence_fingerprint != asked), None)
    if exact is not None and (exact.is_live or other is None):
        problems = _problems(exact, holds, is_over=has_expired(exact))
        return Standing(subject=subject, evidence_fingerprint=asked, approval=exact, problems=problems)
    if other is None:
        problems = (f"nobody has asked for the approval of {subject}",)
        return Standing(subject=subject, evidence_fingerprint=asked, approval=None, problems=problems)
    parts = moved(other.evidence, evidence)
    return Standing(
        subject=subject,
        evidence_fingerprint=asked,
        approval=other,
        problems=(f"its evidence is no longer that of the request that is {other.state}: {'; '.join(parts)}",),
        moved=parts,
    )


def _problems(request: Approval, holds: Holds, *, is_over: bool) -> tuple[str, ...]:
    if request.state is not State.APPROVED:
        reason = f": {request.closed_reason}" if request.closed_reason else ""
        return (f"the request is {request.state}{reason}", *request.moved)
    if is_over:
        return (f"the approval ended on {request.expires_at:%Y-%m-%d %H:%M} UTC",)
    if request.is_override:
        said = _said_in_time(request)
        lost = [one.principal for one in said if not holds.override(one)]
        is_enough = len(said) - len(lost) >= PEOPLE_OF_AN_OVERRIDE
        return () if is_enough else tuple(f"{name} may no longer override" for name in lost)
    missing = needed(request, holds=holds.decision)
    lost = [one for one in request.decisions if one.verdict is Verdict.APPROVE and not holds.decision(one)]
    said = (f"{one.approver} no longer decides as {one.capacity}" for one in lost)
    return () if missing.is_nothing else (*said, f"it needs {missing.words}")


def _said_in_time(request: Approval) -> list[Override]:
    """Return the words that counted when an override was complete: it lasts from then on as long as they did."""
    at, until = request.decided_at, request.expires_at
    return [] if at is None or until is None else still_said(request.overrides, at=at, lasts=until - at)
