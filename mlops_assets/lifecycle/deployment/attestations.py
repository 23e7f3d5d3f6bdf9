"""What people attest of a version that no machine can show: their word, once, bound to the version's fingerprint."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import sqlalchemy as sa

from mlops_assets.governance.approvals import DutiesNotApart, plain_words
from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import Conflict, UnknownReference
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.lifecycle.deployment.checklist import ATTESTATIONS, Attested
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.storage.journal import Journal
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import attestation

ATTEST = "model.attest"


class Access(Protocol):
    """Which roles may do what."""

    def require(self, principal: Principal, action: str) -> Principal: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """One person's word. `credential` says how they proved who they are."""

    model: str
    version: int
    item: str
    principal: str
    version_fingerprint: str
    statement: str
    credential: str
    at: datetime
    ledger_seq: int

    def as_found(self) -> Attested:
        """Return it as the checklist counts it."""
        bound = fingerprint(
            {
                "version": self.version_fingerprint,
                "item": self.item,
                "principal": self.principal,
                "statement": self.statement,
                "at": self.at.isoformat(),
            }
        )
        return Attested(item=self.item, principal=self.principal, statement=self.statement, fingerprint=bound)


class Attestations:
    """Keeps attestations in SQL. Nobody's word on an item is ever changed; saying the same again changes nothing."""

    def __init__(self, database: Database, journal: Journal, clock: Clock, *, access: Access) -> None:
        self._database, self._journal, self._clock, self._access = database, journal, clock, access

    def attest(
        self, version: ModelVersion, item: str, *, by: Principal, statement: str, makers: Collection[str]
    ) -> Attestation:
        """Keep somebody's word on an item.

        Raises:
            Forbidden: if they may not, are no person, or had a hand in the version.
            UnknownReference: if people attest no such item.
            UnusableNote: without a statement.
            Conflict: if they said something else of it before.
        """
        self._access.require(by, ATTEST)
        if item not in ATTESTATIONS:
            raise UnknownReference(
                kind="item that people attest", name=item, known=ATTESTATIONS, asked_by=f"attestation of {version.id}"
            )
        if by.name in {version.created_by, *makers}:
            raise DutiesNotApart(
                f"{by.name} made {version.id} or a report on it and can't attest {item}. Ask somebody else."
            )
        if by.is_service or Role.SERVICE in by.roles:
            raise DutiesNotApart(f"{by.name} is a service; only people attest. Ask somebody who may.")
        said = plain_words(statement, what="statement", is_needed=True)
        with self._database.begin() as connection:
            own = [one for one in _select(connection, version) if (one.item, one.principal) == (item, by.name)]
            if own and own[0].statement != said:
                raise Conflict(
                    f"{by.name} attested {item} of {version.id} already: {own[0].statement!r}. A word stands; somebody "
                    "else may attest it too."
                )
            return own[0] if own else self._add(connection, version, item, by, said)

    def of(self, version: ModelVersion) -> list[Attestation]:
        """Return what was attested of exactly this version, oldest first."""
        with self._database.read() as connection:
            return _select(connection, version)

    def _add(
        self, connection: sa.Connection, version: ModelVersion, item: str, by: Principal, statement: str
    ) -> Attestation:
        at = self._clock.now()
        seq = self._journal.append(
            connection,
            Change(
                actor=by.name,
                action="attestation.add",
                subject=version.id,
                after=version.fingerprint,
                reason=statement,
                details={"item": item, "credential": by.credential},
            ),
        )
        row = {
            "model": version.model,
            "version": version.version,
            "item": item,
            "principal": by.name,
            "version_fingerprint": version.fingerprint,
            "statement": statement,
            "credential": by.credential,
            "at": at,
            "ledger_seq": seq,
        }
        connection.execute(sa.insert(attestation).values(row))
        return Attestation(**row)


def _select(connection: sa.Connection, version: ModelVersion) -> list[Attestation]:
    statement = (
        sa.select(attestation)
        .where(
            attestation.c.model == version.model,
            attestation.c.version == version.version,
            attestation.c.version_fingerprint == version.fingerprint,
        )
        .order_by(attestation.c.ledger_seq)
    )
    return [Attestation(**row) for row in connection.execute(statement).mappings()]
