"""What a state change says of itself, so that the ledger can record it in the same transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlops_assets.kernel.fingerprint import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Who did what to which subject, and the fingerprints before and after.

    `action` is `noun.verb` (`snapshot.publish`, `deployment.request`); `subject` names one thing
    (`features/momentum@3`). `before` is None for something new, `after` None for something removed.
    """

    actor: str
    action: str
    subject: str
    before: str | None = None
    after: str | None = None
    reason: str = ""
    details: Mapping[str, Json] = field(default_factory=dict[str, Json])

    def __post_init__(self) -> None:
        if not self.actor or not self.subject or "." not in self.action:
            raise ValueError(f"a change names its actor, its subject and an action like 'noun.verb': {self}")
