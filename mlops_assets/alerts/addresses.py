"""Where alerts may be sent: addresses as the settings give them, checked before anything is sent there.

They come from the settings only, never from an alert: nobody can make the platform call an address of their choice.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

_MAIL_ADDRESS = re.compile(r"[^\s@<>,;:\"\\()\[\]]+@[^\s@<>,;:\"\\()\[\]]+")
_SECRET_PREFIX = "whsec_"  # noqa: S105 - the marker of the format, no secret
_SHORTEST_SECRET_BYTES = 24
_SMTP_PORTS = {"smtp": 587, "smtps": 465}


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """A mail server and who we are there. `is_encrypted` says that TLS comes first (smtps)."""

    host: str
    port: int
    is_encrypted: bool
    user: str = ""
    password: str = field(default="", repr=False)

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)


def webhook_url(url: str) -> str:
    """Return `url` if alerts may be posted there: https, or http on this machine.

    Raises:
        ValueError: saying what is wrong, without the address, which may hold a token.
    """
    parts = _split(url, "a webhook")
    if parts.scheme not in {"https", "http"}:
        raise ValueError("a webhook's address begins with https://")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError("a webhook's address begins with https://; http:// is for this machine only")
    if parts.username or parts.password:
        raise ValueError("a webhook's address holds no user and password; use its path or the signature")
    return url


def webhook_secret(secret: str) -> str:
    """Return `secret` if it can sign: `whsec_` and base64 of 24 bytes or more (Standard Webhooks).

    Raises:
        ValueError: saying what is wrong, without the secret.
    """
    try:
        key = base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(_SECRET_PREFIX) or len(key) < _SHORTEST_SECRET_BYTES:
        raise ValueError(f"the secret is {_SECRET_PREFIX} and base64 of at least {_SHORTEST_SECRET_BYTES} random bytes")
    return secret


def mail_server(url: str) -> MailServer:
    """Read `smtp://user:password@host:port` or `smtps://…`; user and password are percent-encoded.

    Raises:
        ValueError: saying what is wrong, without the address, which may hold a password.
    """
    parts = _split(url, "a mail server")
    if parts.scheme not in _SMTP_PORTS:
        raise ValueError("a mail server's address begins with smtp:// or smtps://")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("a mail server's address ends after the port; percent-encode special characters before the @")
    if bool(parts.username) != bool(parts.password):
        raise ValueError("a mail server's address has a user and a password, or neither")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not f"{user}{password}".isascii():
        raise ValueError("a mail server's user and password are ASCII: smtplib sends no other")
    return MailServer(
        host=parts.hostname or "",
        port=parts.port or _SMTP_PORTS[parts.scheme],
        is_encrypted=parts.scheme == "smtps",
        user=user,
        password=password,
    )


def mail_address(address: str) -> str:
    """Return `address` if it is one plain mail address: nothing that could begin another header or receiver.

    Raises:
        ValueError: if it is not.
    """
    if not _MAIL_ADDRESS.fullmatch(address):
        raise ValueError(f"{address!r} is no mail address like alerts@example.com")
    return address


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine, by its name or number."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _split(url: str, what: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        is_complete = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_complete, parts = False, urlsplit("")
    if not is_complete or not url.isprintable() or " " in url:
        raise ValueError(f"this is no address of {what}, like scheme://host:port/path")
    return parts
