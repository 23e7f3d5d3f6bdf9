"""What is remembered of alerts and their deliveries, read and written in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from mlops_assets.alerts.alert import Alert, Severity
from mlops_assets.alerts.delivery import UNDECIDED, Delivery, State
from mlops_assets.kernel.errors import NotFound
from mlops_assets.storage.sql.tables import alert as alert_table
from mlops_assets.storage.sql.tables import alert_delivery

_KNOWN_ONES = "`mlops alerts list` shows the known ones."
_UNDECIDED = [state.value for state in UNDECIDED]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAlert:
    """An alert as it is kept, with where it stands on each channel."""

    id: str
    alert: Alert
    occurrences: int
    raised_at: datetime
    last_seen_at: datetime
    ledger_seq: int
    deliveries: tuple[Delivery, ...]

    @property
    def dead_letters(self) -> list[Delivery]:
        return [one for one in self.deliveries if one.state is State.DEAD]

    @property
    def is_delivered(self) -> bool:
        """Whether it reached every channel."""
        return all(one.state is State.DELIVERED for one in self.deliveries)


def get(connection: sa.Connection, alert_id: str) -> KnownAlert:
    """Return one alert.

    Raises:
        NotFound: if there is no such alert.
    """
    rows = connection.execute(sa.select(alert_table).where(alert_table.c.id == alert_id)).mappings().all()
    if not rows:
        raise NotFound(kind="alert", name=alert_id, remedy=_KNOWN_ONES)
    return _with_deliveries(connection, rows)[0]


def find(connection: sa.Connection, beginning: str) -> KnownAlert:
    """Return the one alert whose id begins so.

    Raises:
        NotFound: if there is none, or several.
    """
    matches = alert_table.c.id.startswith(beginning, autoescape=True)
    rows = connection.execute(sa.select(alert_table).where(matches).limit(2)).mappings().all()
    if len(rows) != 1:
        remedy = "Give more characters of it." if rows else _KNOWN_ONES
        raise NotFound(kind="alert", name=beginning, remedy=remedy)
    return _with_deliveries(connection, rows)[0]


def newest(connection: sa.Connection, key: str) -> KnownAlert | None:
    """Return the newest alert of a key."""
    statement = _newest_first().where(alert_table.c.key == key).limit(1)
    rows = connection.execute(statement).mappings().all()
    return _with_deliveries(connection, rows)[0] if rows else None


def select(
    connection: sa.Connection,
    *,
    severity: Severity | None,
    subject: str | None,
    state: State | None,
    before_seq: int | None,
    limit: int | None,
) -> list[KnownAlert]:
    """Return alerts, newest first; see `Alerts.list`."""
    statement = _newest_first().limit(limit)
    if severity is not None:
        statement = statement.where(alert_table.c.severity == severity.value)
    if subject is not None:
        statement = statement.where(alert_table.c.subject == subject)
    if before_seq is not None:
        statement = statement.where(alert_table.c.ledger_seq < before_seq)
    if state is not None:
        with_state = sa.select(alert_delivery.c.alert_id).where(alert_delivery.c.state == state.value)
        statement = statement.where(alert_table.c.id.in_(with_state))
    return _with_deliveries(connection, connection.execute(statement).mappings().all())


def insert(connection: sa.Connection, new: KnownAlert) -> None:
    """Keep a new alert and its deliveries."""
    connection.execute(
        sa.insert(alert_table).values(
            id=new.id,
            key=new.alert.key,
            kind=new.alert.kind,
            severity=new.alert.severity.value,
            subject=new.alert.subject,
            summary=new.alert.summary,
            details=dict(new.alert.details),
            occurrences=new.occurrences,
            raised_at=new.raised_at,
            last_seen_at=new.last_seen_at,
            ledger_seq=new.ledger_seq,
        )
    )
    for one in new.deliveries:
        connection.execute(sa.insert(alert_delivery).values(_row(one)))


def count_again(connection: sa.Connection, known: KnownAlert, at: datetime) -> None:
    """Keep that an alert was seen once more."""
    occurrences = known.occurrences + 1
    statement = sa.update(alert_table).where(alert_table.c.id == known.id)
    connection.execute(statement.values(occurrences=occurrences, last_seen_at=at))


def move(connection: sa.Connection, before: Delivery, after: Delivery) -> bool:
    """Write `after` if the row still is in the state and attempt of `before`; no if somebody was first."""
    return _move(connection, after, alert_delivery.c.state == before.state.value, before)


def conclude(connection: sa.Connection, after: Delivery) -> bool:
    """Write that a delivery was taken, whoever claimed it or gave it up meanwhile; no if that is known."""
    return _move(connection, after, alert_delivery.c.state != State.DELIVERED.value, None)


def waiting_channels(connection: sa.Connection, at: datetime) -> list[str]:
    """Name the channels with something due, the one that waits longest first."""
    channel, due_since = alert_delivery.c.channel, sa.func.min(alert_delivery.c.next_attempt_at)
    statement = sa.select(channel).where(*_due(at)).group_by(channel).order_by(due_since, channel)
    return [*connection.scalars(statement)]


def due(connection: sa.Connection, channel: str, at: datetime, limit: int) -> list[Delivery]:
    """Return what is due on a channel, what waits longest first."""
    statement = (
        sa.select(alert_delivery)
        .where(*_due(at), alert_delivery.c.channel == channel)
        .order_by(alert_delivery.c.next_attempt_at, alert_delivery.c.alert_id)
        .limit(limit)
    )
    return [_delivery(row) for row in connection.execute(statement).mappings()]


def _due(at: datetime) -> list[sa.ColumnElement[bool]]:
    return [alert_delivery.c.state.in_(_UNDECIDED), alert_delivery.c.next_attempt_at <= at]


def _move(
    connection: sa.Connection, after: Delivery, in_state: sa.ColumnElement[bool], before: Delivery | None
) -> bool:
    statement = sa.update(alert_delivery).where(
        alert_delivery.c.alert_id == after.alert_id, alert_delivery.c.channel == after.channel, in_state
    )
    if before is not None:
        statement = statement.where(alert_delivery.c.attempts == before.attempts)
    return connection.execute(statement.values(_row(after))).rowcount == 1


def _newest_first() -> sa.Select[tuple[object, ...]]:
    return sa.select(alert_table).order_by(alert_table.c.ledger_seq.desc())


def _with_deliveries(connection: sa.Connection, rows: Sequence[sa.RowMapping]) -> list[KnownAlert]:
    of_these = alert_delivery.c.alert_id.in_([row["id"] for row in rows])
    statement = sa.select(alert_delivery).where(of_these).order_by(alert_delivery.c.channel)
    deliveries: dict[str, list[Delivery]] = {row["id"]: [] for row in rows}
    for found in connection.execute(statement).mappings():
        deliveries[found["alert_id"]].append(_delivery(found))
    return [
        KnownAlert(
            id=row["id"],
            alert=Alert(
                key=row["key"],
                kind=row["kind"],
                severity=Severity(row["severity"]),
                subject=row["subject"],
                summary=row["summary"],
                details=row["details"],
            ),
            occurrences=row["occurrences"],
            raised_at=row["raised_at"],
            last_seen_at=row["last_seen_at"],
            ledger_seq=row["ledger_seq"],
            deliveries=tuple(deliveries[row["id"]]),
        )
        for row in rows
    ]


def _row(one: Delivery) -> dict[str, object]:
    return {**{name: getattr(one, name) for name in Delivery.__dataclass_fields__}, "state": one.state.value}


def _delivery(row: sa.RowMapping) -> Delivery:
    return Delivery(**{**row, "state": State(row["state"])})
