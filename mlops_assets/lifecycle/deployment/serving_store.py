"""Who serves now, and who served when: the log of moves, whose newest row of a model and environment is the answer."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa

from mlops_assets.lifecycle.deployment.serving_moves import Action, Mode, Move, Serving, Slot
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import serving_move


class ServingStore:
    """Reads the log. Only deployments are moved, so only `Deployments` writes it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def now(self, model: str, environment: str) -> Serving:
        """Return who serves; where nobody ever did, epoch 0 and nobody."""
        with self._database.read() as connection:
            return head(connection, model, environment)

    def at(self, model: str, environment: str, when: datetime) -> Serving:
        """Return who served at an instant: from the instant of a move on, what it made."""
        with self._database.read() as connection:
            return _after(last_move(connection, model, environment, serving_move.c.at <= when), model, environment)

    def heads(self) -> list[Serving]:
        """Return who serves, of every model and environment that ever had a move."""
        newest = (
            sa.select(
                serving_move.c.model, serving_move.c.environment, sa.func.max(serving_move.c.epoch).label("epoch")
            )
            .group_by(serving_move.c.model, serving_move.c.environment)
            .subquery()
        )
        same = [serving_move.c[name] == newest.c[name] for name in ("model", "environment", "epoch")]
        statement = (
            sa.select(serving_move)
            .join(newest, sa.and_(*same))
            .order_by(serving_move.c.model, serving_move.c.environment)
        )
        with self._database.read() as connection:
            return [_move(row).after for row in connection.execute(statement).mappings()]

    def history(self, model: str, environment: str) -> list[Move]:
        """Return every move, oldest first."""
        with self._database.read() as connection:
            return moves(connection, model, environment)

    def of(self, deployments: Collection[str]) -> dict[str, list[Move]]:
        """Return by deployment the moves that name it, oldest first: its own, and those while it ran."""
        named = [serving_move.c[name].in_(deployments) for name in ("deployment_id", "champion_id", "challenger_id")]
        statement = sa.select(serving_move).where(sa.or_(*named)).order_by(serving_move.c.ledger_seq)
        found: dict[str, list[Move]] = {one: [] for one in deployments}
        with self._database.read() as connection:
            for row in connection.execute(statement).mappings() if deployments else ():
                for one in {row["deployment_id"], row["champion_id"], row["challenger_id"]} & found.keys():
                    found[one].append(_move(row))
        return found


def head(connection: sa.Connection, model: str, environment: str) -> Serving:
    """Return who serves, in the transaction of `connection`."""
    return _after(last_move(connection, model, environment), model, environment)


def last_move(connection: sa.Connection, model: str, environment: str, *where: sa.ColumnElement[bool]) -> Move | None:
    """Return the newest move, optionally of those that meet a condition."""
    statement = (
        sa.select(serving_move)
        .where(serving_move.c.model == model, serving_move.c.environment == environment, *where)
        .order_by(serving_move.c.epoch.desc())
        .limit(1)
    )
    row = connection.execute(statement).mappings().one_or_none()
    return None if row is None else _move(row)


def moves(connection: sa.Connection, model: str, environment: str) -> list[Move]:
    """Return every move, oldest first, in the transaction of `connection`."""
    statement = (
        sa.select(serving_move)
        .where(serving_move.c.model == model, serving_move.c.environment == environment)
        .order_by(serving_move.c.epoch)
    )
    return [_move(row) for row in connection.execute(statement).mappings()]


def append(connection: sa.Connection, move: Move) -> None:
    """Write a move; the database refuses one that does not follow the last."""
    after = move.after
    connection.execute(
        sa.insert(serving_move).values(
            model=after.model,
            environment=after.environment,
            epoch=after.epoch,
            action=move.action,
            deployment_id=move.deployment_id,
            champion_id=None if after.champion is None else after.champion.deployment_id,
            champion_version=None if after.champion is None else after.champion.version,
            challenger_id=None if after.challenger is None else after.challenger.deployment_id,
            challenger_version=None if after.challenger is None else after.challenger.version,
            challenger_mode=after.mode,
            challenger_slice=sa.null() if after.slice is None else dict(after.slice),
            at=move.at,
            actor=move.actor,
            reason=move.reason,
            ledger_seq=move.ledger_seq,
        )
    )


def _after(last: Move | None, model: str, environment: str) -> Serving:
    return Serving(model=model, environment=environment) if last is None else last.after


def _move(row: sa.RowMapping) -> Move:
    mode = row["challenger_mode"]
    after = Serving(
        model=row["model"],
        environment=row["environment"],
        epoch=row["epoch"],
        champion=_slot(row["champion_id"], row["champion_version"]),
        challenger=_slot(row["challenger_id"], row["challenger_version"]),
        mode=None if mode is None else Mode(mode),
        slice=row["challenger_slice"],
    )
    return Move(
        action=Action(row["action"]),
        deployment_id=row["deployment_id"],
        after=after,
        at=row["at"],
        actor=row["actor"],
        reason=row["reason"],
        ledger_seq=row["ledger_seq"],
    )


def _slot(deployment_id: str | None, version: int | None) -> Slot | None:
    return None if deployment_id is None or version is None else Slot(deployment_id=deployment_id, version=version)
