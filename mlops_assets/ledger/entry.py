"""What one line of the audit ledger says, and how it is chained to the one before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from mlops_assets.kernel.change import Change
from mlops_assets.kernel.fingerprint import Json, fingerprint

GENESIS_HASH = "0" * 64


class Linked(Protocol):
    """What the next entry has to know of the one before it."""

    @property
    def seq(self) -> int: ...

    @property
    def hash(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One state change as recorded. `hash` covers every other field, `previous_hash` included."""

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    before: str | None
    after: str | None
    reason: str
    details: Mapping[str, Json]
    previous_hash: str
    hash: str

    def as_json(self) -> dict[str, Json]:
        """Return the hashed content and the hash, in the form of an exported line."""
        return {**_content(self), "hash": self.hash}

    @property
    def is_sealed(self) -> bool:
        return self.hash == fingerprint(_content(self))


def chain(change: Change, *, after: Linked | None, at: datetime) -> Entry:
    """Make the entry that follows `after` (None for the first)."""
    unsealed = Entry(
        seq=1 if after is None else after.seq + 1,
        at=at,
        actor=change.actor,
        action=change.action,
        subject=change.subject,
        before=change.before,
        after=change.after,
        reason=change.reason,
        details=dict(change.details),
        previous_hash=GENESIS_HASH if after is None else after.hash,
        hash="",
    )
    return replace(unsealed, hash=fingerprint(_content(unsealed)))


def _content(entry: Entry) -> dict[str, Json]:
    return {
        "seq": entry.seq,
        "at": entry.at.isoformat(timespec="microseconds"),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "before": entry.before,
        "after": entry.after,
        "reason": entry.reason,
        "details": entry.details,
        "previous_hash": entry.previous_hash,
    }
