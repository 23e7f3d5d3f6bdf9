"""Which states a deployment goes through: one table, from which refusals, the REST view and the diagram are derived."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mlops_assets.kernel.errors import Conflict


class State(StrEnum):
    """Where a deployment stands."""

    REGISTERED = "registered"
    EVIDENCE_COMPLETE = "evidence_complete"
    IN_REVIEW = "in_review"
    APPROVED = "approved"
    SHADOW = "shadow"
    CANARY = "canary"
    CHAMPION = "champion"
    SUPERSEDED = "superseded"
    ROLLED_BACK = "rolled_back"
    RETIRED = "retired"
    REJECTED = "rejected"
    EXPIRED = "expired"


class DeploymentStatus(StrEnum):
    """Where a deployment stands, in the words of the REST API."""

    PENDING = "pending"
    VALIDATING = "validating"
    DEPLOYING = "deploying"
    ACTIVE = "active"
    FAILED = "failed"
    ROLLBACK = "rollback"
    TERMINATED = "terminated"


class Verb(StrEnum):
    """What moves a deployment."""

    COMPLETE = "complete"
    SUBMIT = "submit"
    APPROVE = "approve"
    REJECT = "reject"
    EXPIRE = "expire"
    REOPEN = "reopen"
    SUPERSEDE = "supersede"
    PROMOTE = "promote"
    STOP = "stop"
    ROLL_BACK = "roll_back"
    RESTORE = "restore"
    RETIRE = "retire"


@dataclass(frozen=True, slots=True)
class Transition:
    """One move that there is."""

    source: State
    verb: Verb
    target: State


_WAITING = (State.REGISTERED, State.EVIDENCE_COMPLETE, State.IN_REVIEW, State.APPROVED)
_RUNNING = (State.SHADOW, State.CANARY)

TRANSITIONS = (
    Transition(State.REGISTERED, Verb.COMPLETE, State.EVIDENCE_COMPLETE),
    Transition(State.EVIDENCE_COMPLETE, Verb.SUBMIT, State.IN_REVIEW),
    Transition(State.IN_REVIEW, Verb.APPROVE, State.APPROVED),
    Transition(State.IN_REVIEW, Verb.REJECT, State.REJECTED),
    *(Transition(one, Verb.EXPIRE, State.EXPIRED) for one in (State.IN_REVIEW, State.APPROVED, *_RUNNING)),
    *(Transition(one, Verb.REOPEN, State.REGISTERED) for one in (*_WAITING[1:], *_RUNNING)),
    *(Transition(one, Verb.SUPERSEDE, State.SUPERSEDED) for one in (*_WAITING, State.CHAMPION)),
    Transition(State.APPROVED, Verb.PROMOTE, State.SHADOW),
    Transition(State.APPROVED, Verb.PROMOTE, State.CANARY),
    Transition(State.APPROVED, Verb.PROMOTE, State.CHAMPION),
    Transition(State.SHADOW, Verb.PROMOTE, State.CANARY),
    Transition(State.SHADOW, Verb.PROMOTE, State.CHAMPION),
    Transition(State.CANARY, Verb.PROMOTE, State.CHAMPION),
    *(Transition(one, Verb.STOP, State.ROLLED_BACK) for one in _RUNNING),
    Transition(State.CHAMPION, Verb.ROLL_BACK, State.ROLLED_BACK),
    Transition(State.SUPERSEDED, Verb.RESTORE, State.CHAMPION),
    Transition(State.CHAMPION, Verb.RETIRE, State.RETIRED),
)
"""Every move; refusals, the diagram and the database's own guard are compared with this one table."""

WAITING = frozenset(_WAITING)
"""It was asked for and does not run yet."""
RUNNING = frozenset({*_RUNNING, State.CHAMPION})
"""The serving log names it."""
FINAL = frozenset(State) - {one.source for one in TRANSITIONS}

_STATUS = {
    State.REGISTERED: DeploymentStatus.PENDING,
    State.EVIDENCE_COMPLETE: DeploymentStatus.PENDING,
    State.IN_REVIEW: DeploymentStatus.PENDING,
    State.APPROVED: DeploymentStatus.VALIDATING,
    State.SHADOW: DeploymentStatus.VALIDATING,
    State.CANARY: DeploymentStatus.DEPLOYING,
    State.CHAMPION: DeploymentStatus.ACTIVE,
    State.REJECTED: DeploymentStatus.FAILED,
    State.EXPIRED: DeploymentStatus.FAILED,
    State.ROLLED_BACK: DeploymentStatus.ROLLBACK,
    State.SUPERSEDED: DeploymentStatus.TERMINATED,
    State.RETIRED: DeploymentStatus.TERMINATED,
}


def rest_status(state: State) -> DeploymentStatus:
    """Say in the words of the REST API where a deployment stands."""
    return _STATUS[state]


def states_of(status: DeploymentStatus) -> frozenset[State]:
    """Return the states that the REST API shows as `status`."""
    return frozenset(state for state, shown in _STATUS.items() if shown is status)


def moved(state: State, verb: Verb, target: State, *, what: str) -> State:
    """Return the state after a move.

    Raises:
        Conflict: if `verb` does not lead from `state` to `target`.
    """
    if Transition(state, verb, target) in TRANSITIONS:
        return target
    sources = ", ".join(one.source for one in TRANSITIONS if (one.verb, one.target) == (verb, target)) or "none"
    raise Conflict(f"{what} is {state}; to make it {target} it has to be one of: {sources}.")


def state_diagram() -> str:
    """Draw the table as a Mermaid state diagram."""
    lines = [f"    {one.source} --> {one.target}: {one.verb}" for one in TRANSITIONS]
    ends = [f"    {state} --> [*]" for state in State if state in FINAL]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {State.REGISTERED}: request", *lines, *ends])
