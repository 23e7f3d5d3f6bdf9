"""Who there is: people and services, their roles, and what changes them. Pure: the directory reads and writes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict

from mlops_assets.kernel.change import Change
from mlops_assets.kernel.declaration import parse_declaration
from mlops_assets.kernel.errors import Conflict, InvalidDeclaration, PlatformError, UnknownReference
from mlops_assets.kernel.fingerprint import Json, fingerprint
from mlops_assets.kernel.identity import EVERY_SCOPE, Principal, Role
from mlops_assets.kernel.strict_yaml import read_file

DAGSTER = "dagster"
"""The service that Dagster runs act as when nobody launched them by name."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,199}")
_LONGEST = {"display_name": 200, "email": 320, "oidc_subject": 255}


class InvalidPrincipal(PlatformError):
    """What is said of a principal can't be kept."""

    code: ClassVar[str] = "invalid_principal"


class Kind(StrEnum):
    """A person decides; a service does what it was set up for."""

    PERSON = "person"
    SERVICE = "service"


class ManagedBy(StrEnum):
    """Where a principal is changed: by commands and routes, or in the principals file alone."""

    HAND = "hand"
    FILE = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What is said of a principal: an entry of the principals file, or the arguments of a command."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    kind: Kind
    roles: frozenset[Role]
    display_name: str = ""
    email: str = ""
    oidc_subject: str | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidPrincipal(
                f"name {self.name[:250]!r} is not usable: write up to 200 of the letters a to z, digits and . - _ @ :, "
                "beginning with a letter or digit."
            )
        for what, longest in _LONGEST.items():
            said = getattr(self, what)
            if said is not None and (len(said) > longest or not said.isprintable()):
                raise InvalidPrincipal(f"{what} of {self.name}: write up to {longest} printable characters.")
        if self.oidc_subject == "":
            raise InvalidPrincipal(f"oidc_subject of {self.name} is empty: leave it out, or say whom the issuer means.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipalRecord:
    """A person or a service as the directory keeps it."""

    name: str
    kind: Kind
    display_name: str
    email: str
    oidc_subject: str | None
    roles: frozenset[Role]
    is_active: bool
    managed_by: ManagedBy
    created_at: datetime
    updated_at: datetime

    @property
    def is_admin(self) -> bool:
        return self.is_active and Role.ADMIN in self.roles

    def as_principal(self, *, scopes: frozenset[str] = EVERY_SCOPE, credential: str = "") -> Principal:
        """Return who acts, with the roles of now."""
        is_service = self.kind is Kind.SERVICE
        return Principal(name=self.name, roles=self.roles, scopes=scopes, credential=credential, is_service=is_service)

    @property
    def fingerprint(self) -> str:
        return fingerprint(
            {
                "name": self.name,
                "kind": self.kind.value,
                "display_name": self.display_name,
                "email": self.email,
                "oidc_subject": self.oidc_subject,
                "roles": sorted(self.roles),
                "is_active": self.is_active,
                "managed_by": self.managed_by.value,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One step from what the directory holds to what it should: the record after it and what the ledger says."""

    action: str
    before: PrincipalRecord | None
    after: PrincipalRecord
    details: Mapping[str, Json] = field(default_factory=dict[str, Json])

    @property
    def words(self) -> str:
        said = "; ".join(f"{name}: {_words(value)}" for name, value in self.details.items())
        return f"{self.action} {self.after.name}" + (f" ({said})" if said else "")

    def as_change(self, *, by: str, reason: str) -> Change:
        """Return the ledger's account of it. Names and addresses of people stay out: the ledger never forgets."""
        return Change(
            actor=by,
            action=self.action,
            subject=f"principals/{self.after.name}",
            before=None if self.before is None else self.before.fingerprint,
            after=self.after.fingerprint,
            reason=reason,
            details=self.details,
        )


def add(declared: Declared, *, managed_by: ManagedBy, at: datetime) -> Difference:
    """Make a principal that is not there yet."""
    after = PrincipalRecord(
        name=declared.name,
        kind=declared.kind,
        display_name=declared.display_name,
        email=declared.email,
        oidc_subject=declared.oidc_subject,
        roles=declared.roles,
        is_active=True,
        managed_by=managed_by,
        created_at=at,
        updated_at=at,
    )
    details: dict[str, Json] = {"kind": after.kind.value, "roles": sorted(after.roles), "managed_by": managed_by.value}
    return Difference(action="principal.add", before=None, after=after, details=details)


def grant(before: PrincipalRecord, roles: Collection[Role], *, at: datetime) -> Difference | None:
    """Give roles; None where all of them are held already."""
    given = frozenset(roles) - before.roles
    after = replace(before, roles=before.roles | given, updated_at=at)
    return _step("principal.grant", before, after, {"roles": sorted(given)}) if given else None


def take(before: PrincipalRecord, roles: Collection[Role], *, at: datetime) -> Difference | None:
    """Take roles away; None where none of them is held."""
    taken = frozenset(roles) & before.roles
    after = replace(before, roles=before.roles - taken, updated_at=at)
    return _step("principal.take", before, after, {"roles": sorted(taken)}) if taken else None


def set_roles(before: PrincipalRecord, roles: Collection[Role], *, at: datetime) -> list[Difference]:
    """Take what is not among the roles, then give what is missing: at most one step each."""
    wanted = frozenset(roles)
    return _in_turn(before, lambda one: take(one, one.roles - wanted, at=at), lambda one: grant(one, wanted, at=at))


def set_active(before: PrincipalRecord, *, is_active: bool, at: datetime) -> Difference | None:
    """Deactivate or reactivate; None where nothing changes."""
    action = "principal.reactivate" if is_active else "principal.deactivate"
    after = replace(before, is_active=is_active, updated_at=at)
    return None if before.is_active == is_active else _step(action, before, after, {})


def differences(
    present: Mapping[str, PrincipalRecord], declared: Iterable[Declared], *, at: datetime
) -> list[Difference]:
    """Return what brings the directory to the principals file, one step a change, in the file's order.

    Who was managed by the file and is gone from it is deactivated; who is managed by hand is left alone.
    """
    wanted = {one.name: one for one in declared}
    steps: list[Difference] = []
    for name, one in wanted.items():
        before = present.get(name)
        steps += [add(one, managed_by=ManagedBy.FILE, at=at)] if before is None else _brought_to(before, one, at=at)
    for name, record in present.items():
        if record.managed_by is ManagedBy.FILE and name not in wanted:
            gone = set_active(record, is_active=False, at=at)
            steps += [gone] if gone is not None else []
    return steps


def _brought_to(before: PrincipalRecord, wanted: Declared, *, at: datetime) -> list[Difference]:
    # Roles go before the principal comes back, so that no moment has more than the file says.
    return _in_turn(
        before,
        lambda one: _edit(one, wanted, at=at),
        lambda one: take(one, one.roles - wanted.roles, at=at),
        lambda one: grant(one, wanted.roles, at=at),
        lambda one: set_active(one, is_active=True, at=at),
    )


def _in_turn(before: PrincipalRecord, *moves: Callable[[PrincipalRecord], Difference | None]) -> list[Difference]:
    """Return the steps that change something, each from where the one before it led."""
    steps: list[Difference] = []
    for move in moves:
        step = move(steps[-1].after if steps else before)
        steps += [] if step is None else [step]
    return steps


def _edit(before: PrincipalRecord, wanted: Declared, *, at: datetime) -> Difference | None:
    after = replace(
        before,
        kind=wanted.kind,
        display_name=wanted.display_name,
        email=wanted.email,
        oidc_subject=wanted.oidc_subject,
        managed_by=ManagedBy.FILE,
    )
    changed = [one.name for one in fields(after) if getattr(after, one.name) != getattr(before, one.name)]
    return _step("principal.edit", before, replace(after, updated_at=at), {"changed": changed}) if changed else None


def require_an_admin(before: Iterable[PrincipalRecord], after: Iterable[PrincipalRecord]) -> None:
    """Refuse a change that leaves nobody who can manage principals.

    Raises:
        Conflict: if there was an active admin and there is none after it.
    """
    if any(one.is_admin for one in before) and not any(one.is_admin for one in after):
        raise Conflict(
            "No active admin would be left, and nobody could manage principals any more. Nothing was changed. "
            "Give the role admin to somebody else first."
        )


def require_unlike(declared: Iterable[Declared], present: Iterable[PrincipalRecord]) -> None:
    """Refuse names that differ in upper and lower case alone, and an issuer's subject that means two principals.

    Raises:
        Conflict: naming both.
    """
    names = {one.name.casefold(): one.name for one in present}
    subjects = {one.oidc_subject: one.name for one in present if one.oidc_subject}
    for one in declared:
        if names.setdefault(one.name.casefold(), one.name) != one.name:
            raise Conflict(f"{one.name} and {names[one.name.casefold()]} would be mistaken for each other. Rename one.")
        if one.oidc_subject and subjects.setdefault(one.oidc_subject, one.name) != one.name:
            raise Conflict(
                f"oidc_subject {one.oidc_subject!r} of {one.name} means {subjects[one.oidc_subject]} already."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    __pydantic_config__ = ConfigDict(extra="forbid")

    principals: tuple[Declared, ...]


def read_principals(file: Path) -> tuple[Declared, ...]:
    """Read the principals file: a list below `principals`.

    Raises:
        InvalidDeclaration: naming file, field and remedy.
    """
    content = read_file(file, remedy="Correct MLOPS_PRINCIPALS_FILE, or the file.")
    try:
        declared = parse_declaration(_Content, content, file).principals
    except InvalidPrincipal as error:
        raise InvalidDeclaration(file=file, field="principals", problem=str(error), remedy="Correct it.") from error
    twice = [name for name, count in Counter(one.name for one in declared).items() if count > 1]
    if twice:
        raise InvalidDeclaration(
            file=file, field="principals", problem=f"{twice[0]} appears twice", remedy="Keep one of them."
        )
    return declared


def roles_of(names: Iterable[str], *, asked_by: str) -> frozenset[Role]:
    """Return the roles by their names.

    Raises:
        UnknownReference: naming the first that is none, and near misses.
    """
    asked = frozenset(names)
    for name in sorted(asked - set(Role)):
        raise UnknownReference(kind="role", name=name, known=Role, asked_by=asked_by, field="roles")
    return frozenset(Role(name) for name in asked)


def _step(action: str, before: PrincipalRecord, after: PrincipalRecord, details: Mapping[str, Json]) -> Difference:
    return Difference(action=action, before=before, after=after, details=details)


def _words(value: Json) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
