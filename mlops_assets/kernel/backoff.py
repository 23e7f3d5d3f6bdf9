"""How long to wait after an attempt failed: longer each time, spread, and the same for the same thing."""

from __future__ import annotations

import hashlib
from datetime import timedelta

_MOST_DOUBLINGS = 20


def pause(seed: str, attempts: int, *, first: timedelta, longest: timedelta) -> timedelta:
    """Return `first` doubled with each attempt, `longest` at most, of which 50-100% are kept.

    The share comes from the seed and the attempt, so that it is spread over things and never changes.
    """
    full = min(first * 2 ** min(attempts - 1, _MOST_DOUBLINGS), longest)
    digest = hashlib.sha256(f"{seed}:{attempts}".encode()).digest()
    return full * (0.5 + int.from_bytes(digest[:8], "big") / 2**64 / 2)
