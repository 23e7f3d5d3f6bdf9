"""What happens to one alert on one channel: sent, tried again later, or a dead letter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

from mlops_assets.alerts.alert import one_line
from mlops_assets.kernel import backoff
from mlops_assets.kernel.errors import Conflict, PlatformError

MAX_ATTEMPTS = 12
FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=1)
LONGEST_ASKED_PAUSE = timedelta(hours=6)
CLAIM = timedelta(minutes=2)
"""How long a deliverer has for one message. A message takes 10 s a step; who takes longer is taken for dead."""

LONGEST_ERROR = 200


class State(StrEnum):
    """Where an alert stands on a channel."""

    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    DEAD = "dead"


UNDECIDED = frozenset({State.PENDING, State.SENDING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One alert on one channel.

    `next_attempt_at` is when it is due; of one that is being sent, when its claim ends. The attempt's number is the
    claim's: whoever moves the row names the number they saw.
    """

    alert_id: str
    channel: str
    state: State
    attempts: int
    next_attempt_at: datetime
    last_error: str = ""
    delivered_at: datetime | None = None

    @property
    def is_undecided(self) -> bool:
        return self.state in UNDECIDED

    def is_due(self, at: datetime) -> bool:
        return self.is_undecided and self.next_attempt_at <= at

    @property
    def is_exhausted(self) -> bool:
        return self.attempts >= MAX_ATTEMPTS


class DeliveryFailure(PlatformError):
    """A channel did not take a message. The words hold no secret."""

    code: ClassVar[str] = "delivery_failed"


class TemporaryFailure(DeliveryFailure):
    """The same message may be taken later, at the earliest after `pause` if the receiver named one."""

    def __init__(self, problem: str, *, pause: timedelta | None = None) -> None:
        self.pause = pause
        super().__init__(problem)


class PermanentFailure(DeliveryFailure):
    """The receiver will never take this message as it is."""


def first(alert_id: str, channel: str, at: datetime) -> Delivery:
    """Return the delivery that is due at once."""
    return Delivery(alert_id=alert_id, channel=channel, state=State.PENDING, attempts=0, next_attempt_at=at)


def claimed(delivery: Delivery, at: datetime) -> Delivery:
    """Begin an attempt; until the claim ends nobody else begins one."""
    return replace(delivery, state=State.SENDING, attempts=delivery.attempts + 1, next_attempt_at=at + CLAIM)


def delivered(delivery: Delivery, at: datetime) -> Delivery:
    """Say that the receiver took it."""
    return replace(delivery, state=State.DELIVERED, last_error="", delivered_at=at)


def failed(delivery: Delivery, failure: DeliveryFailure, at: datetime) -> Delivery:
    """Try again later, or never: after a permanent failure or the last attempt it is a dead letter."""
    said = one_line(str(failure), LONGEST_ERROR)
    if isinstance(failure, PermanentFailure) or delivery.is_exhausted:
        return replace(delivery, state=State.DEAD, last_error=said)
    asked = failure.pause if isinstance(failure, TemporaryFailure) else None
    wait = max(pause(delivery), min(asked or timedelta(0), LONGEST_ASKED_PAUSE))
    return replace(delivery, state=State.PENDING, last_error=said, next_attempt_at=at + wait)


def abandoned(delivery: Delivery) -> Delivery:
    """Give up what was claimed as often as allowed and never recorded: its senders ended on the way."""
    said = f"{delivery.attempts} attempts began and the process of the last one ended before it said how"
    return replace(delivery, state=State.DEAD, last_error=delivery.last_error or said)


def revived(delivery: Delivery, at: datetime) -> Delivery:
    """Make a dead letter due again, with all its attempts.

    Raises:
        Conflict: if it is none.
    """
    if delivery.state is not State.DEAD:
        raise Conflict(
            f"alert {delivery.alert_id} is {delivery.state} on {delivery.channel}; only a dead letter is retried."
        )
    return replace(delivery, state=State.PENDING, attempts=0, next_attempt_at=at)


def pause(delivery: Delivery) -> timedelta:
    """Return how long to wait after this attempt: 30 s doubled each time, an hour at most, of which 50-100% are kept.

    The share comes from the alert, the channel and the attempt, so that it is spread over alerts and never changes.
    """
    seed = f"{delivery.alert_id}:{delivery.channel}"
    return backoff.pause(seed, delivery.attempts, first=FIRST_PAUSE, longest=LONGEST_PAUSE)
