"""The directory: which principals there are. Every change leaves a ledger entry in its transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from mlops_assets.identity import principals, token_rows
from mlops_assets.identity.principals import (
    DAGSTER,
    Declared,
    Difference,
    Kind,
    ManagedBy,
    PrincipalRecord,
    read_principals,
    require_an_admin,
    require_unlike,
)
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import Conflict, Forbidden, NotFound, near_misses
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.storage.journal import Journal
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import principal as table

OPERATOR_ROLES = frozenset({Role.DATA_ENGINEER, Role.MLOPS, Role.QUANT, Role.ADMIN})

_REMEDY = "`mlops principals list` shows who there is."


class Directory:
    """Principals in SQL. A principal's row stays for ever: the ledger names them.

    `file` is the principals file of the settings, named where somebody whom it manages is to be changed by hand.
    """

    def __init__(self, database: Database, journal: Journal, clock: Clock, *, file: Path | None = None) -> None:
        self._database, self._journal, self._clock, self._file = database, journal, clock, file

    def principal(self, name: str, *, credential: str = "") -> Principal:
        """Return who acts under that name, with the roles of now.

        Raises:
            Forbidden: if nobody active has the name.
        """
        with self._database.read() as connection:
            return self.require_active(connection, name).as_principal(credential=credential)

    def require_active(self, connection: sa.Connection, name: str) -> PrincipalRecord:
        """Return a principal who may act, as the transaction of `connection` sees it.

        Raises:
            Forbidden: if nobody active has the name.
        """
        found = _find(connection, name)
        if found is None or not found.is_active:
            state = "is deactivated" if found else "is nobody's name"
            raise Forbidden(f"{name!r} {state}, so nothing is done as {name!r}. {_who_adds(name, found)}")
        return found

    def principal_of_subject(self, subject: str, *, credential: str) -> Principal:
        """Return whom the issuer means by `subject`.

        Raises:
            Forbidden: if that is nobody active.
        """
        with self._database.read() as connection:
            row = connection.execute(sa.select(table).where(table.c.oidc_subject == subject)).mappings().one_or_none()
        found = None if row is None else record_of(_plain(row))
        if found is None or not found.is_active:
            state = f"{found.name}, who is deactivated" if found else "nobody here"
            raise Forbidden(
                f"The issuer's subject {subject!r} means {state}. An admin adds it: "
                "`mlops principals add NAME --role ROLE --oidc-subject SUBJECT`, or in the principals file."
            )
        return found.as_principal(credential=credential)

    def get(self, name: str) -> PrincipalRecord:
        """Return a principal.

        Raises:
            NotFound: with near misses.
        """
        with self._database.read() as connection:
            return _found(_all(connection), name)

    def find(self, name: str) -> PrincipalRecord | None:
        """Return a principal, or None."""
        with self._database.read() as connection:
            return _find(connection, name)

    def list(self) -> list[PrincipalRecord]:
        """Return everybody, by name."""
        with self._database.read() as connection:
            return list(_all(connection).values())

    def add(self, declared: Declared, *, by: Principal, reason: str = "") -> PrincipalRecord:
        """Add a principal.

        Raises:
            Conflict: if the name, one too much like it, or the issuer's subject is taken.
        """
        with self._database.begin() as connection:
            present = _all(connection)
            if declared.name in present:
                state = "" if present[declared.name].is_active else ", deactivated; `mlops principals reactivate`"
                raise Conflict(f"{declared.name} is there already{state}. Nothing was changed.")
            require_unlike([declared], present.values())
            made = principals.add(declared, managed_by=ManagedBy.HAND, at=self._clock.now())
            return self._save(connection, [made], by=by.name, reason=reason)[-1].after

    def grant(self, name: str, roles: Collection[Role], *, by: Principal, reason: str = "") -> PrincipalRecord:
        """Give a principal roles; those held already change nothing."""
        return self._move(name, lambda one: principals.grant(one, roles, at=self._clock.now()), by=by, reason=reason)

    def take(self, name: str, roles: Collection[Role], *, by: Principal, reason: str = "") -> PrincipalRecord:
        """Take roles from a principal; those not held change nothing.

        Raises:
            Conflict: if no active admin would be left.
        """
        return self._move(name, lambda one: principals.take(one, roles, at=self._clock.now()), by=by, reason=reason)

    def set_roles(self, name: str, roles: Collection[Role], *, by: Principal, reason: str = "") -> PrincipalRecord:
        """Give and take until a principal has exactly these roles: all of it or nothing.

        Raises:
            Conflict: if no active admin would be left.
        """
        return self._change(
            name, lambda one: principals.set_roles(one, roles, at=self._clock.now()), by=by, reason=reason
        )

    def deactivate(self, name: str, *, by: Principal, reason: str = "") -> PrincipalRecord:
        """Let a principal act no more. Their tokens are revoked: coming back takes new ones.

        Raises:
            Conflict: if no active admin would be left.
        """
        return self._move(
            name, lambda one: principals.set_active(one, is_active=False, at=self._clock.now()), by=by, reason=reason
        )

    def reactivate(self, name: str, *, by: Principal, reason: str = "") -> PrincipalRecord:
        """Let a principal act again, with the roles they had; their tokens stay revoked."""
        return self._move(
            name, lambda one: principals.set_active(one, is_active=True, at=self._clock.now()), by=by, reason=reason
        )

    def differences(self, file: Path) -> Sequence[Difference]:
        """Return what would bring the directory to the principals file."""
        declared = read_principals(file)
        with self._database.read() as connection:
            return self._differences(_all(connection), declared)

    def apply(self, file: Path, *, by: Principal) -> Sequence[Difference]:
        """Bring the directory to the principals file, all of it or nothing, and return what was done.

        Raises:
            InvalidDeclaration: naming the file, the field and the remedy.
            Conflict: if no active admin would be left, or two principals would be mistaken for each other.
        """
        declared = read_principals(file)
        try:
            with self._database.begin() as connection:
                steps = self._differences(_all(connection), declared)
                return self._save(connection, steps, by=by.name, reason=f"principals file {file.name}")
        except IntegrityError as error:
            raise Conflict(
                f"{file}: an oidc_subject moves between two principals. Take it from the one first, apply, then "
                "give it to the other. Nothing was changed."
            ) from error

    def bootstrap(self, operator: str) -> bool:
        """Give an empty directory its operator and the service that Dagster runs act as; say whether it was empty."""
        first = (
            Declared(name=operator, kind=Kind.PERSON, roles=OPERATOR_ROLES, display_name="Operator"),
            Declared(name=DAGSTER, kind=Kind.SERVICE, roles=frozenset({Role.SERVICE}), display_name="Dagster runs"),
        )
        with self._database.begin() as connection:
            present = _all(connection)
            if present:
                return False
            require_unlike(first, ())
            at = self._clock.now()
            steps = [principals.add(one, managed_by=ManagedBy.HAND, at=at) for one in first]
            self._save(connection, steps, by=operator, reason="the directory was empty")
        return True

    def _differences(self, present: dict[str, PrincipalRecord], declared: Sequence[Declared]) -> list[Difference]:
        require_unlike(declared, [one for one in present.values() if one.name not in {new.name for new in declared}])
        return principals.differences(present, declared, at=self._clock.now())

    def _move(
        self, name: str, move: Callable[[PrincipalRecord], Difference | None], *, by: Principal, reason: str
    ) -> PrincipalRecord:
        def steps(before: PrincipalRecord) -> Sequence[Difference]:
            step = move(before)
            return () if step is None else (step,)

        return self._change(name, steps, by=by, reason=reason)

    def _change(
        self, name: str, steps_of: Callable[[PrincipalRecord], Sequence[Difference]], *, by: Principal, reason: str
    ) -> PrincipalRecord:
        with self._database.begin() as connection:
            before = _found(_all(connection), name)
            if before.managed_by is ManagedBy.FILE:
                file = self._file or "(MLOPS_PRINCIPALS_FILE is not set now)"
                raise Conflict(
                    f"{name} is managed by the principals file {file}. Change them there and run "
                    "`mlops principals apply`. Nothing was changed."
                )
            steps = steps_of(before)
            return self._save(connection, steps, by=by.name, reason=reason)[-1].after if steps else before

    def _save(
        self, connection: sa.Connection, steps: Sequence[Difference], *, by: str, reason: str
    ) -> Sequence[Difference]:
        before = _all(connection)
        after = before | {step.after.name: step.after for step in steps}
        require_an_admin(before.values(), after.values())
        for step in steps:
            seq = self._journal.append(connection, step.as_change(by=by, reason=reason))
            row = {**_row(step.after), "ledger_seq": seq}
            if step.before is None:
                connection.execute(sa.insert(table).values(row))
            else:
                connection.execute(sa.update(table).where(table.c.name == step.after.name).values(row))
            if not step.after.is_active:
                at = step.after.updated_at
                token_rows.revoke_those_of(connection, self._journal, step.after.name, by=by, at=at)
        return steps


def record_of(row: Mapping[str, Any]) -> PrincipalRecord:
    """Return the principal that a row holds."""
    return PrincipalRecord(
        name=row["name"],
        kind=Kind(row["kind"]),
        display_name=row["display_name"],
        email=row["email"],
        oidc_subject=row["oidc_subject"],
        roles=frozenset(Role(role) for role in row["roles"]),
        is_active=row["is_active"],
        managed_by=ManagedBy(row["managed_by"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _find(connection: sa.Connection, name: str) -> PrincipalRecord | None:
    row = connection.execute(sa.select(table).where(table.c.name == name)).mappings().one_or_none()
    return None if row is None else record_of(_plain(row))


def _plain(row: sa.RowMapping) -> dict[str, Any]:
    return {column.name: row[column.name] for column in table.columns}


def _row(record: PrincipalRecord) -> dict[str, object]:
    plain = {one.name: getattr(record, one.name) for one in fields(record)}
    return {
        **plain,
        "kind": record.kind.value,
        "managed_by": record.managed_by.value,
        "roles": sorted(role.value for role in record.roles),
    }


def _all(connection: sa.Connection) -> dict[str, PrincipalRecord]:
    rows = connection.execute(sa.select(table).order_by(table.c.name)).mappings()
    return {row["name"]: record_of(_plain(row)) for row in rows}


def _found(present: dict[str, PrincipalRecord], name: str) -> PrincipalRecord:
    if name in present:
        return present[name]
    near = near_misses(name, present)
    raise NotFound(
        kind="principal", name=name, remedy=f"Did you mean {' or '.join(map(repr, near))}?" if near else _REMEDY
    )


def _who_adds(name: str, found: PrincipalRecord | None) -> str:
    if found is not None:
        return f"An admin can reactivate them: `mlops principals reactivate {name}`."
    return f"An admin can add them: `mlops principals add NAME --role ROLE`; `mlops up` adds {DAGSTER!r} at first."
