"""What a dossier speaks of: one stored row each, what it was made from, and what the ledger calls it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from mlops_assets.kernel.fingerprint import fingerprint

_STRANGE = re.compile(r"[^A-Za-z0-9._@-]|^\.+")
_LONGEST_PART = 100


class ThingKind(StrEnum):
    """What a thing is, in the order in which data becomes a decision."""

    SNAPSHOT = "snapshot"
    RELEASE = "feature_release"
    CERTIFICATE = "look_ahead_certificate"
    MODEL = "model_version"
    REPLAY = "replay"
    REPORT = "report"
    DRIFT_EVENT = "drift_event"
    DEPLOYMENT = "deployment"
    EVALUATION = "prompt_evaluation"
    ALERT = "alert"


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Something a thing was made from, by name and fingerprint."""

    name: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """One row of the stores. `row` is all of it; `unique` says that no other thing has its fingerprint.

    `subject` is what its ledger entries are about; None where other things share that name.
    `seq` is the number of the entry that made it, where the row names it.
    """

    kind: ThingKind
    id: str
    fingerprint: str
    row: Mapping[str, Any]
    made_at: datetime
    made_by: str
    unique: bool = True
    subject: str | None = None
    seq: int | None = None
    inputs: tuple[Input, ...] = field(default=())

    @property
    def path(self) -> str:
        """Return where the archive keeps what belongs to it: a folder without a slash at its end."""
        return f"related/{safe_path(self.id)}"


def safe_path(name: str) -> str:
    """Return a relative path for a name: plain characters only, and still different for different names.

    Capitals count as strange: some file systems can't tell `A` from `a`.
    """
    parts = [_STRANGE.sub("_", part)[:_LONGEST_PART] for part in name.split("/")]
    plain = "/".join(part or "_" for part in parts)
    return plain if plain == name == name.lower() else f"{plain}-{fingerprint(name)[:12]}"
