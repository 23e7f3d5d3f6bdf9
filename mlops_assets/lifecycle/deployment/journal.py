"""How a change of deployments is written: rows, ledger entry, serving log and mirrors' copies in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import sqlalchemy as sa

from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.fingerprint import Json
from mlops_assets.kernel.identity import Principal
from mlops_assets.lifecycle.deployment import rows
from mlops_assets.lifecycle.deployment.record import Deployment
from mlops_assets.lifecycle.deployment.serving_moves import Action, Move, Serving
from mlops_assets.lifecycle.deployment.serving_store import append, head, last_move
from mlops_assets.lifecycle.mirrors import documents as mirrored
from mlops_assets.storage.failpoints import failpoint
from mlops_assets.storage.journal import Journal


class Outbox(Protocol):
    """Keeps the newest state of a document for the mirrors, in the transaction that changes it."""

    def put(self, connection: sa.Connection, kind: str, id: str, rev: int, document: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentJournal:
    """Writes changes; whether they may be is decided before."""

    journal: Journal
    clock: Clock
    outbox: Outbox | None = None

    def change(
        self,
        connection: sa.Connection,
        before: Deployment | None,
        *steps: Deployment,
        action: str,
        by: Principal,
        reason: str = "",
        details: Mapping[str, Json] | None = None,
    ) -> None:
        """Write the steps of a deployment that do not touch who serves: one entry says where they lead."""
        after = steps[-1]
        seq = self.journal.append(
            connection,
            Change(
                actor=by.name,
                action=action,
                subject=after.subject,
                before=None if before is None else before.evidence_fingerprint,
                after=after.evidence_fingerprint,
                reason=reason,
                details={
                    "deployment": after.id,
                    "state_before": None if before is None else before.state,
                    "state_after": after.state,
                    **(details or {}),
                },
            ),
        )
        if before is None:
            rows.insert(connection, steps[0])
        for one in steps if before is not None else steps[1:]:
            rows.update(connection, one)
        self._mirror(connection, seq, after)

    def move(
        self,
        connection: sa.Connection,
        action: Action,
        moved: Deployment,
        after: Serving,
        *,
        also: Sequence[Deployment] = (),
        ledger_action: str,
        by: Principal,
        reason: str,
    ) -> Move:
        """Write who serves from now on, and what became of `moved` and of `also`, the others that it concerns."""
        before = head(connection, after.model, after.environment)
        failpoint("serving.move.begun")
        seq = self.journal.append(
            connection,
            Change(
                actor=by.name,
                action=ledger_action,
                subject=moved.subject,
                before=before.fingerprint,
                after=after.fingerprint,
                reason=reason,
                details={
                    "deployment": moved.id,
                    "state_after": moved.state,
                    "also": {one.id: one.state for one in also},
                    "serving": after.as_json(),
                    "credential": by.credential,
                },
            ),
        )
        move = Move(
            action=action,
            deployment_id=moved.id,
            after=after,
            at=self._not_before_the_last(connection, after),
            actor=by.name,
            reason=reason,
            ledger_seq=seq,
        )
        append(connection, move)
        failpoint("serving.move.inserted")
        for one in (*also, moved):
            rows.update(connection, one)
        self._mirror(connection, seq, *also, moved)
        if self.outbox is not None:
            copy = mirrored.of_serving(after)
            self.outbox.put(connection, copy.kind, copy.id, seq, copy.document)
        failpoint("serving.move.before_commit")
        return move

    def _mirror(self, connection: sa.Connection, seq: int, *changed: Deployment) -> None:
        if self.outbox is not None:
            for copy in map(mirrored.of_deployment, changed):
                self.outbox.put(connection, copy.kind, copy.id, seq, copy.document)

    def _not_before_the_last(self, connection: sa.Connection, after: Serving) -> datetime:
        """Return the instant of a move: the log goes forward even where a machine's clock went back."""
        last, now = last_move(connection, after.model, after.environment), self.clock.now()
        return now if last is None else max(now, last.at)
