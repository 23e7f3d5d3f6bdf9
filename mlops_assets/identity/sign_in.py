"""Who is calling: a bearer token, ours or an OpenID Connect issuer's, stands for one principal."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.kernel.identity import Principal

if TYPE_CHECKING:
    from mlops_assets.identity.directory import Directory
    from mlops_assets.identity.oidc import OidcIssuer
    from mlops_assets.identity.token_store import TokenStore


class Unauthenticated(PlatformError):
    """The caller did not say who they are, or could not prove it. `challenge` tells the client how they can."""

    code: ClassVar[str] = "unauthenticated"

    def __init__(self, message: str, challenge: str = "Bearer") -> None:
        self.challenge = challenge
        super().__init__(message)


class SignIn:
    """Turns a credential into a principal, with the roles that the directory gives them now."""

    def __init__(self, tokens: TokenStore, directory: Directory, oidc: OidcIssuer | None = None) -> None:
        self._tokens, self._directory, self._oidc = tokens, directory, oidc

    def principal_of(self, bearer: str) -> Principal:
        """Return whom an API token or an issuer's token stands for.

        Raises:
            Unauthenticated: if it proves nothing.
            Forbidden: if the issuer vouches for somebody whom the directory does not know, or no longer.
        """
        if self._oidc is not None and _is_jwt(bearer):
            return self._directory.principal_of_subject(
                self._oidc.subject_of(bearer), credential=f"oidc:{self._oidc.issuer}"
            )
        return self._tokens.authenticate(bearer)


def _is_jwt(bearer: str) -> bool:
    """Tell a JWT by its two dots; our tokens have none."""
    return bearer.count(".") == 2
