"""Where a document stands on a mirror: waiting, being sent until its claim ends, or delivered up to a revision.

It is never given up: an alert that comes too late is worthless, a copy that comes late is a copy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from mlops_assets.kernel.backoff import pause

FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(minutes=10)
"""Short against an alert's hour: one question for each turn is all that a mirror that is down costs."""

CLAIM = timedelta(minutes=2)
"""How long a deliverer has for what it claimed; who takes longer is taken for dead."""

NOTHING = 0
_LONGEST_ERROR = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One document on one mirror. What is being sent has no error and is next due when its claim ends."""

    target: str
    kind: str
    id: str
    delivered_rev: int
    attempts: int
    next_attempt_at: datetime
    last_error: str = ""
    delivered_at: datetime | None = None


def first(target: str, kind: str, id: str, at: datetime) -> Delivery:
    """Return the delivery of a document of which the mirror has nothing."""
    return Delivery(target=target, kind=kind, id=id, delivered_rev=NOTHING, attempts=0, next_attempt_at=at)


def claimed(delivery: Delivery, at: datetime) -> Delivery:
    """Begin an attempt; until the claim ends nobody else begins one."""
    return replace(delivery, attempts=delivery.attempts + 1, next_attempt_at=at + CLAIM, last_error="")


def delivered(now: Delivery, rev: int, at: datetime) -> Delivery:
    """Say that the mirror has `rev` or a newer one. A newer one that was put meanwhile is due at once."""
    return replace(
        now,
        delivered_rev=max(now.delivered_rev, rev),
        attempts=0,
        next_attempt_at=at,
        last_error="",
        delivered_at=at,
    )


def failed(now: Delivery, claim: Delivery, problem: str, at: datetime) -> Delivery:
    """Try again later; of an attempt that somebody else began meanwhile, or ended, nothing is said."""
    if now.attempts != claim.attempts or now.delivered_rev != claim.delivered_rev:
        return now
    words = " ".join(problem.split())
    wait = pause(f"{now.target}:{now.kind}:{now.id}", now.attempts, first=FIRST_PAUSE, longest=LONGEST_PAUSE)
    return replace(now, last_error=words[:_LONGEST_ERROR] or "no reason given", next_attempt_at=at + wait)
