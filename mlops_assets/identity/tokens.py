"""What an API token is: an id, a secret that is shown once, and the hash that is kept. Pure."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.kernel.fingerprint import fingerprint

DEFAULT_DAYS = 90
LONGEST_DAYS = 366
LONGEST_LABEL = 200
SESSION = timedelta(hours=8)
"""How long a sign-in by name lasts at most."""

_SECRET_BYTES = 32
_FORM = re.compile(r"mlops_(?P<id>[0-9a-f]{16})_[A-Za-z0-9_-]{43}")


class InvalidToken(PlatformError):
    """A token can't be issued as it was asked for."""

    code: ClassVar[str] = "invalid_token"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """What is kept of a token: whose it is, what it may be used for and how long. Never the secret.

    `issued_with` is the credential that its issuer used, such as another token. A session ends with that one.
    """

    id: str
    principal: str
    scopes: frozenset[str]
    label: str
    issued_at: datetime
    issued_by: str
    issued_with: str
    expires_at: datetime
    is_session: bool = False
    revoked_at: datetime | None = None

    @property
    def credential(self) -> str:
        """What the ledger and decisions say of who acts with it."""
        return f"token:{self.id}"

    def is_live(self, at: datetime) -> bool:
        return self.revoked_at is None and at < self.expires_at

    @property
    def fingerprint(self) -> str:
        return fingerprint(
            {
                "id": self.id,
                "principal": self.principal,
                "scopes": sorted(self.scopes),
                "label": self.label,
                "expires_at": self.expires_at.isoformat(),
                "revoked_at": None if self.revoked_at is None else self.revoked_at.isoformat(),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """A token with its secret, at the one moment that it is known."""

    token: ApiToken
    bearer: str = field(repr=False)


def new_bearer() -> str:
    """Return a new token's whole text, `mlops_<id>_<secret>`: the prefix lets scanners of leaked secrets find it."""
    return f"mlops_{secrets.token_hex(8)}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def id_of(bearer: str) -> str:
    """Return the id that a token's text carries; a text of earlier versions carries none and gets one of its hash."""
    found = _FORM.fullmatch(bearer)
    return found["id"] if found else token_sha256(bearer)[:16]


def token_sha256(bearer: str) -> str:
    """Return what is kept of a secret. 256 random bits need no slow hash."""
    return hashlib.sha256(bearer.encode("utf-8", "surrogatepass")).hexdigest()


def expiry(days: int, *, at: datetime) -> datetime:
    """Return when a token ends that is issued now.

    Raises:
        InvalidToken: if it were to live for less than a day or more than a year.
    """
    if not 1 <= days <= LONGEST_DAYS:
        raise InvalidToken(f"A token lives 1 to {LONGEST_DAYS} days, not {days}. Every token expires.")
    return at + timedelta(days=days)


def checked_label(label: str) -> str:
    """Return a token's label.

    Raises:
        InvalidToken: if it is too long or would not print.
    """
    if len(label) > LONGEST_LABEL or not label.isprintable():
        raise InvalidToken(f"A label has up to {LONGEST_LABEL} printable characters.")
    return label
