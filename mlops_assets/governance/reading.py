"""What waits, what was decided and what stands: reading requests for approval, judged by the rules of now."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import sqlalchemy as sa

from mlops_assets.governance import rows
from mlops_assets.governance.approvals import has_expired, needed
from mlops_assets.governance.evidence import Evidence
from mlops_assets.governance.spec import Approval, Decision, Override
from mlops_assets.governance.standing import Holds, Standing, judge
from mlops_assets.governance.transitions import LIVE, WAITING, State
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import Conflict, Forbidden, NotFound
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import approval

DECIDE, OVERRIDE = "approval.decide", "approval.override"
_ID = re.compile(r"[0-9a-f]{1,64}")
_REMEDY = "`mlops approvals list` shows the ids."


class Access(Protocol):
    """Which roles may do what."""

    def allows(self, principal: Principal, action: str) -> bool: ...

    def require(self, principal: Principal, action: str) -> Principal: ...


class People(Protocol):
    """Who there is; Forbidden for a name that is unknown or not active."""

    def principal(self, name: str) -> Principal: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A request that waits for a decision, how long it has, and what it still needs."""

    approval: Approval
    age: timedelta
    due_at: datetime
    is_overdue: bool
    needed: str


class ApprovalReader:
    """Answers about requests; whether a verdict still counts is asked anew each time."""

    def __init__(self, database: Database, clock: Clock, *, access: Access, directory: People) -> None:
        self._database, self._clock = database, clock
        self._access, self._directory = access, directory

    def get(self, approval_id: str) -> Approval:
        """Return one request.

        Raises:
            NotFound: if there is no such request.
        """
        with self._database.read() as connection:
            return found_in(connection, approval_id)

    def find(self, prefix: str) -> Approval:
        """Return the one request whose id begins so.

        Raises:
            NotFound: if there is none.
            Conflict: if there are several.
        """
        found: Sequence[Approval] = ()
        if _ID.fullmatch(prefix):
            with self._database.read() as connection:
                found = rows.select(connection, approval.c.id.startswith(prefix), limit=2)
        if not found:
            raise NotFound(kind="approval", name=prefix, remedy=_REMEDY)
        if len(found) > 1:
            raise Conflict(f"several approvals begin with {prefix!r}; give more characters of the id. {_REMEDY}")
        return found[0]

    def list(
        self,
        *,
        state: State | None = None,
        subject: str | None = None,
        is_live: bool | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> list[Approval]:
        """Return requests, oldest first, optionally of one state or subject, or those that are live or closed.

        `after` continues a page: only requests behind the one with that id.
        """
        where: list[sa.ColumnElement[bool]] = []
        if state is not None:
            where.append(approval.c.state == state)
        if is_live is not None:
            where.append(approval.c.state.in_([one for one in State if (one in LIVE) == is_live]))
        if subject is not None:
            where.append(approval.c.subject == subject)
        if after is not None:
            last = self.get(after)
            where.append(
                sa.tuple_(approval.c.created_at, approval.c.id)
                > sa.tuple_(sa.literal(last.created_at, approval.c.created_at.type), sa.literal(last.id))
            )
        with self._database.read() as connection:
            return rows.select(connection, *where, limit=limit)

    def of_evidence(self, fingerprints: Collection[str]) -> dict[str, Approval]:
        """Return by the fingerprint of its evidence the newest request for it."""
        with self._database.read() as connection:
            found = rows.select(
                connection, approval.c.evidence_fingerprint.in_(fingerprints), order=(approval.c.round,)
            )
        return {one.evidence_fingerprint: one for one in found}

    def queue(self) -> list[Waiting]:
        """Return what waits for a decision: what is overdue first, then what is due first."""
        now = self._clock.now()
        with self._database.read() as connection:
            open_ones = rows.select(connection, approval.c.state.in_(WAITING))
        found = [
            Waiting(
                approval=one,
                age=now - one.submitted_at,
                due_at=one.due_at,
                is_overdue=now >= one.due_at,
                needed=needed(one, holds=self.holds.decision).words,
            )
            for one in open_ones
            if one.submitted_at is not None and one.due_at is not None and not has_expired(one, at=now)
        ]
        return sorted(found, key=lambda one: (one.due_at, one.approval.id))

    def standing(self, subject: str, evidence: Evidence) -> Standing:
        """Say whether a subject is approved now for exactly this evidence, and if not, why. It changes nothing.

        Raises:
            IntegrityViolation: if the evidence stored with the approval was changed.
        """
        with self._database.read() as connection:
            return self.standing_within(connection, subject, evidence)

    @property
    def holds(self) -> Holds:
        return Holds(decision=self._still_decides, override=self._still_overrides)

    def _still_decides(self, decision: Decision) -> bool:
        return (
            decision.capacity is not None
            and decision.capacity in self.roles_of(DECIDE)
            and decision.capacity in self._roles_now(decision.approver)
        )

    def _still_overrides(self, own: Override) -> bool:
        return bool(self._roles_now(own.principal) & self.roles_of(OVERRIDE))

    def _roles_now(self, name: str) -> frozenset[Role]:
        try:
            found = self._directory.principal(name)
        except (Forbidden, NotFound):
            return frozenset()
        return frozenset() if found.is_service else found.roles

    def roles_of(self, action: str) -> frozenset[Role]:
        alone = {role: Principal(name="anybody", roles=frozenset({role})) for role in Role}
        return frozenset(role for role, anybody in alone.items() if self._access.allows(anybody, action))

    def newest_within(self, connection: sa.Connection, subject: str, evidence_fingerprint: str) -> Approval | None:
        """Return the newest request for exactly that evidence, in the transaction of `connection`."""
        found = rows.select(
            connection,
            approval.c.subject == subject,
            approval.c.evidence_fingerprint == evidence_fingerprint,
            order=(approval.c.round,),
        )
        return found[-1] if found else None

    def is_over(self, request: Approval) -> bool:
        return has_expired(request, at=self._clock.now())

    def standing_within(self, connection: sa.Connection, subject: str, evidence: Evidence) -> Standing:
        """Say the same in the transaction of `connection`: nothing changes between the answer and what follows it."""
        requests = rows.select(
            connection, approval.c.subject == subject, order=(approval.c.round, approval.c.created_at)
        )
        return judge(
            subject,
            evidence,
            requests,
            holds=self.holds,
            has_expired=self.is_over,
            recorded=lambda one: rows.recorded_fingerprint(connection, one),
        )


def found_in(connection: sa.Connection, approval_id: str) -> Approval:
    """Return one request in the transaction of `connection`.

    Raises:
        NotFound: if there is no such request.
    """
    if (found := rows.find(connection, approval_id)) is None:
        raise NotFound(kind="approval", name=approval_id, remedy=_REMEDY)
    return found
