"""What one line of the audit ledger says, and how it is chained to the one before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from mlops_assets.kernel.change import Change
from mlops_assets.kernel.fingerprint import Json, fingerprint

GENESIS_HASH = "0" * 64


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a walk along the chain found. `first_bad` is the sequence number of the first entry that does not hold."""

    entries: int
    head_hash: str
    first_bad: int | None
    problem: str

    @property
    def is_intact(self) -> bool:
        return self.first_bad is None


def chain(change: Change, *, after: Entry | None, at: datetime) -> Entry:
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


def verify_chain(entries: Iterable[Entry]) -> Verification:
    """Walk entries in order and stop at the first that was edited, removed, inserted or moved."""
    seq, head = 0, GENESIS_HASH
    for entry in entries:
        if problem := _problem(entry, seq + 1, head):
            return Verification(entries=seq, head_hash=head, first_bad=entry.seq, problem=problem)
        seq, head = entry.seq, entry.hash
    return Verification(entries=seq, head_hash=head, first_bad=None, problem="")


def _problem(entry: Entry, expected_seq: int, expected_previous: str) -> str:
    if entry.seq != expected_seq:
        return f"entry {entry.seq} stands where {expected_seq} should: entries were removed, inserted or moved"
    if entry.previous_hash != expected_previous:
        return f"entry {entry.seq} does not follow from the entry before it"
    if not entry.is_sealed:
        return f"entry {entry.seq} was changed after it was written"
    return ""


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
