"""Whether a chain of entries holds, against itself and against signed checkpoints, and where it breaks first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from mlops_assets.ledger.checkpoint import Checkpoint
from mlops_assets.ledger.entry import GENESIS_HASH


class Link(NamedTuple):
    """What the walk looks at of one entry. `is_sealed` says that its hash is the hash of its content."""

    seq: int
    previous_hash: str
    hash: str
    is_sealed: bool


UNREADABLE = Link(0, "", "", is_sealed=False)
"""What stands for a row or a line that is no entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a walk along the chain found.

    `entries` and `head_hash` are those of the last entry that holds. `first_bad` is the number of the first entry that
    is known not to hold, and `position` its place (the line of an export); where only a checkpoint shows it, entries
    after `vouched`, the last that a checkpoint vouches for, may have been written anew with it. A fault of a checkpoint
    itself has no `first_bad`.
    """

    entries: int
    head_hash: str
    first_bad: int | None = None
    problem: str = ""
    position: int | None = None
    vouched: int = 0
    checkpoints: int = 0

    @property
    def is_intact(self) -> bool:
        return not self.problem

    def and_also(self, problem: str) -> Verification:
        """Add a problem of the checkpoints to what the walk found."""
        return replace(self, problem="; ".join(filter(None, (self.problem, problem))))


@dataclass(frozen=True, slots=True)
class Head:
    """The entry that the next one follows; a walk that begins after one takes it for granted."""

    seq: int = 0
    hash: str = GENESIS_HASH


BEGINNING = Head()


def verify_links(
    links: Iterable[Link], checkpoints: Sequence[Checkpoint] = (), *, start: Head = BEGINNING
) -> Verification:
    """Walk entries in order and stop at the first that was edited, removed, inserted, moved or written anew.

    A link is what is left of an entry once its seal was looked at; signatures are looked at elsewhere.
    """
    expected = _expected_hashes(checkpoints, start)
    seq, head, vouched, below = start.seq, start.hash, start.seq, ""

    def stop(first_bad: int, problem: str, *, at: int | None) -> Verification:
        return Verification(
            entries=min(seq, first_bad - 1),
            head_hash=head if first_bad > seq else below,
            first_bad=first_bad,
            problem=problem,
            position=at,
            vouched=vouched,
            checkpoints=sum(one.seq <= vouched for one in checkpoints),
        )

    for position, link in enumerate(links, start=1):
        if not (link.is_sealed and link.seq == seq + 1 and link.previous_hash == head):
            return stop(*_fault(link, seq + 1, head, is_vouched=vouched == seq), at=position)
        if link.seq in expected:
            if expected[link.seq] != {link.hash}:
                return stop(link.seq, _written_anew(link.seq, vouched), at=position)
            vouched = link.seq
        seq, head, below = link.seq, link.hash, head
    if cut := [one for one in checkpoints if one.seq > seq]:
        last = max(cut, key=lambda one: one.seq)
        return stop(
            seq + 1,
            f"entries after {seq} were removed: a checkpoint of {last.at:%Y-%m-%d %H:%M:%S} UTC saw entry {last.seq}",
            at=None,
        )
    return Verification(entries=seq, head_hash=head, vouched=vouched, checkpoints=len(checkpoints))


def _expected_hashes(checkpoints: Sequence[Checkpoint], start: Head) -> dict[int, set[str]]:
    """Return what checkpoints saw after the start: the first entry, which names the ledger, and the one at its head."""
    expected: dict[int, set[str]] = {}
    for one in checkpoints:
        for seq, entry_hash in ((1, one.ledger), (one.seq, one.head_hash)):
            if seq > start.seq:
                expected.setdefault(seq, set()).add(entry_hash)
    return expected


def _fault(link: Link, expected: int, head: str, *, is_vouched: bool) -> tuple[int, str]:
    """Name the entry that does not hold; all before `expected` follow each other."""
    if not link.is_sealed:
        return expected, f"entry {expected} was changed after it was written"
    if link.seq > expected:
        return expected, f"entry {link.seq} stands where {expected} should: entries were removed or moved"
    if link.seq < expected and link.previous_hash != head:
        return link.seq, f"entry {link.seq} stands where {expected} should: an entry was inserted or moved"
    if link.seq < expected:
        return expected, f"entry {expected} was changed: it says that it is entry {link.seq}"
    if is_vouched:
        return expected, f"entry {expected} does not follow from the entry before it, which holds"
    return expected - 1, f"entry {expected - 1} is not the one that entry {expected} follows: it was written anew"


def _written_anew(seq: int, vouched: int) -> str:
    if vouched == seq - 1:
        return f"entry {seq} was written anew: a checkpoint saw another one"
    return f"entry {seq} is not the one that a checkpoint saw: some of entries {vouched + 1} to {seq} were written anew"
