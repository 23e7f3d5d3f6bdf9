"""What a mirror is: it takes the newest state of documents, as often as they come and in any order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Protocol

from mlops_assets.kernel.errors import PlatformError

Refused = Mapping[str, str]
"""Why a mirror did not take documents, by their keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorDocument:
    """The state of one thing after the ledger entry `rev`, with its fields named as the REST API names them."""

    kind: str
    id: str
    rev: int
    content: Mapping[str, Any]
    updated_at: datetime

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.id}"


class MirrorUnavailable(PlatformError):
    """A mirror takes nothing at all for now. The words hold no secret."""

    code: ClassVar[str] = "mirror_unavailable"


class MissingExtra(MirrorUnavailable):
    """The package that speaks to the mirror is not installed."""

    code: ClassVar[str] = "missing_extra"

    def __init__(self, *, package: str, extra: str, setting: str) -> None:
        super().__init__(
            f"{setting} asks for this mirror, which needs the package {package}. "
            f"Install it with `pip install mlops-assets[{extra}]`, or unset {setting}."
        )


class MirrorTarget(Protocol):
    """One mirror that the settings switch on."""

    @property
    def name(self) -> str: ...

    @property
    def kinds(self) -> Collection[str] | None:
        """The kinds it takes; None stands for all."""
        ...

    @property
    def at_once(self) -> int:
        """How many documents it takes in one call."""
        ...

    def take(self, documents: Sequence[MirrorDocument], *, within: timedelta) -> Refused:
        """Take documents and return those it did not take. An older state than the one it has is taken and ignored.

        Raises:
            MirrorUnavailable: if it fails or does not answer `within` that time; it may have taken any of them.
        """
        ...

    def forget(self) -> None:
        """Drop what this side remembers of what it took, so that it all goes out again."""
        ...
