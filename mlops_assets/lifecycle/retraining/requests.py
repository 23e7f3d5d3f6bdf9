"""Who asked for a model to be trained again, and why: a row and a ledger entry before the run.

A request is known by its cause: asked again, after a crash or by a sensor that is evaluated twice, it is the same one.
What is trained is a candidate. Nothing here promotes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa

from mlops_assets.alerts.alert import Alert, Severity
from mlops_assets.alerts.service import Alerts
from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import Clock
from mlops_assets.lifecycle.drift_events import DriftEvent
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.lifecycle.retraining.cadence import Adherence, adherence, spent
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.market_data.bars import BARS
from mlops_assets.storage.journal import Journal
from mlops_assets.storage.parquet.snapshots import SnapshotStore
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import ledger_entry, retraining

REQUEST, REFUSE = "retraining.request", "retraining.refuse"
GRAVE = frozenset({Severity.HIGH, Severity.CRITICAL})


class Cause(StrEnum):
    """Why a model is trained again."""

    SCHEDULE = "schedule"
    DRIFT = "drift"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """A request to train again. `cause_id` names the tick of the schedule, the drift event, or the person's run."""

    model: str
    cause: Cause
    cause_id: str
    requested_at: datetime
    requested_by: str

    @property
    def run_key(self) -> str:
        """Dagster's key: one run, however often it is asked for."""
        return f"retrain:{self.model}:{self.cause}:{self.cause_id}"


class Retrainings:
    """Keeps requests in SQL and the budget of drift."""

    def __init__(self, database: Database, journal: Journal, alerts: Alerts, clock: Clock) -> None:
        self._database, self._journal, self._alerts, self._clock = database, journal, alerts, clock

    def request(self, model: str, cause: Cause, cause_id: str, *, by: str, reason: str) -> Requested:
        """Record that a model is to be trained again; the same cause again is the request that there is."""
        with self._database.begin() as connection:
            return self._request(connection, model, cause, cause_id, by=by, reason=reason)

    def request_after_drift(self, spec: ModelSpec, events: Sequence[DriftEvent], *, by: str) -> Requested | None:
        """Ask for one candidate because of what drifted, as long as the model's budget lasts.

        `events` are in the order in which they were raised; the first grave one names the request, so that more of
        them are no other request. What the budget refuses is in the ledger once, and an alert says so.
        """
        grave = [event for event in events if event.severity in GRAVE]
        if not grave or not spec.retraining.after_drift:
            return None
        first, now = grave[0], self._clock.now()
        with self._database.begin() as connection:
            earlier = _of(connection, spec.name, Cause.DRIFT)
            is_known = any(one.cause_id == first.id for one in earlier)
            if is_known or spent(_times(earlier), now=now) < spec.retraining.most_a_year:
                return self._request(connection, spec.name, Cause.DRIFT, first.id, by=by, reason=_why(grave))
            if not _was_refused(connection, spec.name, first.id):
                self._refuse(connection, spec, first, by=by)
        return None

    def list(self, model: str, *, cause: Cause | None = None) -> Sequence[Requested]:
        """Return a model's requests, oldest first."""
        with self._database.read() as connection:
            return _of(connection, model, cause)

    def adherence(self, spec: ModelSpec, trained_at: Sequence[datetime]) -> Adherence:
        """Judge when a model was trained by its declared cadence."""
        return adherence(trained_at, within=spec.retraining.within, now=self._clock.now())

    def budget_used(self, model: str) -> int:
        """Return how many trainings drift has asked for in the last 365 days."""
        return spent(_times(self.list(model, cause=Cause.DRIFT)), now=self._clock.now())

    def _refuse(self, connection: sa.Connection, spec: ModelSpec, event: DriftEvent, *, by: str) -> None:
        budget = f"{spec.retraining.most_a_year} trainings a year after drift"
        self._journal.append(
            connection,
            Change(
                actor=by,
                action=REFUSE,
                subject=_subject(spec.name),
                reason=f"the budget of {budget} is used up",
                details={"drift_event": event.id},
            ),
        )
        self._alerts.raise_within(
            connection,
            Alert(
                key=f"retraining:{spec.name}:budget",
                kind="retraining_budget",
                severity=Severity.MEDIUM,
                subject=f"models/{spec.name}",
                summary=f"{spec.name} drifts, and its budget of {budget} is used up. Train it by hand if it is needed: "
                f"`mlops models retrain {spec.name}`.",
                details={"drift_event": event.id},
            ),
            by=by,
        )

    def _request(
        self, connection: sa.Connection, model: str, cause: Cause, cause_id: str, *, by: str, reason: str
    ) -> Requested:
        known = next((one for one in _of(connection, model, cause) if one.cause_id == cause_id), None)
        if known is not None:
            return known
        asked = Requested(model=model, cause=cause, cause_id=cause_id, requested_at=self._clock.now(), requested_by=by)
        seq = self._journal.append(
            connection,
            Change(
                actor=by,
                action=REQUEST,
                subject=_subject(model),
                reason=reason,
                details={"cause": cause, "cause_id": cause_id},
            ),
        )
        connection.execute(
            sa.insert(retraining).values(
                model=model,
                cause=cause,
                cause_id=cause_id,
                requested_at=asked.requested_at,
                requested_by=by,
                ledger_seq=seq,
            )
        )
        return asked


def learned_from(version: ModelVersion, snapshots: SnapshotStore, *, source: str) -> bool:
    """Tell whether the bars behind a version's training set came from a source; also if it can't be told any more."""
    bars = version.metadata["inputs"].get(BARS)
    made = [one for one in snapshots.history(BARS) if one.fingerprint == bars]
    return not made or any(source in one.inputs for one in made)


def _why(events: Sequence[DriftEvent]) -> str:
    first, others = events[0], len(events) - 1
    said = f"{first.subject}: {first.message}"
    return f"{said} and {others} more" if others else said


def _times(requests: Sequence[Requested]) -> list[datetime]:
    return [one.requested_at for one in requests]


def _subject(model: str) -> str:
    return f"models/{model}"


def _of(connection: sa.Connection, model: str, cause: Cause | None) -> list[Requested]:
    statement = sa.select(retraining).where(retraining.c.model == model).order_by(retraining.c.ledger_seq)
    if cause is not None:
        statement = statement.where(retraining.c.cause == cause)
    return [
        Requested(
            model=row.model,
            cause=Cause(row.cause),
            cause_id=row.cause_id,
            requested_at=row.requested_at,
            requested_by=row.requested_by,
        )
        for row in connection.execute(statement)
    ]


def _was_refused(connection: sa.Connection, model: str, event_id: str) -> bool:
    refusals = sa.select(ledger_entry.c.details).where(
        ledger_entry.c.subject == _subject(model), ledger_entry.c.action == REFUSE
    )
    return any(details.get("drift_event") == event_id for details in connection.scalars(refusals))
