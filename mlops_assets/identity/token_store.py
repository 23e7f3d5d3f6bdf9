"""Which API tokens there are: issued once, kept as hashes, checked by one read, revoked at once."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa

from mlops_assets.identity import token_rows
from mlops_assets.identity.access import AccessPolicy, is_covered
from mlops_assets.identity.directory import Directory, record_of
from mlops_assets.identity.sign_in import Unauthenticated
from mlops_assets.identity.tokens import (
    DEFAULT_DAYS,
    SESSION,
    ApiToken,
    IssuedToken,
    checked_label,
    expiry,
    id_of,
    new_bearer,
    token_sha256,
)
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import Forbidden, NotFound
from mlops_assets.kernel.identity import EVERY_SCOPE, Principal
from mlops_assets.storage.journal import Journal
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import api_token as table
from mlops_assets.storage.sql.tables import principal


class TokenStore:
    """API tokens in SQL. Who has only the database has no token: it holds hashes."""

    def __init__(
        self, database: Database, journal: Journal, clock: Clock, *, access: AccessPolicy, directory: Directory
    ) -> None:
        self._database, self._journal, self._clock = database, journal, clock
        self._access, self._directory = access, directory

    def authenticate(self, bearer: str) -> Principal:
        """Return whom a token stands for, by one indexed read.

        Raises:
            Unauthenticated: if it is unknown, expired or revoked, or its principal is deactivated; the words are the
                same for all of these, so that they tell a stranger nothing.
        """
        statement = (
            sa.select(table, *(column.label(f"principal_{column.name}") for column in principal.columns))
            .join(principal, principal.c.name == table.c.principal)
            .where(table.c.sha256 == token_sha256(bearer))
        )
        with self._database.read() as connection:
            row = connection.execute(statement).mappings().one_or_none()
        token = None if row is None else token_rows.token_of(row)
        if row is None or token is None or not (token.is_live(self._clock.now()) and row["principal_is_active"]):
            raise Unauthenticated(
                "The token is not valid: it is unknown, expired or revoked, or its principal is deactivated. "
                "`mlops tokens list` shows which tokens are; an admin issues another with `mlops tokens issue NAME`. "
                "The operator's is in the file api_token of MLOPS_HOME, and `mlops up` renews it."
            )
        owner = record_of({name: row[f"principal_{name}"] for name in principal.columns.keys()})  # noqa: SIM118
        return owner.as_principal(scopes=token.scopes, credential=token.credential)

    def issue(
        self,
        name: str,
        *,
        by: Principal,
        scopes: Collection[str] | None = None,
        days: int = DEFAULT_DAYS,
        label: str = "",
    ) -> IssuedToken:
        """Issue a token for a principal; without `scopes`, with those of the issuer. The secret is never shown again.

        Raises:
            Forbidden: if it is for somebody else and the issuer does not manage principals, or has fewer scopes.
            InvalidToken: if it were to live too long.
        """
        self._require_for(name, by)
        asked = by.scopes if scopes is None else self._access.known_scopes(scopes, asked_by="a token")
        for scope in sorted(asked):
            if not is_covered(scope, by.scopes):
                raise Forbidden(
                    f"The scope {scope} is more than {by.name} has here: {', '.join(sorted(by.scopes))}. "
                    "A token never gets more than who issues it."
                )
        at = self._clock.now()
        bearer = new_bearer()
        token = ApiToken(
            id=id_of(bearer),
            principal=name,
            scopes=frozenset(asked),
            label=checked_label(label),
            issued_at=at,
            issued_by=by.name,
            issued_with=by.credential,
            expires_at=expiry(days, at=at),
        )
        with self._database.begin() as connection:
            self._directory.require_active(connection, name)
            token_rows.insert(connection, self._journal, token, sha256=token_sha256(bearer), reason=label)
        return IssuedToken(token=token, bearer=bearer)

    def open_session(self, bearer: str, *, name: str) -> IssuedToken:
        """Issue a token for some hours to who holds another: with its scopes, and not beyond its end.

        Raises:
            Unauthenticated: if that is no live token of theirs, or one that was issued so itself.
        """
        owner = self.authenticate(bearer)
        parent, at = self.find_bearer(bearer), self._clock.now()
        if parent is None or owner.name != name or parent.is_session:
            raise Unauthenticated("This token opens no session of that principal.")
        new = new_bearer()
        token = ApiToken(
            id=id_of(new),
            principal=name,
            scopes=parent.scopes,
            label="login",
            issued_at=at,
            issued_by=name,
            issued_with=parent.credential,
            is_session=True,
            expires_at=min(at + SESSION, parent.expires_at),
        )
        with self._database.begin() as connection:
            if not _is_live(connection, parent.id, at):
                raise Unauthenticated("That token was revoked just now.")
            token_rows.insert(
                connection, self._journal, token, sha256=token_sha256(new), reason=f"login with {parent.id}"
            )
        return IssuedToken(token=token, bearer=new)

    def revoke(self, token_id: str, *, by: Principal, reason: str = "") -> ApiToken:
        """End a token at once, and the sessions opened with it; one that has ended already stays as it is.

        Raises:
            NotFound: if no token has that id.
            Forbidden: if it is somebody else's and the caller does not manage principals.
        """
        self._require_for(self.get(token_id).principal, by)
        with self._database.begin() as connection:
            (token,) = token_rows.select(connection, table.c.id == token_id)
            return token_rows.revoke(connection, self._journal, token, by=by.name, at=self._clock.now(), reason=reason)

    def get(self, token_id: str) -> ApiToken:
        """Return what is kept of a token.

        Raises:
            NotFound: if no token has that id.
        """
        with self._database.read() as connection:
            found = token_rows.select(connection, table.c.id == token_id)
        if not found:
            raise NotFound(kind="token", name=token_id[:80], remedy="`mlops tokens list` shows the ids.")
        return found[0]

    def list(self, principal_name: str | None = None) -> list[ApiToken]:
        """Return the tokens of a principal or of everybody, oldest first; no secrets, nobody has those."""
        condition = sa.true() if principal_name is None else table.c.principal == principal_name
        with self._database.read() as connection:
            return token_rows.select(connection, condition)

    def issuers_of(self, credential: str) -> list[str]:
        """Name everybody who issued the token of a credential, or the one that it was issued with."""
        with self._database.read() as connection:
            return token_rows.issuers_of(connection, credential)

    def find_bearer(self, bearer: str) -> ApiToken | None:
        """Return what is kept of the token with that text, live or not."""
        with self._database.read() as connection:
            found = token_rows.select(connection, table.c.sha256 == token_sha256(bearer))
        return found[0] if found else None

    def adopt(self, bearer: str, *, name: str, label: str, reason: str) -> ApiToken:
        """Make the text of the operator's file a token of theirs, and the only one with that label.

        Text that is known already stays as it is. This asks nobody's permission: who calls it holds the file.
        """
        at = self._clock.now()
        token = ApiToken(
            id=id_of(bearer),
            principal=name,
            scopes=EVERY_SCOPE,
            label=checked_label(label),
            issued_at=at,
            issued_by=name,
            issued_with="file",
            expires_at=expiry(DEFAULT_DAYS, at=at),
        )
        with self._database.begin() as connection:
            if known := token_rows.select(connection, table.c.sha256 == token_sha256(bearer)):
                return known[0]
            token_rows.insert(connection, self._journal, token, sha256=token_sha256(bearer), reason=reason)
            for older in token_rows.select(connection, sa.and_(table.c.principal == name, table.c.label == label)):
                if older.id != token.id:
                    token_rows.revoke(
                        connection, self._journal, older, by=name, at=at, reason=f"replaced by {token.id}"
                    )
        return token

    def _require_for(self, name: str, by: Principal) -> None:
        self._access.require(by, "token.issue" if name == by.name else "principal.manage")


def _is_live(connection: sa.Connection, token_id: str, at: datetime) -> bool:
    return any(one.is_live(at) for one in token_rows.select(connection, table.c.id == token_id))
