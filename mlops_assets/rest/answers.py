"""What was answered to whom under which idempotency key: kept for a day, in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from mlops_assets.kernel.clock import Clock
from mlops_assets.rest.problems import InvalidRequest, StillRunning
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import idempotency_key

KEPT_FOR = timedelta(hours=24)
ABANDONED_AFTER = timedelta(minutes=5)
"""A request without an answer for so long has died with its process; its key may be used for another try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was answered. `body` is None where it held a secret: that is shown once and kept nowhere."""

    status: int
    media_type: str
    body: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One request's right to work under a key. `began_at` tells it from a later try under the same key."""

    principal: str
    key: str
    began_at: datetime


class Answers:
    """Hands out turns and keeps answers. The table's primary key lets one of two equal requests begin."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def begin(self, principal: str, key: str, request_sha256: str) -> Turn | Answer:
        """Return the turn to work, or what was answered before.

        Raises:
            StillRunning: if the first request has no answer yet.
            InvalidRequest: if the key was used for another request.
        """
        now = self._clock.now()
        with self._database.begin() as connection:
            connection.execute(sa.delete(idempotency_key).where(idempotency_key.c.expires_at <= now))
            connection.execute(
                sa.delete(idempotency_key).where(
                    *_named(principal, key),
                    idempotency_key.c.status.is_(None),
                    idempotency_key.c.created_at <= now - ABANDONED_AFTER,
                )
            )
            found = connection.execute(sa.select(idempotency_key).where(*_named(principal, key))).one_or_none()
            if found is None:
                values = {"principal": principal, "key": key, "request_sha256": request_sha256}
                connection.execute(
                    sa.insert(idempotency_key).values(**values, created_at=now, expires_at=now + KEPT_FOR)
                )
                return Turn(principal=principal, key=key, began_at=now)
        if found.request_sha256 != request_sha256:
            raise InvalidRequest(
                f"Idempotency-Key {key!r} was sent with another request. Make a new key for every new request."
            )
        if found.status is None:
            raise StillRunning(f"The first request with Idempotency-Key {key!r} is still in progress. Ask again soon.")
        return Answer(status=found.status, media_type=found.media_type or "", body=found.body)

    def finish(self, turn: Turn, answer: Answer) -> None:
        """Keep the answer of a turn."""
        with self._database.begin() as connection:
            connection.execute(
                sa.update(idempotency_key)
                .where(*_of(turn))
                .values(status=answer.status, media_type=answer.media_type[:100], body=answer.body)
            )

    def give_up(self, turn: Turn) -> None:
        """Forget a turn that came to no answer, so that the next try begins anew."""
        with self._database.begin() as connection:
            connection.execute(sa.delete(idempotency_key).where(*_of(turn)))


def _named(principal: str, key: str) -> tuple[sa.ColumnElement[bool], ...]:
    return idempotency_key.c.principal == principal, idempotency_key.c.key == key


def _of(turn: Turn) -> tuple[sa.ColumnElement[bool], ...]:
    return (*_named(turn.principal, turn.key), idempotency_key.c.created_at == turn.began_at)
