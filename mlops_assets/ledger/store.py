"""Who did what and when, in an order nobody can rewrite unseen: the append-only, hash-chained audit ledger."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar

import sqlalchemy as sa

from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import PlatformError
from mlops_assets.kernel.fingerprint import Json
from mlops_assets.ledger.checkpoint import Checkpoint
from mlops_assets.ledger.checkpoint_folder import CheckpointFolder
from mlops_assets.ledger.entry import Entry, chain
from mlops_assets.ledger.seal import Row, instant_of, line_of_row, link_of_row
from mlops_assets.ledger.statements import Statements
from mlops_assets.ledger.verification import BEGINNING, Head, Link, Verification, verify_links
from mlops_assets.storage.keys import PublicKey
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import ledger_entry, snapshot

Progress = Callable[[int, int], None]
"""Is told how many entries of how many were walked."""

_PAGE = 1_000
_WALKED_AT_ONCE = 10_000
_ANY_ENDING = "*"

# Details and instant as text: a row that somebody damaged must be named, not stop the walk.
_DETAILS = sa.cast(ledger_entry.c.details, sa.Text).label("details")
_AT = sa.type_coerce(ledger_entry.c.at, sa.Text).label("at")
_RAW = tuple({"details": _DETAILS, "at": _AT}.get(name, ledger_entry.c[name]) for name in Row._fields)
_LAST = sa.select(ledger_entry.c.seq, ledger_entry.c.hash).order_by(ledger_entry.c.seq.desc()).limit(1)
_APPEND = sa.insert(ledger_entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which entries are asked for. A name that ends with `*` stands for every name that begins so."""

    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class DamagedEntry(PlatformError):
    """A row of the ledger can't be shown as an entry."""

    code: ClassVar[str] = "integrity_violation"


class Ledger:
    """Appends inside the caller's transaction; the database itself refuses UPDATE and DELETE."""

    def __init__(self, database: Database, clock: Clock, checkpoints: CheckpointFolder | None = None) -> None:
        self._database, self._clock, self._checkpoints = database, clock, checkpoints

    def begin(self) -> AbstractContextManager[sa.Connection]:
        """Open a write transaction of the ledger's database."""
        return self._database.begin()

    def append(self, connection: sa.Connection, change: Change) -> int:
        """Append `change` in the transaction of `connection` (one of `Database.begin`) and return its number."""
        last = connection.execute(_LAST).one_or_none()
        entry = chain(change, after=None if last is None else Head(*last), at=self._clock.now())
        connection.execute(_APPEND, {name: getattr(entry, name) for name in Entry.__slots__})
        return entry.seq

    def verify(
        self, *, trusting: Iterable[PublicKey] = (), progress: Progress = lambda _done, _all: None
    ) -> Verification:
        """Walk the whole chain, against itself, every checkpoint in the folder, and the snapshots that name entries.

        `trusting` names the keys that count instead of the installation's own. A cut behind the last checkpoint and the
        last snapshot does not show.
        """
        read = Statements() if self._checkpoints is None else self._checkpoints.read()
        signed = read.sifted(trusting)
        with self._database.read() as connection:  # before the walk, which ends where the ledger ended when it began
            named = connection.scalar(sa.select(sa.func.max(snapshot.c.ledger_seq))) or 0
        found = self._walk(signed.checkpoints, BEGINNING, progress).and_also(signed.problem)
        if found.is_intact and named > found.entries:
            problem = f"entries after {found.entries} were removed: a published snapshot names entry {named}"
            return replace(found, first_bad=found.entries + 1, problem=problem)
        return found

    def verify_since(self, checkpoint: Checkpoint | None) -> Verification:
        """Walk from the entry that a checkpoint saw to the end; from the beginning without one."""
        if checkpoint is None:
            return self._walk([], BEGINNING)
        if self.hash_of(checkpoint.seq) != checkpoint.head_hash:
            return Verification(
                entries=0,
                head_hash="",
                first_bad=checkpoint.seq,
                problem=f"entry {checkpoint.seq} is not there, or not the one that the latest checkpoint saw",
            )
        return self._walk([], Head(checkpoint.seq, checkpoint.head_hash))

    def hash_of(self, seq: int) -> str:
        """Return the stored hash of an entry; nothing where there is none."""
        with self._database.read() as connection:
            return connection.scalar(sa.select(ledger_entry.c.hash).where(ledger_entry.c.seq == seq)) or ""

    def entries(
        self,
        *,
        after_seq: int = 0,
        actor: str | None = None,
        action: str | None = None,
        subject: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        newest_first: bool = False,
        until_seq: int | None = None,
    ) -> Iterator[Entry]:
        """Yield entries in order, a page at a time; filters narrow them.

        An actor, action or subject that ends with `*` stands for every name that begins so. `since` is the first
        instant, `until` the first one that does not count.
        """
        wanted = Wanted(actor=actor, action=action, subject=subject, since=since, until=until)
        low, high, remaining = after_seq, until_seq, limit
        while remaining is None or remaining > 0:
            size = _PAGE if remaining is None else min(_PAGE, remaining)
            page = self._page(wanted, low, high, size, newest_first=newest_first)
            yield from page
            if len(page) < size:
                return
            remaining = None if remaining is None else remaining - size
            low, high = (low, page[-1].seq - 1) if newest_first else (page[-1].seq, high)

    def _page(self, wanted: Wanted, low: int, high: int | None, size: int, *, newest_first: bool) -> list[Entry]:
        seq = ledger_entry.c.seq
        statement = sa.select(*_RAW).where(seq > low).order_by(seq.desc() if newest_first else seq).limit(size)
        if high is not None:
            statement = statement.where(seq <= high)
        for condition in _conditions(wanted, self._database.engine.dialect.name):
            statement = statement.where(condition)
        with self._database.read() as connection:
            return [_entry(row) for row in connection.execute(statement).mappings()]

    def _walk(
        self, checkpoints: list[Checkpoint], start: Head, progress: Progress = lambda _done, _all: None
    ) -> Verification:
        return verify_links(self._links(start.seq, progress), checkpoints, start=start)

    def lines(self, *, until_seq: int | None = None) -> Iterator[bytes]:
        """Yield entries as canonical JSON, as an export holds them; damaged rows too."""
        last = self._last_seq() if until_seq is None else until_seq
        for page in self._pages(0, last):
            yield from map(line_of_row, page)

    def _links(self, after_seq: int, progress: Progress) -> Iterator[Link]:
        last = self._last_seq()
        for page in self._pages(after_seq, last):
            yield from map(link_of_row, page)
            progress(page[-1].seq, last)

    def _last_seq(self) -> int:
        with self._database.read() as connection:
            return connection.scalar(sa.select(sa.func.max(ledger_entry.c.seq))) or 0

    def _pages(self, after_seq: int, last: int) -> Iterator[list[Row]]:
        """Yield every row after one up to another, in order, some thousands at a time."""
        seq = ledger_entry.c.seq
        between = sa.and_(seq > sa.bindparam("after"), seq <= sa.bindparam("last"))
        statement = sa.select(*_RAW).where(between).order_by(seq).limit(_WALKED_AT_ONCE)
        while True:
            with self._database.read() as connection:
                page = [Row._make(row) for row in connection.execute(statement, {"after": after_seq, "last": last})]
            if not page:
                return
            yield page
            after_seq = page[-1].seq


