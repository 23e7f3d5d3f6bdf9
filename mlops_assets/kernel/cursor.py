"""Where a reader of a long list stands: an opaque word that names the last row seen, good for that list alone.

A cursor holds no authority and no secret; its checksum is there so that a cut or edited one is refused, not guessed at.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, cast

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.kernel.fingerprint import Json, canonical_json, fingerprint

MAX_LENGTH = 1_000
_CHECK_CHARACTERS = 16

Position = tuple[str | int, ...]


class InvalidCursor(PlatformError):
    """A page was asked for with a word that no answer gave out."""

    code: ClassVar[str] = "invalid_request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list and its filters. `position` is the type of each value that says where a row stands in its order."""

    name: str
    position: tuple[type[str] | type[int], ...]
    filters: Mapping[str, Json] = field(default_factory=dict[str, Json])

    def cursor(self, position: Position) -> str:
        """Return the word for everything after `position`."""
        content = canonical_json(list(position))
        return base64.urlsafe_b64encode(f"{self._check(content)}{content.decode()}".encode()).decode().rstrip("=")

    def after(self, cursor: str | None) -> Position | None:
        """Return where a reader stands, None for one who begins.

        Raises:
            InvalidCursor: if this list with these filters never gave out that word.
        """
        if cursor is None:
            return None
        text = _decoded(cursor)
        check, content = text[:_CHECK_CHARACTERS], text[_CHECK_CHARACTERS:]
        if check != self._check(content.encode()):
            raise _invalid()
        found = cast("object", json.loads(content))
        values = cast("list[object]", found) if isinstance(found, list) else []
        if [type(value) for value in values] != list(self.position) or self.cursor(
            position := cast("Position", tuple(values))
        ) != cursor:
            raise _invalid()
        return position

    def _check(self, content: bytes) -> str:
        filters = {name: value for name, value in self.filters.items() if value is not None}
        return fingerprint({"list": self.name, "filters": filters, "position": content.decode()})[:_CHECK_CHARACTERS]


def _decoded(cursor: str) -> str:
    if len(cursor) > MAX_LENGTH:
        raise _invalid()
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise _invalid() from None


def _invalid() -> InvalidCursor:
    return InvalidCursor(
        "cursor: no answer of this list with these filters gave it out. Leave it away to begin, then send "
        "`next_cursor` of the answer as it is, with the same filters."
    )
