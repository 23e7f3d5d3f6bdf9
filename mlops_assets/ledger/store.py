"""Who did what and when, in an order nobody can rewrite unseen: the append-only, hash-chained audit ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.fingerprint import Json, canonical_json
from mlops_assets.ledger.entry import GENESIS_HASH, Entry, Verification, chain, verify_chain
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import ledger_entry, snapshot

_PAGE = 1_000

# Details as text: a row that somebody damaged must be named, not stop the walk.
_COLUMNS = tuple(
    sa.type_coerce(column, sa.Text).label("details") if column.name == "details" else column
    for column in ledger_entry.columns
)


class Ledger:
    """Appends inside the caller's transaction; the database itself refuses UPDATE and DELETE."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def append(self, connection: sa.Connection, change: Change) -> int:
        """Append `change` in the transaction of `connection` (one of `Database.begin`) and return its number."""
        entry = chain(change, after=_last(connection), at=self._clock.now())
        connection.execute(sa.insert(ledger_entry).values({name: getattr(entry, name) for name in Entry.__slots__}))
        return entry.seq

    def verify(self) -> Verification:
        """Walk the whole chain, then ask whether its end is there: published snapshots name their entries.

        A cut behind the last named entry shows only against a checkpoint.
        """
        verification = verify_chain(self.entries())
        with self._database.read() as connection:
            named = connection.scalar(sa.select(sa.func.max(snapshot.c.ledger_seq))) or 0
        if verification.is_intact and named > verification.entries:
            return replace(
                verification,
                first_bad=verification.entries + 1,
                problem=f"entries after {verification.entries} were removed: a published snapshot names entry {named}",
            )
        return verification

    def holds(self, seq: int, entry_hash: str) -> bool:
        """Say whether the entry that a checkpoint saw is still there and the same."""
        with self._database.read() as connection:
            found = connection.scalar(sa.select(ledger_entry.c.hash).where(ledger_entry.c.seq == seq))
        return found == entry_hash if seq else entry_hash == GENESIS_HASH

    def entries(
        self,
        *,
        after_seq: int = 0,
        actor: str | None = None,
        action: str | None = None,
        subject: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Entry]:
        """Yield entries in order, a page at a time, optionally only those of an actor, action or subject."""
        remaining = limit
        while remaining is None or remaining > 0:
            page = self._page(after_seq, actor, action, subject, min(_PAGE, remaining or _PAGE))
            yield from page
            if len(page) < _PAGE:
                return
            after_seq = page[-1].seq
            remaining = None if remaining is None else remaining - len(page)

    def export(self, path: Path) -> int:
        """Write every entry to `path` as JSON Lines of canonical JSON and return how many there were."""
        count = 0
        with path.open("wb") as stream:
            for count, entry in enumerate(self.entries(), start=1):  # noqa: B007 - the last count is the result
                stream.write(canonical_json(entry.as_json()) + b"\n")
        return count

    def _page(
        self, after_seq: int, actor: str | None, action: str | None, subject: str | None, size: int
    ) -> list[Entry]:
        wanted = {"actor": actor, "action": action, "subject": subject}
        statement = sa.select(*_COLUMNS).where(ledger_entry.c.seq > after_seq).order_by(ledger_entry.c.seq)
        for name, value in wanted.items():
            if value is not None:
                statement = statement.where(ledger_entry.c[name] == value)
        with self._database.read() as connection:
            return [_entry(row) for row in connection.execute(statement.limit(size)).mappings()]


def _last(connection: sa.Connection) -> Entry | None:
    statement = sa.select(*_COLUMNS).order_by(ledger_entry.c.seq.desc()).limit(1)
    row = connection.execute(statement).mappings().one_or_none()
    return None if row is None else _entry(row)


def _entry(row: sa.RowMapping) -> Entry:
    return Entry(**{**row, "details": _details(row["details"])})


def _details(text: str) -> dict[str, Json]:
    """Read an entry's details; what somebody damaged stays in sight, and breaks the entry's hash."""
    try:
        found = json.loads(text)
    except ValueError:
        return {"unreadable": text}
    return found if isinstance(found, dict) else {"unreadable": text}


def read_export(path: Path) -> Iterator[Entry]:
    """Yield the entries of an exported file, so that it can be verified without the database.

    A line that is no entry is yielded as one whose hash can't hold, so that verification names it.
    """
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            yield _line(number, line)


def _line(number: int, line: bytes) -> Entry:
    try:
        fields = json.loads(line)
        return Entry(**{**fields, "at": datetime.fromisoformat(fields["at"])})
    except (ValueError, TypeError, KeyError):
        return Entry(
            seq=number,
            at=datetime.fromtimestamp(0, UTC),
            actor="",
            action="",
            subject="",
            before=None,
            after=None,
            reason="",
            details={"unreadable": line.decode(errors="replace")},
            previous_hash="",
            hash="",
        )