def _conditions(wanted: Wanted, dialect: str) -> Iterator[sa.ColumnElement[bool]]:
    for name in ("actor", "action", "subject"):
        value: str | None = getattr(wanted, name)
        column = ledger_entry.c[name]
        if value is None:
            continue
        if not value.endswith(_ANY_ENDING):
            yield column == value
        elif prefix := value.removesuffix(_ANY_ENDING):
            yield _begins_with(column, prefix, dialect)
    if wanted.since is not None:
        yield ledger_entry.c.at >= wanted.since
    if wanted.until is not None:
        yield ledger_entry.c.at < wanted.until


def _begins_with(column: sa.Column[str], prefix: str, dialect: str) -> sa.ColumnElement[bool]:
    """Return a condition that the column's index serves: LIKE of SQLite ignores case and so uses no index."""
    if dialect == "sqlite":
        return sa.and_(column >= prefix, column < prefix + "\U0010ffff")
    return column.startswith(prefix, autoescape=True)


def _entry(row: sa.RowMapping) -> Entry:
    try:
        at = instant_of(row["at"])
    except ValueError as error:
        raise DamagedEntry(
            f"Entry {row['seq']} of the ledger has no time but {str(row['at'])[:40]!r}: somebody changed the database. "
            f"`mlops audit verify` says what else; `mlops audit log --after {row['seq']}` shows what follows, and "
            "`mlops audit export` writes everything as it is."
        ) from error
    return Entry(**{**row, "at": at, "details": _details(row["details"])})


def _details(text: str) -> dict[str, Json]:
    """Read an entry's details; what somebody damaged stays in sight, and breaks the entry's hash."""
    try:
        found = json.loads(text)
    except ValueError:
        return {"unreadable": text}
    return found if isinstance(found, dict) else {"unreadable": text}
