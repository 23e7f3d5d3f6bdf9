"""Raising alerts and delivering them: at once into an outbox, from there to each channel.

Raising writes the alert, its ledger entry and one delivery for each channel, or none of them. Delivering sends at least
once: a process that dies between sending and recording leaves a claim that ends, and the message goes out again with
the same id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from mlops_assets.alerts import delivery as rules
from mlops_assets.alerts import store
from mlops_assets.alerts.alert import Alert, Seen, Severity, identity, is_repeat
from mlops_assets.alerts.channels import Channel
from mlops_assets.alerts.delivery import Delivery, PermanentFailure, State, TemporaryFailure
from mlops_assets.alerts.message import Message
from mlops_assets.alerts.store import KnownAlert
from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import Conflict
from mlops_assets.storage.journal import Journal
from mlops_assets.storage.sql.database import Database

AT_MOST = 50
LONGEST_TURN = timedelta(seconds=30)
"""A sensor's tick has 60 s; one message more may take some of the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """What raising did: a new alert, or one more occurrence of the one that was told."""

    id: str
    is_new: bool
    occurrences: int


class Alerts:
    """Keeps alerts and delivers them through the channels of this installation."""

    def __init__(self, database: Database, journal: Journal, clock: Clock, channels: Sequence[Channel]) -> None:
        self._database, self._journal, self._clock = database, journal, clock
        self._channels = {channel.name: channel for channel in channels}

    @property
    def channels(self) -> list[str]:
        """The names of the channels that alerts go to."""
        return [*self._channels]

    def raise_alert(self, alert: Alert, by: str) -> Raised:
        """Raise an alert on behalf of `by`, or count it if it was told within its cool-down."""
        with self._database.begin() as connection:
            return self.raise_within(connection, alert, by)

    def raise_within(self, connection: sa.Connection, alert: Alert, by: str) -> Raised:
        """Raise an alert in the caller's transaction (one of `Database.begin`)."""
        at, last = self._clock.now(), store.newest(connection, alert.key)
        seen = None if last is None else Seen(id=last.id, severity=last.alert.severity, raised_at=last.raised_at)
        if last is not None and is_repeat(alert, seen, at):
            store.count_again(connection, last, at)
            return Raised(id=last.id, is_new=False, occurrences=last.occurrences + 1)
        made = identity(alert, seen, at)
        seq = self._journal.append(
            connection,
            Change(
                actor=by,
                action="alert.raise",
                subject=alert.subject,
                before=None if seen is None else seen.id,
                after=made,
                reason=alert.summary,
                details={"key": alert.key, "severity": alert.severity.value, "channels": self.channels},
            ),
        )
        new = KnownAlert(
            id=made,
            alert=alert,
            occurrences=1,
            raised_at=at,
            last_seen_at=at,
            ledger_seq=seq,
            deliveries=tuple(rules.first(made, channel, at) for channel in self._channels),
        )
        store.insert(connection, new)
        return Raised(id=made, is_new=True, occurrences=1)

    def deliver_due(self, *, by: str, limit: int = AT_MOST) -> list[Delivery]:
        """Send what is due, at most `limit` on each channel, and return how each attempt ended.

        Channels don't wait for each other: one that fails for now is left alone until the next call, and a call takes
        no new message after its time. What is due on a channel that the settings no longer name is a dead letter.
        """
        moved: list[Delivery] = []
        until = self._clock.now() + LONGEST_TURN
        with self._database.read() as connection:
            waiting = store.waiting_channels(connection, self._clock.now())
        for channel in waiting:
            with self._database.read() as connection:
                unsent = store.due(connection, channel, self._clock.now(), limit)
            for due in unsent:
                if self._clock.now() >= until:
                    return moved
                after = self._attempt(due, by=by)
                if after is None:
                    continue
                moved.append(after)
                if after.state is not State.DELIVERED and (after.state is State.PENDING or after.is_exhausted):
                    break
        return moved

    def deliver(self, alert_id: str, *, by: str) -> list[Delivery]:
        """Send one alert now on every channel where it is due, and return how each attempt ended."""
        due = [one for one in self.get(alert_id).deliveries if one.is_due(self._clock.now())]
        return [after for one in due if (after := self._attempt(one, by=by)) is not None]

    def test(self, *, by: str) -> KnownAlert:
        """Raise a test alert, send it on every channel at once and return where it stands."""
        at = self._clock.now()
        raised = self.raise_alert(
            Alert(
                key=f"test:{by}:{at.isoformat(timespec='microseconds')}",
                kind="test",
                severity=Severity.LOW,
                subject="alerts",
                summary=f"A test by {by}: alerts reach this channel",
            ),
            by,
        )
        self.deliver(raised.id, by=by)
        return self.get(raised.id)

    def retry(self, alert_id: str, *, by: str) -> list[Delivery]:
        """Make the dead letters of an alert due again and return them.

        Raises:
            NotFound: if there is no such alert.
            Conflict: if it has no dead letter.
        """
        at = self._clock.now()
        with self._database.begin() as connection:
            known = store.get(connection, alert_id)
            revived = [rules.revived(one, at) for one in known.dead_letters]
            if not revived:
                states = ", ".join(f"{one.channel} {one.state}" for one in known.deliveries) or "no channel"
                raise Conflict(f"alert {alert_id} has no dead letter ({states}); `mlops alerts dead` lists them.")
            for before, one in zip(known.dead_letters, revived, strict=True):
                store.move(connection, before, one)
                self._record(connection, known, one, action="alert.retry", by=by)
        return revived

    def get(self, alert_id: str) -> KnownAlert:
        """Return one alert.

        Raises:
            NotFound: if there is no such alert.
        """
        with self._database.read() as connection:
            return store.get(connection, alert_id)

    def find(self, beginning: str) -> KnownAlert:
        """Return the one alert whose id begins so.

        Raises:
            NotFound: if there is none, or several.
        """
        with self._database.read() as connection:
            return store.find(connection, beginning)

    def list(
        self,
        *,
        severity: Severity | None = None,
        subject: str | None = None,
        state: State | None = None,
        before_seq: int | None = None,
        limit: int | None = None,
    ) -> list[KnownAlert]:
        """Return alerts, newest first, optionally of one severity or subject, or with a delivery in one state.

        `before_seq` continues a page: only alerts with a lower ledger number.
        """
        with self._database.read() as connection:
            return store.select(
                connection, severity=severity, subject=subject, state=state, before_seq=before_seq, limit=limit
            )

    def dead(self) -> Sequence[KnownAlert]:
        """Return the alerts that some channel never took, newest first."""
        return self.list(state=State.DEAD)

    def _attempt(self, due: Delivery, *, by: str) -> Delivery | None:
        """Claim a delivery, send it and record how that went; None if somebody else has it."""
        if due.is_exhausted:
            return self._conclude(due, rules.abandoned(due), by=by)
        claimed = rules.claimed(due, self._clock.now())
        with self._database.begin() as connection:
            if not store.move(connection, due, claimed):
                return None
        try:
            self._send(claimed)
        except (TemporaryFailure, PermanentFailure) as failure:
            return self._conclude(claimed, rules.failed(claimed, failure, self._clock.now()), by=by)
        return self._conclude(claimed, rules.delivered(claimed, self._clock.now()), by=by)

    def _send(self, claimed: Delivery) -> None:
        channel = self._channels.get(claimed.channel)
        if channel is None:
            raise PermanentFailure(f"channel {claimed.channel} is not configured; set it, then retry")
        known = self.get(claimed.alert_id)
        channel.send(Message(id=known.id, alert=known.alert, raised_at=known.raised_at))

    def _conclude(self, claimed: Delivery, after: Delivery, *, by: str) -> Delivery | None:
        """Record how an attempt ended. What was sent is delivered, even if the claim ended meanwhile."""
        with self._database.begin() as connection:
            is_delivered = after.state is State.DELIVERED
            is_ours = store.conclude(connection, after) if is_delivered else store.move(connection, claimed, after)
            if not is_ours:
                return None
            known = store.get(connection, after.alert_id)
            if is_delivered:
                self._record(connection, known, after, action="alert.deliver", by=by)
            elif after.state is State.DEAD:
                self._record(connection, known, after, action="alert.dead_letter", by=by)
        return after

    def _record(self, connection: sa.Connection, known: KnownAlert, after: Delivery, *, action: str, by: str) -> None:
        self._journal.append(
            connection,
            Change(
                actor=by,
                action=action,
                subject=known.alert.subject,
                after=known.id,
                reason=after.last_error,
                details={"key": known.alert.key, "channel": after.channel, "attempts": after.attempts},
            ),
        )
