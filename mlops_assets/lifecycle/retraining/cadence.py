"""Whether a model is trained as often as it was promised, and whether drift may ask for more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

BUDGET_PERIOD = timedelta(days=365)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adherence:
    """How a model keeps its cadence.

    `share_of_time_kept` is the part of the time since its first training in which the newest one was recent enough.
    Times are those of training, not of the data.
    """

    last_trained: datetime | None
    due_at: datetime | None
    is_kept: bool
    share_of_time_kept: float | None


def adherence(trained_at: Sequence[datetime], *, within: timedelta, now: datetime) -> Adherence:
    """Judge a model's trainings, in any order.

    Args:
        within: how old the newest training may be.
    """
    times = sorted(one for one in trained_at if one <= now)
    if not times:
        return Adherence(last_trained=None, due_at=None, is_kept=False, share_of_time_kept=None)
    kept = sum(
        (min(following - one, within) for one, following in zip(times, [*times[1:], now], strict=True)), timedelta()
    )
    whole = now - times[0]
    due_at = times[-1] + within
    return Adherence(
        last_trained=times[-1],
        due_at=due_at,
        is_kept=now <= due_at,
        share_of_time_kept=kept / whole if whole else 1.0,
    )


def spent(requested_at: Sequence[datetime], *, now: datetime) -> int:
    """Count the requests of the last 365 days: what is spent of a budget a year."""
    return sum(now - BUDGET_PERIOD < one <= now for one in requested_at)
