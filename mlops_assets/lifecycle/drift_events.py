"""Which drift is under watch: one unresolved event per feature, however often it is seen, and who dealt with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa

from mlops_assets.alerts.alert import Alert, Severity
from mlops_assets.alerts.service import Alerts
from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import Conflict, NotFound
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.lifecycle.drift import FeatureDrift, Verdict
from mlops_assets.storage.journal import Journal
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import drift_event

NOT_MEASURED = "not_measured"


class Status(StrEnum):
    """Where an event stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftEvent:
    """One feature beyond its limit, as bad as it was ever seen since it was detected.

    `subject` is the drift dataset, `metric_name` `<feature>:<statistic>`. Of a feature that could not be measured the
    statistic is `not_measured`, and there is neither value nor threshold.
    """

    id: str
    subject: str
    metric_name: str
    metric_value: float | None
    threshold: float | None
    severity: Severity
    status: Status
    message: str
    snapshot_fingerprint: str
    detected_at: datetime


def severity_of(times_threshold: float) -> Severity:
    """Grade how many times its limit a distance is: from 1.25, 1.5 and 2 times it is worse. Unmeasurable is high."""
    if times_threshold >= 2:
        return Severity.CRITICAL
    if times_threshold >= 1.5:
        return Severity.HIGH
    return Severity.MEDIUM if times_threshold >= 1.25 else Severity.LOW


def event_for(finding: FeatureDrift, *, subject: str, snapshot_fingerprint: str, at: datetime) -> DriftEvent | None:
    """Return the event that a finding asks for, or None if it is usual. Its id names the cause."""
    if finding.verdict is Verdict.USUAL:
        return None
    identity = fingerprint({"subject": subject, "feature": finding.feature, "snapshot": snapshot_fingerprint})
    worst = finding.worst
    if worst is None:
        value, limit, severity, statistic = None, None, Severity.HIGH, NOT_MEASURED
        message = f"{finding.feature} could not be measured: {finding.reason}."
    else:
        value, limit, severity = worst.value, worst.threshold, severity_of(worst.times_threshold)
        statistic = worst.statistic.value
        message = (
            f"{finding.feature}: {statistic} distance {value:.3g} to the training window is "
            f"{worst.times_threshold:.2f} times the largest usual one ({limit:.3g})."
        )
    return DriftEvent(
        id=identity,
        subject=subject,
        metric_name=f"{finding.feature}:{statistic}",
        metric_value=value,
        threshold=limit,
        severity=severity,
        status=Status.OPEN,
        message=message,
        snapshot_fingerprint=snapshot_fingerprint,
        detected_at=at,
    )


def alert_of(event: DriftEvent) -> Alert:
    """Return the alert of an event that was opened or got worse."""
    return Alert(
        key=f"drift:{event.id}:{event.severity}",
        kind="drift",
        severity=event.severity,
        subject=f"{event.subject}:{event.metric_name}",
        summary=event.message,
        details={"drift_event": event.id, "snapshot": event.snapshot_fingerprint},
    )


_RESOLVABLE = frozenset({Status.OPEN, Status.ACKNOWLEDGED})


def escalate(event: DriftEvent, worse: DriftEvent, *, actor: str) -> tuple[DriftEvent, Change]:
    """Take over what was measured of the same feature when it is worse. An acknowledged event is open again.

    Raises:
        Conflict: if the event is resolved, or `worse` is not worse.
    """
    if event.status is Status.RESOLVED or not worse.severity.is_worse_than(event.severity):
        raise Conflict(f"drift event {event.id} is {event.status} and {event.severity}; {worse.severity} is no reason.")
    after = replace(worse, id=event.id, detected_at=event.detected_at, status=Status.OPEN)
    return after, _change("escalate", event, after, actor=actor, reason=after.message)


def acknowledge(event: DriftEvent, *, actor: str, note: str) -> tuple[DriftEvent, Change]:
    """Say that somebody looks after an open event.

    Raises:
        Conflict: if it is not open.
    """
    if event.status is not Status.OPEN:
        raise Conflict(f"drift event {event.id} is {event.status}; only an open one can be acknowledged.")
    after = replace(event, status=Status.ACKNOWLEDGED)
    return after, _change("acknowledge", event, after, actor=actor, reason=note)


def resolve(event: DriftEvent, *, actor: str, note: str) -> tuple[DriftEvent, Change]:
    """Close an event, acknowledged or not. Drift that is seen in a later snapshot opens another.

    Raises:
        Conflict: if it is resolved already.
    """
    if event.status not in _RESOLVABLE:
        raise Conflict(f"drift event {event.id} is {event.status} already.")
    after = replace(event, status=Status.RESOLVED)
    return after, _change("resolve", event, after, actor=actor, reason=note)


