"""Who is calling: a bearer token, compared by its SHA-256, stands for one principal."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Annotated, ClassVar

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.kernel.identity import Principal

_TOKEN_BYTES = 32
_bearer = HTTPBearer(auto_error=False, description="The token in the file `api_token` of the platform's home.")


class Unauthenticated(PlatformError):
    """The caller did not say who they are, or could not prove it. `challenge` tells the client how they can."""

    code: ClassVar[str] = "unauthenticated"

    def __init__(self, message: str, challenge: str = "Bearer") -> None:
        self.challenge = challenge
        super().__init__(message)


class Authentication:
    """Knows the tokens' hashes and the principals they stand for; the tokens themselves are not kept in memory."""

    def __init__(self, principals: dict[str, Principal]) -> None:
        self._principals = dict(principals)

    @classmethod
    def from_token_file(cls, path: Path, principal: Principal) -> Authentication:
        """Accept the token of a local file, made now if there is none."""
        return cls({token_hash(ensure_token(path)): principal})

    def principal_of(self, token: str) -> Principal:
        """Return whom a token stands for.

        Raises:
            Unauthenticated: if it stands for nobody.
        """
        given, found = token_hash(token), None
        for known, principal in self._principals.items():  # all of them, so that the time says nothing
            if hmac.compare_digest(known, given):
                found = principal
        if found is None:
            raise Unauthenticated("The token is not valid. It is the content of the file api_token in MLOPS_HOME.")
        return found


def authenticated(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> Principal:
    """Return the caller of a route.

    Raises:
        Unauthenticated: if there is no bearer token or it is wrong.
    """
    if credentials is None:
        raise Unauthenticated("Send the header `Authorization: Bearer <token>`; the token is in MLOPS_HOME/api_token.")
    authentication: Authentication = request.app.state.authentication
    return authentication.principal_of(credentials.credentials)


def authenticated_browser(request: Request) -> Principal:
    """Return the caller of a page: a browser asks its user for a password, which is the token.

    Raises:
        Unauthenticated: if neither a bearer token nor such a password is given.
    """
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    token = value if scheme.lower() == "bearer" else _password(value) if scheme.lower() == "basic" else ""
    authentication: Authentication = request.app.state.authentication
    try:
        return authentication.principal_of(token)
    except Unauthenticated as error:
        message = "Sign in with any user name and, as the password, the token in MLOPS_HOME/api_token."
        raise Unauthenticated(message, challenge='Basic realm="mlops_assets", charset="UTF-8"') from error


Caller = Annotated[Principal, Depends(authenticated)]


def ensure_token(path: Path) -> str:
    """Return the token of a file; make the file, readable by its owner alone, if there is none.

    Processes that start together agree: the name appears with the whole token behind it, and only once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            if token := path.read_text(encoding="ascii").strip():
                return token
            _remove_empty(path)
        except FileNotFoundError:
            pass
        _offer_token(path)


def _offer_token(path: Path) -> None:
    """Give a new token the file's name, unless a file has that name by now."""
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(secrets.token_urlsafe(_TOKEN_BYTES) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()


def _remove_empty(path: Path) -> None:
    """Remove a file that a crash of an earlier version left empty, and never one that took its name meanwhile."""
    try:
        import fcntl
    except ImportError:  # Windows
        path.unlink(missing_ok=True)
        return
    with path.open("rb") as empty:
        fcntl.flock(empty, fcntl.LOCK_EX)  # whoever removes it holds this
        is_still_named = os.path.samestat(os.fstat(empty.fileno()), path.stat())
        if is_still_named and not empty.read().strip():
            path.unlink()


def token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _password(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
