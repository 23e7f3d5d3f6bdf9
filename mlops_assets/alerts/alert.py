"""What an alert says, and when seeing the same thing again is none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from mlops_assets.kernel.fingerprint import Json, fingerprint

LONGEST_KEY = 400
LONGEST_SUMMARY = 1_000
_KIND = re.compile(r"[a-z][a-z0-9_]{0,99}")
# With what no text file or database takes: lone surrogates.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class Severity(StrEnum):
    """How much somebody should hurry."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    def is_worse_than(self, other: Severity) -> bool:
        order = tuple(Severity)
        return order.index(self) > order.index(other)


COOL_DOWN: Mapping[Severity, timedelta] = {
    Severity.LOW: timedelta(hours=24),
    Severity.MEDIUM: timedelta(hours=12),
    Severity.HIGH: timedelta(hours=4),
    Severity.CRITICAL: timedelta(hours=1),
}
"""How long the same key is not told again, counted from when it was told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something that a person should look at.

    `key` names the cause (`drift:<event>:<severity>`, `approval:<id>:overdue`): the same key is the same alert. `kind`
    says which sort it is (`drift`, `approval_overdue`), `subject` what it is about, `summary` is one line in English.
    Lines and control characters in the summary become spaces, because it ends up in headers and logs.
    """

    key: str
    kind: str
    severity: Severity
    subject: str
    summary: str
    details: Mapping[str, Json] = field(default_factory=dict[str, Json])

    def __post_init__(self) -> None:
        for name, value in (("key", self.key), ("subject", self.subject)):
            if not value.strip() or len(value) > LONGEST_KEY or _CONTROL.search(value):
                raise ValueError(f"an alert's {name} is one line of 1 to {LONGEST_KEY} characters, got {value!r}")
        if not _KIND.fullmatch(self.kind):
            raise ValueError(f"an alert's kind is a word like 'approval_overdue', got {self.kind!r}")
        summary = one_line(self.summary, LONGEST_SUMMARY)
        if not summary:
            raise ValueError(f"alert {self.key} needs a summary")
        object.__setattr__(self, "summary", summary)

    def as_json(self) -> dict[str, Json]:
        """Return what it says, for its identity and for programs that are told."""
        return {
            "key": self.key,
            "kind": self.kind,
            "severity": self.severity.value,
            "subject": self.subject,
            "summary": self.summary,
            "details": self.details,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The newest alert of a key, as far as the rule of the cool-down asks."""

    id: str
    severity: Severity
    raised_at: datetime


def is_repeat(alert: Alert, last: Seen | None, at: datetime) -> bool:
    """Say whether this is only another occurrence of what was told already.

    It is while the cool-down of what was told lasts, unless it is worse now. A clock that was set back by more than the
    cool-down does not silence anything.
    """
    if last is None or alert.severity.is_worse_than(last.severity):
        return False
    return abs(at - last.raised_at) < COOL_DOWN[last.severity]


def identity(alert: Alert, last: Seen | None, at: datetime) -> str:
    """Return the id of a new alert: the fingerprint of what it says, when, and after which one of its key."""
    return fingerprint(
        {
            **alert.as_json(),
            "raised_at": at.isoformat(timespec="microseconds"),
            "previous": None if last is None else last.id,
        }
    )


def one_line(text: str, longest: int) -> str:
    """Return `text` without line breaks and control characters, cut with an ellipsis."""
    words = " ".join(_CONTROL.sub(" ", text).split())
    return words if len(words) <= longest else f"{words[: longest - 1]}…"
