"""Which drift is under watch: one open event per feature, however often it is seen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa

from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import NotFound
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.lifecycle.drift import FeatureDrift, Verdict
from mlops_assets.storage.journal import Journal
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import drift_event

NOT_MEASURED = "not_measured"


class Severity(StrEnum):
    """How far beyond its limit: by 1.25, 1.5 and 2 times the limit. What can't be measured is high."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Status(StrEnum):
    """Where an event stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftEvent:
    """One feature beyond its limit. `metric_name` is `<feature>:<statistic>`; `subject` the drift dataset."""

    id: str
    subject: str
    metric_name: str
    metric_value: float
    threshold: float
    severity: Severity
    status: Status
    message: str
    snapshot_fingerprint: str
    detected_at: datetime


def severity_of(times_threshold: float) -> Severity:
    """Grade how many times its limit a distance is."""
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
        value, limit, severity, statistic = 1.0, 0.0, Severity.HIGH, NOT_MEASURED
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


class DriftEvents:
    """Keeps events in SQL; each opening has its ledger entry."""

    def __init__(self, database: Database, journal: Journal, clock: Clock) -> None:
        self._database, self._journal, self._clock = database, journal, clock

    def open(self, finding: FeatureDrift, *, subject: str, snapshot_fingerprint: str, actor: str) -> DriftEvent | None:
        """Open the event that a finding asks for; None if it is usual or its feature already has an unresolved one."""
        event = event_for(finding, subject=subject, snapshot_fingerprint=snapshot_fingerprint, at=self._clock.now())
        if event is None:
            return None
        same_feature = drift_event.c.metric_name.startswith(f"{finding.feature}:", autoescape=True)
        unresolved = (drift_event.c.subject == subject) & same_feature & (drift_event.c.status != Status.RESOLVED)
        already = sa.select(drift_event.c.id).where(unresolved | (drift_event.c.id == event.id)).limit(1)
        with self._database.begin() as connection:
            if connection.scalar(already) is not None:
                return None
            connection.execute(sa.insert(drift_event).values({name: getattr(event, name) for name in _FIELDS}))
            self._journal.append(
                connection,
                Change(
                    actor=actor,
                    action="drift_event.open",
                    subject=f"{subject}:{event.metric_name}",
                    after=event.id,
                    reason=event.message,
                    details={"severity": event.severity.value, "snapshot": snapshot_fingerprint},
                ),
            )
        return event

    def get(self, event_id: str) -> DriftEvent:
        """Return one event.

        Raises:
            NotFound: if there is no such event.
        """
        with self._database.read() as connection:
            row = connection.execute(sa.select(drift_event).where(drift_event.c.id == event_id)).mappings().first()
        if row is None:
            raise NotFound(kind="drift event", name=event_id, remedy="`mlops drift list` shows the known ones.")
        return _event(row)

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


_FIELDS = tuple(DriftEvent.__dataclass_fields__)


def _event(row: sa.RowMapping) -> DriftEvent:
    return DriftEvent(**{**row, "severity": Severity(row["severity"]), "status": Status(row["status"])})
