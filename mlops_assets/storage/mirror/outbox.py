"""What the mirrors have to get: the newest state of every document, and what each mirror has of it.

A document is put in the transaction that changes the thing. States coalesce: only the newest one is kept. It stays when
it is delivered, so a mirror that is switched on later gets everything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from mlops_assets.kernel.clock import Clock
from mlops_assets.storage.mirror import delivery as rules
from mlops_assets.storage.mirror.delivery import Delivery
from mlops_assets.storage.mirror.target import MirrorDocument, Refused
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import mirror_delivery, mirror_document

_FIELDS = tuple(Delivery.__dataclass_fields__)
_DELIVERED_REV = sa.func.coalesce(mirror_delivery.c.delivered_rev, rules.NOTHING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A document that this process sends now, and the attempt it does so with."""

    document: MirrorDocument
    delivery: Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a mirror is. `oldest_at` is when the longest unsent state was put."""

    target: str
    documents: int
    undelivered: int
    oldest_at: datetime | None
    delivered_at: datetime | None
    last_error: str


class MirrorOutbox:
    """Keeps documents and deliveries in the platform's database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def put(self, connection: sa.Connection, kind: str, id: str, rev: int, document: Mapping[str, Any]) -> None:
        """Keep the state of a thing after the ledger entry `rev`, in the caller's transaction; an older one changes
        nothing.
        """
        row = {"kind": kind, "id": id, "rev": rev, "document": dict(document), "updated_at": self._clock.now()}
        insert = _insert_of(connection)(mirror_document).values(row)
        newer = {name: insert.excluded[name] for name in ("rev", "document", "updated_at")}
        connection.execute(
            insert.on_conflict_do_update(
                index_elements=["kind", "id"], set_=newer, where=insert.excluded.rev >= mirror_document.c.rev
            )
        )

    def claim(self, target: str, *, kinds: Collection[str] | None, limit: int) -> list[Claim]:
        """Claim what is due for a mirror, the oldest change first."""
        at = self._clock.now()
        with self._database.read() as connection:
            if connection.execute(_due(target, kinds, at).limit(1)).first() is None:
                return []  # most turns: no writer has to wait for this one
        with self._database.begin() as connection:
            due = connection.execute(_due(target, kinds, at).limit(limit)).mappings().all()
            claims = [_claim(row, target, at) for row in due]
            for one in claims:
                _keep(connection, one.delivery)
        return claims

    def conclude(self, claims: Sequence[Claim], refused: Refused) -> None:
        """Record how the attempts ended. What was reset meanwhile goes out again."""
        at = self._clock.now()
        with self._database.begin() as connection:
            for one in claims:
                if (now := _load(connection, one.delivery)) is None:
                    continue
                problem = refused.get(one.document.key)
                if problem is None:
                    _keep(connection, rules.delivered(now, one.document.rev, at))
                else:
                    _keep(connection, rules.failed(now, one.delivery, problem, at))

    def hurry(self, target: str) -> None:
        """Make due what waits after a failure, as somebody who has mended the mirror wants it."""
        waits = (mirror_delivery.c.target == target, mirror_delivery.c.last_error != "")
        with self._database.begin() as connection:
            connection.execute(sa.update(mirror_delivery).where(*waits).values(next_attempt_at=self._clock.now()))

    def reset(self, connection: sa.Connection, target: str) -> None:
        """Forget what a mirror has, in the caller's transaction: all of it is due again."""
        connection.execute(sa.delete(mirror_delivery).where(mirror_delivery.c.target == target))

    def standing(self, target: str, *, kinds: Collection[str] | None) -> Standing:
        """Tell how far a mirror is."""
        is_behind = mirror_document.c.rev > _DELIVERED_REV
        behind = sa.case((is_behind, 1), else_=0)
        put_at = sa.case((is_behind, mirror_document.c.updated_at))
        statement = _of(
            sa.select(
                sa.func.count().label("documents"),
                sa.func.coalesce(sa.func.sum(behind), 0).label("undelivered"),
                sa.func.min(put_at).label("oldest_at"),
                sa.func.max(mirror_delivery.c.delivered_at).label("delivered_at"),
            ),
            target,
            kinds,
        )
        error = (
            sa.select(mirror_delivery.c.last_error)
            .where(mirror_delivery.c.target == target, mirror_delivery.c.last_error != "")
            .order_by(mirror_delivery.c.next_attempt_at.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            counts = connection.execute(statement).mappings().one()
            return Standing(target=target, last_error=connection.scalar(error) or "", **counts)


def _of(statement: sa.Select[Any], target: str, kinds: Collection[str] | None) -> sa.Select[Any]:
    """Complete a selection over the documents of a mirror and what it has of them."""
    same = sa.and_(
        mirror_delivery.c.target == target,
        mirror_delivery.c.kind == mirror_document.c.kind,
        mirror_delivery.c.id == mirror_document.c.id,
    )
    joined = statement.select_from(mirror_document.outerjoin(mirror_delivery, same))
    return joined if kinds is None else joined.where(mirror_document.c.kind.in_(list(kinds)))


def _due(target: str, kinds: Collection[str] | None, at: datetime) -> sa.Select[Any]:
    state = [mirror_delivery.c[name] for name in _FIELDS if name not in mirror_document.c]
    is_time = sa.or_(mirror_delivery.c.next_attempt_at.is_(None), mirror_delivery.c.next_attempt_at <= at)
    return (
        _of(sa.select(mirror_document, *state), target, kinds)
        .where(mirror_document.c.rev > _DELIVERED_REV, is_time)
        .order_by(mirror_document.c.rev, mirror_document.c.kind, mirror_document.c.id)
    )


def _claim(row: sa.RowMapping, target: str, at: datetime) -> Claim:
    document = MirrorDocument(
        kind=row["kind"], id=row["id"], rev=row["rev"], content=row["document"], updated_at=row["updated_at"]
    )
    before = rules.first(target, row["kind"], row["id"], at)
    if row["target"] is not None:
        before = Delivery(**{name: row[name] for name in _FIELDS})
    return Claim(document=document, delivery=rules.claimed(before, at))


def _load(connection: sa.Connection, one: Delivery) -> Delivery | None:
    statement = sa.select(mirror_delivery).where(
        mirror_delivery.c.target == one.target,
        mirror_delivery.c.kind == one.kind,
        mirror_delivery.c.id == one.id,
    )
    row = connection.execute(statement).mappings().one_or_none()
    return None if row is None else Delivery(**row)


def _keep(connection: sa.Connection, one: Delivery) -> None:
    row = {name: getattr(one, name) for name in _FIELDS}
    insert = _insert_of(connection)(mirror_delivery).values(row)
    changed = {name: insert.excluded[name] for name in _FIELDS if name not in mirror_delivery.primary_key.columns}
    connection.execute(insert.on_conflict_do_update(index_elements=["target", "kind", "id"], set_=changed))


def _insert_of(connection: sa.Connection) -> Callable[[sa.Table], Any]:
    """Return the dialect's INSERT, the one that knows what to do on a conflict."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert  # its drivers' modules cost 0.15 s to import
    else:
        from sqlalchemy.dialects.sqlite import insert

    return insert
