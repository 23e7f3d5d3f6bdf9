"""Somebody who owns the file of an export: what they can do to it, and where that has to be seen.

Lines are 0-based here, entries 1-based. Each forgery returns the lines after it and the entry that was tampered with.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlops_assets.ledger.entry import GENESIS_HASH
from mlops_assets.ledger.verification import Verification

Lines = list[bytes]
WORDS = ("actor", "action", "subject", "reason", "before", "after", "at", "details", "seq", "previous_hash", "hash")
SEALED_WORDS = ("actor", "action", "subject", "reason")


@dataclass(frozen=True)
class Forgery:
    """Lines that were tampered with, and the first entry that is not what it was."""

    lines: Lines
    tampered: int
    position: int | None = None


def sealed(fields: dict[str, Any]) -> bytes:
    """Return the line of an entry with the hash that its content demands.

    The content is made of ASCII, so RFC 8785 is sorted compact JSON: this forger needs nothing of ours.
    """
    content = {name: value for name, value in fields.items() if name != "hash"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    whole = content | {"hash": hashlib.sha256(text.encode()).hexdigest()}
    return json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()


def edit(lines: Sequence[bytes], rng: random.Random) -> Forgery:
    """Change one field of one entry."""
    at = rng.randrange(len(lines))
    fields = json.loads(lines[at])
    name = rng.choice(WORDS)
    fields[name] = _other(fields[name], rng)
    line = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    return Forgery([*lines[:at], line, *lines[at + 1 :]], at + 1)


def flip_a_byte(lines: Sequence[bytes], rng: random.Random) -> Forgery:
    """Change one byte of one line, whatever that does to it."""
    at = rng.randrange(len(lines))
    line = bytearray(lines[at])
    place = rng.randrange(len(line))
    line[place] = rng.choice([byte for byte in range(256) if byte not in (line[place], 0x0A)])
    return Forgery([*lines[:at], bytes(line), *lines[at + 1 :]], at + 1)


def resealed_edit(lines: Sequence[bytes], rng: random.Random) -> Forgery:
    """Change one entry and give it the hash of its new content."""
    at = rng.randrange(len(lines))
    fields = json.loads(lines[at])
    name = rng.choice(SEALED_WORDS)
    fields[name] = _other(fields[name], rng)
    return Forgery([*lines[:at], sealed(fields), *lines[at + 1 :]], at + 1)


def delete(lines: Sequence[bytes], rng: random.Random) -> Forgery:
    """Take some entries out."""
    at = rng.randrange(len(lines))
    count = rng.randint(1, min(3, len(lines) - at))
    return Forgery([*lines[:at], *lines[at + count :]], at + 1)


def reorder(lines: Sequence[bytes], rng: random.Random) -> Forgery:
    """Let two entries change places."""
    first, second = sorted(rng.sample(range(len(lines)), 2))
    moved = list(lines)
    moved[first], moved[second] = moved[second], moved[first]
    return Forgery(moved, first + 1)


def insert(lines: Sequence[bytes], rng: random.Random) -> Forgery:
    """Put a copy of an entry, or a new one that follows from the one before, between two entries."""
    at = rng.randrange(len(lines))
    copied = rng.choice([None, rng.randrange(len(lines))])
    if copied is not None:
        # Beside its original nobody can tell which of the two is the copy.
        return Forgery([*lines[:at], lines[copied], *lines[at:]], copied + 1, at + 1 if copied != at else at + 2)
    before = json.loads(lines[at - 1])["hash"] if at else GENESIS_HASH
    forged = sealed({**json.loads(lines[at]), "actor": "eve", "previous_hash": before})
    return Forgery([*lines[:at], forged, *lines[at:]], at + 1)


def truncate(lines: Sequence[bytes], rng: random.Random) -> Forgery:
    """Cut the end off."""
    kept = rng.randrange(len(lines))
    return Forgery(list(lines[:kept]), kept + 1)


def rewrite(lines: Sequence[bytes], rng: random.Random, *, first: int = 0) -> Forgery:
    """Change an entry and chain every later one anew; what comes out is a sound chain."""
    fields = [json.loads(line) for line in lines]
    name = rng.choice(SEALED_WORDS)
    fields[first][name] = _other(fields[first][name], rng)
    made = list(lines[:first])
    head = json.loads(lines[first - 1])["hash"] if first else GENESIS_HASH
    for one in fields[first:]:
        made.append(sealed(one | {"previous_hash": head}))
        head = json.loads(made[-1])["hash"]
    return Forgery(made, first + 1)


def rewrite_from_somewhere(lines: Sequence[bytes], rng: random.Random) -> Forgery:
    """Change any entry and chain every later one anew."""
    return rewrite(lines, rng, first=rng.randrange(len(lines)))


FORGERIES: dict[str, Callable[[Sequence[bytes], random.Random], Forgery]] = {
    "edit": edit,
    "flipped byte": flip_a_byte,
    "resealed edit": resealed_edit,
    "deletion": delete,
    "reorder": reorder,
    "insertion": insert,
    "truncation": truncate,
    "full rewrite": rewrite,
    "rewrite from an entry on": rewrite_from_somewhere,
}


def is_located(kind: str, forgery: Forgery, found: Verification) -> bool:
    """Say whether what was found names the entry that was tampered with.

    Of a chain that was written anew from some entry on only a checkpoint tells, so the entry lies between two of them.
    """
    if found.first_bad is None:
        return False
    if kind == "rewrite from an entry on":
        return found.vouched < forgery.tampered <= found.first_bad
    if forgery.position is not None:
        return found.position == forgery.position
    return found.first_bad == forgery.tampered


def _other(value: object, rng: random.Random) -> Any:
    if isinstance(value, int):
        return value + rng.choice([-1, 1, 7])
    if isinstance(value, dict):
        return {**value, "n": rng.randrange(10**6) + 1000}
    if value is None:
        return "e" * 64
    return f"{value}{rng.choice('xyz')}" if rng.random() < 0.5 else str(value)[:-1] or "forged"
