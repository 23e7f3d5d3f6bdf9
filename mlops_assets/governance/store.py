"""Which approvals are asked for and decided: kept in SQL, every move with its ledger entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import sqlalchemy as sa

from mlops_assets.governance.approvals import Approval, Decision, State, Verdict, decide, has_expired, submit
from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import NotFound
from mlops_assets.kernel.fingerprint import Json
from mlops_assets.kernel.identity import Principal
from mlops_assets.storage.journal import Journal
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import approval, approval_decision


class ApprovalStore:
    """Requests and decisions. The primary key of a decision stops a second one by the same person."""

    def __init__(self, database: Database, journal: Journal, clock: Clock) -> None:
        self._database, self._journal, self._clock = database, journal, clock

    def submit(self, *, subject: str, evidence: Mapping[str, Json], author: Principal, quorum: int) -> Approval:
        """Ask for an approval. Asking again for the same evidence returns the request that is there.

        A request that expired unanswered is closed and asked for again in a new round.
        """
        now = self._clock.now()
        asked = submit(subject=subject, evidence=evidence, author=author, quorum=quorum, at=now)
        with self._database.begin() as connection:
            found = _newest_round(connection, asked)
            if found is not None and not has_expired(found, at=now) and found.state is not State.EXPIRED:
                return found
            if found is not None:
                self._expire(connection, found, actor=author.name)
                asked = submit(
                    subject=subject,
                    evidence=evidence,
                    author=author,
                    quorum=quorum,
                    at=now,
                    round_number=found.round + 1,
                )
            connection.execute(sa.insert(approval).values(_row(asked)))
            self._record(connection, asked, actor=author.name, action="approval.submit", before=None)
        return asked

    def decide(self, approval_id: str, *, approver: Principal, verdict: Verdict, note: str) -> Approval:
        """Record one verdict and return the request as it stands after it.

        Raises:
            NotFound: if there is no such request.
            Forbidden: if the approver may not decide on it.
            Conflict: if it is closed, expired, or already decided by this approver.
        """
        with self._database.begin() as connection:
            before = _found(connection, approval_id)
            after = decide(before, approver=approver, verdict=verdict, note=note, at=self._clock.now())
            connection.execute(
                sa.insert(approval_decision).values(
                    approval_id=approval_id,
                    approver=approver.name,
                    decision=verdict,
                    note=note,
                    at=after.decisions[-1].at,
                )
            )
            connection.execute(sa.update(approval).where(approval.c.id == approval_id).values(state=after.state))
            self._record(
                connection, after, actor=approver.name, action=f"approval.{verdict}", before=before.state, note=note
            )
        return after

    def get(self, approval_id: str) -> Approval:
        """Return one request.

        Raises:
            NotFound: if there is no such request.
        """
        with self._database.read() as connection:
            return _found(connection, approval_id)

    def list(self, *, state: State | None = None) -> list[Approval]:
        """Return the requests, oldest first."""
        statement = sa.select(approval.c.id).order_by(approval.c.submitted_at, approval.c.id)
        if state is not None:
            statement = statement.where(approval.c.state == state)
        with self._database.read() as connection:
            return [_found(connection, one) for one in connection.scalars(statement).all()]

    def _expire(self, connection: sa.Connection, request: Approval, *, actor: str) -> None:
        expired = replace(request, state=State.EXPIRED)
        connection.execute(sa.update(approval).where(approval.c.id == request.id).values(state=expired.state))
        self._record(connection, expired, actor=actor, action="approval.expire", before=request.state)

    def _record(
        self,
        connection: sa.Connection,
        request: Approval,
        *,
        actor: str,
        action: str,
        before: str | None,
        note: str = "",
    ) -> None:
        self._journal.append(
            connection,
            Change(
                actor=actor,
                action=action,
                subject=request.subject,
                after=request.evidence_fingerprint,
                reason=note,
                details={"approval": request.id, "state_before": before, "state_after": request.state},
            ),
        )


def _row(request: Approval) -> dict[str, object]:
    return {
        name: getattr(request, name)
        for name in (
            "id",
            "subject",
            "evidence",
            "evidence_fingerprint",
            "round",
            "state",
            "quorum",
            "author",
            "submitted_at",
            "expires_at",
        )
    }


def _found(connection: sa.Connection, approval_id: str) -> Approval:
    if (found := _load(connection, approval_id)) is None:
        raise NotFound(kind="approval", name=approval_id, remedy="`mlops approvals list` shows the open ones.")
    return found


def _newest_round(connection: sa.Connection, asked: Approval) -> Approval | None:
    statement = (
        sa.select(approval.c.id)
        .where(approval.c.subject == asked.subject, approval.c.evidence_fingerprint == asked.evidence_fingerprint)
        .order_by(approval.c.round.desc())
        .limit(1)
    )
    newest = connection.scalar(statement)
    return None if newest is None else _load(connection, newest)


def _load(connection: sa.Connection, approval_id: str) -> Approval | None:
    row = connection.execute(sa.select(approval).where(approval.c.id == approval_id)).mappings().one_or_none()
    if row is None:
        return None
    statement = (
        sa.select(approval_decision)
        .where(approval_decision.c.approval_id == approval_id)
        .order_by(approval_decision.c.at)
    )
    decisions = tuple(
        Decision(approver=one.approver, verdict=Verdict(one.decision), note=one.note, at=one.at)
        for one in connection.execute(statement)
    )
    return Approval(**{**row, "state": State(row["state"])}, decisions=decisions)