def _change(verb: str, before: DriftEvent, after: DriftEvent, *, actor: str, reason: str) -> Change:
    return Change(
        actor=actor,
        action=f"drift_event.{verb}",
        subject=f"{after.subject}:{after.metric_name}",
        before=before.id,
        after=after.id,
        reason=reason,
        details={
            "severity_before": before.severity.value,
            "severity": after.severity.value,
            "status_before": before.status.value,
            "status": after.status.value,
            "snapshot": after.snapshot_fingerprint,
        },
    )


class DriftEvents:
    """Keeps events in SQL; each opening and each move has its ledger entry in the same transaction.

    What is opened or gets worse raises an alert there too: there is no event that nobody was told of.
    """

    def __init__(self, database: Database, journal: Journal, clock: Clock, alerts: Alerts) -> None:
        self._database, self._journal, self._clock, self._alerts = database, journal, clock, alerts

    def observe(
        self, finding: FeatureDrift, *, subject: str, snapshot_fingerprint: str, actor: str
    ) -> DriftEvent | None:
        """Open the event that a finding asks for, or escalate the unresolved one of its feature if this is worse.

        Returns None if neither is due: the finding is usual, no worse than what is known, or was dealt with.
        """
        seen = event_for(finding, subject=subject, snapshot_fingerprint=snapshot_fingerprint, at=self._clock.now())
        if seen is None:
            return None
        with self._database.begin() as connection:
            known = _of_feature(connection, subject, finding.feature)
            unresolved = next((event for event in known if event.status is not Status.RESOLVED), None)
            if unresolved is not None:
                if not seen.severity.is_worse_than(unresolved.severity):
                    return None
                worse = self._move(connection, *escalate(unresolved, seen, actor=actor))
                self._alerts.raise_within(connection, alert_of(worse), actor)
                return worse
            if any(seen.id == event.id or snapshot_fingerprint == event.snapshot_fingerprint for event in known):
                return None
            connection.execute(sa.insert(drift_event).values(_row(seen)))
            self._journal.append(
                connection,
                Change(
                    actor=actor,
                    action="drift_event.open",
                    subject=f"{subject}:{seen.metric_name}",
                    after=seen.id,
                    reason=seen.message,
                    details={"severity": seen.severity.value, "snapshot": snapshot_fingerprint},
                ),
            )
            self._alerts.raise_within(connection, alert_of(seen), actor)
        return seen

    def acknowledge(self, event_id: str, *, actor: str, note: str) -> DriftEvent:
        """Say that `actor` looks after an open event.

        Raises:
            NotFound: if there is no such event.
            Conflict: if it is not open.
        """
        with self._database.begin() as connection:
            return self._move(connection, *acknowledge(_found(connection, event_id), actor=actor, note=note))

    def resolve(self, event_id: str, *, actor: str, note: str) -> DriftEvent:
        """Close an event.

        Raises:
            NotFound: if there is no such event.
            Conflict: if it is resolved already.
        """
        with self._database.begin() as connection:
            return self._move(connection, *resolve(_found(connection, event_id), actor=actor, note=note))

    def get(self, event_id: str) -> DriftEvent:
        """Return one event.

        Raises:
            NotFound: if there is no such event.
        """
        with self._database.read() as connection:
            return _found(connection, event_id)

    def list(
        self, *, subject: str | None = None, severity: Severity | None = None, status: Status | None = None
    ) -> list[DriftEvent]:
        """Return events, oldest first, optionally of one subject, severity or status."""
        statement = sa.select(drift_event).order_by(drift_event.c.detected_at, drift_event.c.id)
        wanted = ((drift_event.c.subject, subject), (drift_event.c.severity, severity), (drift_event.c.status, status))
        for column, value in wanted:
            if value is not None:
                statement = statement.where(column == value)
        with self._database.read() as connection:
            return [_event(row) for row in connection.execute(statement).mappings()]

    def _move(self, connection: sa.Connection, after: DriftEvent, change: Change) -> DriftEvent:
        connection.execute(sa.update(drift_event).where(drift_event.c.id == after.id).values(_row(after)))
        self._journal.append(connection, change)
        return after


def _row(event: DriftEvent) -> dict[str, object]:
    return {name: getattr(event, name) for name in DriftEvent.__dataclass_fields__}


def _of_feature(connection: sa.Connection, subject: str, feature: str) -> list[DriftEvent]:
    """Return every event of a feature; at most one of them is unresolved."""
    same_feature = drift_event.c.metric_name.startswith(f"{feature}:", autoescape=True)
    statement = sa.select(drift_event).where(drift_event.c.subject == subject, same_feature)
    return [_event(row) for row in connection.execute(statement).mappings()]


def _found(connection: sa.Connection, event_id: str) -> DriftEvent:
    row = connection.execute(sa.select(drift_event).where(drift_event.c.id == event_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(kind="drift event", name=event_id, remedy="`mlops drift list` shows the known ones.")
    return _event(row)


def _event(row: sa.RowMapping) -> DriftEvent:
    return DriftEvent(**{**row, "severity": Severity(row["severity"]), "status": Status(row["status"])})
