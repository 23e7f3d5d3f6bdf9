"""Which moves a request for approval can make: one table, from which refusals and the diagram are derived."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a request stands."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    IN_REVIEW = "in_review"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    REVOKED = "revoked"


class Verb(StrEnum):
    """What moves a request."""

    DRAFT = "draft"
    SUBMIT = "submit"
    REVIEW = "review"
    APPROVE = "approve"
    REJECT = "reject"
    OVERRIDE = "override"
    EXPIRE = "expire"
    REVOKE = "revoke"


@dataclass(frozen=True, slots=True)
class Transition:
    """One move that there is; approving and overriding stay in review until enough people did."""

    source: State
    verb: Verb
    target: State


TRANSITIONS = (
    Transition(State.DRAFT, Verb.SUBMIT, State.SUBMITTED),
    Transition(State.DRAFT, Verb.REVOKE, State.REVOKED),
    Transition(State.SUBMITTED, Verb.REVIEW, State.IN_REVIEW),
    Transition(State.SUBMITTED, Verb.EXPIRE, State.EXPIRED),
    Transition(State.SUBMITTED, Verb.REVOKE, State.REVOKED),
    Transition(State.IN_REVIEW, Verb.APPROVE, State.IN_REVIEW),
    Transition(State.IN_REVIEW, Verb.APPROVE, State.APPROVED),
    Transition(State.IN_REVIEW, Verb.OVERRIDE, State.IN_REVIEW),
    Transition(State.IN_REVIEW, Verb.OVERRIDE, State.APPROVED),
    Transition(State.IN_REVIEW, Verb.REJECT, State.REJECTED),
    Transition(State.IN_REVIEW, Verb.EXPIRE, State.EXPIRED),
    Transition(State.IN_REVIEW, Verb.REVOKE, State.REVOKED),
    Transition(State.APPROVED, Verb.EXPIRE, State.EXPIRED),
    Transition(State.APPROVED, Verb.REVOKE, State.REVOKED),
)
"""Every move; the diagram, the refusals and the database's own guard are compared with this one table."""

WAITING = frozenset({State.SUBMITTED, State.IN_REVIEW})
LIVE = frozenset(one.source for one in TRANSITIONS)
_WHEN_ENOUGH = {Verb.APPROVE: "quorum", Verb.OVERRIDE: "second person"}


def state_diagram() -> str:
    """Draw the table as a Mermaid state diagram."""
    lines = [f"    {one.source} --> {one.target}: {_label(one)}" for one in TRANSITIONS]
    ends = [f"    {state} --> [*]" for state in State if state not in LIVE]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {State.DRAFT}: {Verb.DRAFT}", *lines, *ends])


def _label(one: Transition) -> str:
    if one.target is State.APPROVED:
        return f"{one.verb} ({_WHEN_ENOUGH[one.verb]})"
    return one.verb
