"""When a source was last read, where only a call tells what it holds: bars that did not change move no head.

The ledger remembers it. A source that tells its content without a call needs no such entry, and gets none: reading it
again is no change.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from mlops_assets.kernel.change import Change
from mlops_assets.ledger.entry import Entry
from mlops_assets.storage.journal import Journal
from mlops_assets.storage.parquet.snapshots import Snapshot
from mlops_assets.storage.sql.database import Database

ACTION = "bars.read"


class Entries(Protocol):
    """Yields entries in order; the ledger does."""

    def entries(
        self, *, after_seq: int = 0, action: str | None = None, subject: str | None = None
    ) -> Iterable[Entry]: ...


def record_reading(
    published: Snapshot, *, source: str, read_at: datetime, database: Database, journal: Journal, actor: str
) -> None:
    """Record that a reading which began at `read_at` gave the bars of `published`, new or not."""
    change = Change(
        actor=actor,
        action=ACTION,
        subject=published.id,
        before=published.fingerprint,
        after=published.fingerprint,
        details={"source": source, "read_at": read_at.isoformat()},
    )
    with database.begin() as connection:
        journal.append(connection, change)


def last_reading(ledger: Entries, published: Snapshot) -> datetime | None:
    """Return the instant at which the last reading that gave these bars began, or None if none is recorded."""
    # No reading that gave them stands before their publication, so the walk is as long as they have been the head.
    entries = ledger.entries(after_seq=published.ledger_seq, action=ACTION, subject=published.id)
    return max((datetime.fromisoformat(str(entry.details["read_at"])) for entry in entries), default=None)
