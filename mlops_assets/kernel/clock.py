"""What time is it: the only door to the wall clock, so that every instant can be injected."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time as an aware UTC datetime."""

    def now(self) -> datetime: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedClock:
    """A clock that stands still, for tests and for reproducing a run."""

    at: datetime

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise ValueError(f"a clock needs an aware time, got {self.at!r}")

    def now(self) -> datetime:
        return self.at.astimezone(UTC)
