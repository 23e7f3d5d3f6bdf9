"""How API tokens lie in SQL: one row each, without the secret; issuing and ending them with the ledger's entries."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from mlops_assets.identity.tokens import ApiToken
from mlops_assets.kernel.change import Change
from mlops_assets.storage.journal import Journal
from mlops_assets.storage.sql.tables import api_token as table


def select(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> list[ApiToken]:
    """Return the tokens that meet a condition, oldest first."""
    statement = sa.select(table).where(condition).order_by(table.c.issued_at, table.c.id)
    return [token_of(row) for row in connection.execute(statement).mappings()]


def insert(connection: sa.Connection, journal: Journal, token: ApiToken, *, sha256: str, reason: str) -> None:
    """Write a new token and its entry."""
    change = Change(
        actor=token.issued_by,
        action="token.issue",
        subject=f"tokens/{token.id}",
        after=token.fingerprint,
        reason=reason,
        details={
            "principal": token.principal,
            "scopes": sorted(token.scopes),
            "expires_at": token.expires_at.isoformat(),
            "issued_with": token.issued_with,
        },
    )
    row = {name: getattr(token, name) for name in ApiToken.__slots__}
    row |= {"scopes": sorted(token.scopes), "sha256": sha256}
    seq = journal.append(connection, change)
    connection.execute(sa.insert(table).values({**row, "ledger_seq": seq}))


def revoke(
    connection: sa.Connection, journal: Journal, token: ApiToken, *, by: str, at: datetime, reason: str
) -> ApiToken:
    """End a token and the sessions that were opened with it; one that has ended already stays as it is."""
    if token.revoked_at is not None:
        return token
    sessions = sa.and_(table.c.is_session, table.c.issued_with == token.credential)
    _end_live(connection, journal, sessions, by=by, at=at, reason=f"it was opened with {token.id}, which is revoked")
    after = replace(token, revoked_at=at)
    change = Change(
        actor=by,
        action="token.revoke",
        subject=f"tokens/{token.id}",
        before=token.fingerprint,
        after=after.fingerprint,
        reason=reason,
        details={"principal": token.principal},
    )
    seq = journal.append(connection, change)
    values = {"revoked_at": after.revoked_at, "ledger_seq": seq}
    connection.execute(sa.update(table).where(table.c.id == token.id).values(values))
    return after


def revoke_those_of(connection: sa.Connection, journal: Journal, name: str, *, by: str, at: datetime) -> None:
    """End every live token of a principal."""
    _end_live(connection, journal, table.c.principal == name, by=by, at=at, reason=f"{name} is deactivated")


def issuers_of(connection: sa.Connection, credential: str) -> list[str]:
    """Name who issued the token that a credential names: its owner, and before them who gave them their first.

    Somebody else among them has held a secret that acts in the owner's name. A credential of another kind has none.
    """
    issuers: list[str] = []
    kind, _, token_id = credential.partition(":")
    while kind == "token" and (found := select(connection, table.c.id == token_id)):
        issuers += [] if found[0].issued_by in issuers else [found[0].issued_by]
        if found[0].issued_by != found[0].principal:
            break
        kind, _, token_id = found[0].issued_with.partition(":")
    return issuers


def token_of(row: sa.RowMapping) -> ApiToken:
    """Return the token that a row holds."""
    values = {name: row[name] for name in ApiToken.__slots__}
    return ApiToken(**{**values, "scopes": frozenset(row["scopes"])})


def _end_live(
    connection: sa.Connection,
    journal: Journal,
    condition: sa.ColumnElement[bool],
    *,
    by: str,
    at: datetime,
    reason: str,
) -> None:
    live = select(connection, sa.and_(condition, table.c.revoked_at.is_(None), table.c.expires_at > at))
    for token in sorted(live, key=lambda one: not one.is_session):  # a session first: it ends with its token, once
        revoke(connection, journal, token, by=by, at=at, reason=reason)
