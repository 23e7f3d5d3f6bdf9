"""Who acts on this command line: the token of the environment, otherwise that of the file api_token in the home.

The file is made once, readable by its owner alone, and its token is the operator's in the token store.
"""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from pathlib import Path

from mlops_assets.identity.directory import Directory
from mlops_assets.identity.sign_in import Unauthenticated
from mlops_assets.identity.token_store import TokenStore
from mlops_assets.identity.tokens import LONGEST_LABEL, new_bearer
from mlops_assets.kernel.clock import Clock
from mlops_assets.storage.files import publish_file, publish_new_file, temporary_text

RENEWED_BEFORE_ITS_END = timedelta(days=30)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43,}")
"""256 random bits or more; a shorter text was not made by the platform."""


class OperatorFile:
    """The file api_token of one home."""

    def __init__(self, path: Path, *, tokens: TokenStore, directory: Directory, clock: Clock) -> None:
        self._path, self._tokens, self._directory, self._clock = path, tokens, directory, clock

    def ensure(self, operator: str) -> None:
        """Let the file hold a token of the operator that lives for a month at least.

        Made if it is missing; adopted if an earlier version made it; replaced if it was revoked or ends soon. Somebody
        else's token in it is left alone, and so is the file where the operator is unknown or deactivated.
        """
        person = self._directory.find(operator)
        if person is None or not person.is_active:
            return
        bearer = ensure_token(self._path)
        known = self._tokens.find_bearer(bearer)
        if known is not None and known.principal != operator:
            return
        if known is None and _TOKEN.fullmatch(bearer):
            self._adopt(bearer, operator, reason="first use of the file api_token")
        elif known is None or not known.is_live(self._clock.now() + RENEWED_BEFORE_ITS_END):
            renewed = new_bearer()
            # The file first: a crash in between leaves a text that the next start adopts.
            with _token_file(self._path, renewed) as temporary:
                publish_file(temporary, self._path)
            self._adopt(renewed, operator, reason="the file api_token is renewed")

    def _adopt(self, bearer: str, operator: str, *, reason: str) -> None:
        label = f"file {self._path}"[:LONGEST_LABEL]
        self._tokens.adopt(bearer, name=operator, label=label, reason=reason)


def bearer_of(token: str | None, path: Path) -> str:
    """Return the token of this command line: the environment's, otherwise that of the file.

    Raises:
        Unauthenticated: if there is neither.
    """
    if token:
        return token
    with suppress(FileNotFoundError):
        if found := path.read_text(encoding="utf-8", errors="replace").strip():
            return found
    raise Unauthenticated(
        f"Nobody is signed in: MLOPS_TOKEN is not set and {path} holds no token. `mlops up` makes the operator's; "
        "anybody else sets MLOPS_TOKEN to a token that an admin issued with `mlops tokens issue NAME`."
    )


def ensure_token(path: Path) -> str:
    """Return the token of a file; make the file, readable by its owner alone, if there is none.

    Processes that start together agree: the name appears with the whole token behind it, and only once.
    """
    while True:
        try:
            if token := path.read_text(encoding="utf-8", errors="replace").strip():
                return token
            _remove_empty(path)
        except FileNotFoundError:
            pass
        with _token_file(path, new_bearer()) as temporary:
            publish_new_file(temporary, path)


def _token_file(path: Path, token: str) -> AbstractContextManager[Path]:
    return temporary_text(path.parent, f"{token}\n", mode=0o600)


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
