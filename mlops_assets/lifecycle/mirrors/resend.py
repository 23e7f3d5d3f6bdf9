"""Sending everything to a mirror again, also what was there before anything was mirrored."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from mlops_assets.kernel.change import Change
from mlops_assets.kernel.identity import Principal
from mlops_assets.lifecycle.deployment import rows as deployment_rows
from mlops_assets.lifecycle.deployment.serving_moves import Serving
from mlops_assets.lifecycle.deployment.serving_store import ServingStore
from mlops_assets.lifecycle.mirrors.documents import Mirrored, of_deployment, of_serving, of_version
from mlops_assets.lifecycle.registry import ModelRegistry
from mlops_assets.storage.journal import Journal
from mlops_assets.storage.mirror.outbox import MirrorOutbox
from mlops_assets.storage.mirror.target import MirrorTarget
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import ledger_entry, serving_move

RESEND = "mirror.resend"
_FIRST_REV = 1
"""The revision of what no entry of the ledger is about."""


class MirrorResend:
    """Puts every version, deployment and serving state into the outbox as it stands, and makes all of it due."""

    def __init__(
        self, database: Database, journal: Journal, outbox: MirrorOutbox, models: ModelRegistry, serving: ServingStore
    ) -> None:
        self._database, self._journal, self._outbox = database, journal, outbox
        self._models, self._serving = models, serving

    def resend(self, target: MirrorTarget, *, by: Principal) -> int:
        """Make everything due for one mirror and return how many documents there are.

        Writers wait until it is done, so that nothing older than what they put is put after them.
        """
        with self._database.begin() as connection:
            known = list(self._everything(connection))
            for rev, one in known:
                self._outbox.put(connection, one.kind, one.id, rev, one.document)
            self._outbox.reset(connection, target.name)
            self._journal.append(
                connection,
                Change(
                    actor=by.name, action=RESEND, subject=f"mirrors/{target.name}", details={"documents": len(known)}
                ),
            )
        target.forget()
        return len(known)

    def _everything(self, connection: sa.Connection) -> Iterator[tuple[int, Mirrored]]:
        for version in self._models.list():
            yield _newest_entry(connection, version.id), of_version(version)
        for deployment in deployment_rows.select(connection):
            yield _newest_entry(connection, deployment.subject), of_deployment(deployment)
        for serving in self._serving.heads():
            yield _entry_of_move(connection, serving), of_serving(serving)


def _newest_entry(connection: sa.Connection, subject: str) -> int:
    newest = sa.select(sa.func.max(ledger_entry.c.seq)).where(ledger_entry.c.subject == subject)
    return connection.scalar(newest) or _FIRST_REV


def _entry_of_move(connection: sa.Connection, serving: Serving) -> int:
    of_head = [serving_move.c[name] == getattr(serving, name) for name in ("model", "environment", "epoch")]
    return connection.execute(sa.select(serving_move.c.ledger_seq).where(*of_head)).scalar_one()
