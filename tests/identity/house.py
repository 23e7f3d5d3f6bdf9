"""A directory and its tokens on a temporary database, with a clock that a test moves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from mlops_assets.identity.access import AccessPolicy, load_access
from mlops_assets.identity.directory import Directory
from mlops_assets.identity.principals import Declared, Kind
from mlops_assets.identity.token_store import TokenStore
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.ledger.store import Ledger
from mlops_assets.settings import PACKAGE
from mlops_assets.storage.sql.database import Database

START = datetime(2024, 5, 2, 21, 30, tzinfo=UTC)
ACCESS = PACKAGE / "catalog" / "access.yaml"


@dataclass
class MovingClock:
    """Stands still until it is moved."""

    at: datetime = START

    def now(self) -> datetime:
        return self.at

    def move(self, **duration: float) -> None:
        self.at += timedelta(**duration)


class House:
    """The identity part of an installation; another House over the same folder is the same after a restart."""

    def __init__(self, folder: Path, clock: MovingClock | None = None, *, file: Path | None = None) -> None:
        self.folder, self.clock, self._file = folder, clock or MovingClock(), file

    @cached_property
    def database(self) -> Database:
        database = Database(f"sqlite:///{self.folder / 'platform.db'}")
        database.migrate()
        return database

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.database, self.clock)

    @cached_property
    def access(self) -> AccessPolicy:
        return load_access(ACCESS)

    @cached_property
    def directory(self) -> Directory:
        return Directory(self.database, self.ledger, self.clock, file=self._file)

    @cached_property
    def tokens(self) -> TokenStore:
        return TokenStore(self.database, self.ledger, self.clock, access=self.access, directory=self.directory)

    @property
    def root(self) -> Principal:
        """The operator, who may manage principals."""
        return self.directory.principal("operator")

    def add(self, name: str, *roles: Role, oidc_subject: str | None = None) -> Principal:
        return self.add_as(name, *roles, by="operator", oidc_subject=oidc_subject)

    def add_as(self, name: str, *roles: Role, by: str, oidc_subject: str | None = None) -> Principal:
        declared = Declared(name=name, kind=Kind.PERSON, roles=frozenset(roles), oidc_subject=oidc_subject)
        self.directory.add(declared, by=self.directory.principal(by))
        return self.directory.principal(name)

    def actions(self, subject: str | None = None) -> list[str]:
        return [entry.action for entry in self.ledger.entries(subject=subject)]


def house_in(folder: Path, *, file: Path | None = None) -> House:
    """Return a house whose directory has its operator and the service `dagster`."""
    made = House(folder, file=file)
    made.directory.bootstrap("operator")
    return made
