"""How deployments lie in SQL: one row each."""

from __future__ import annotations

import sqlalchemy as sa

from mlops_assets.kernel.errors import Conflict, NotFound
from mlops_assets.lifecycle.deployment.record import Deployment
from mlops_assets.lifecycle.deployment.states import State
from mlops_assets.storage.sql.tables import deployment

_FIELDS = tuple(Deployment.__dataclass_fields__)
_MOVING = ("state", "evidence_fingerprint", "checklist", "plan", "tier", "epoch", "updated_at")
_REMEDY = "`mlops deployments list` shows the ids."


def select(connection: sa.Connection, *where: sa.ColumnElement[bool], limit: int | None = None) -> list[Deployment]:
    """Return the deployments that meet every condition, oldest first."""
    statement = sa.select(deployment).where(*where).order_by(deployment.c.created_at, deployment.c.id).limit(limit)
    return [
        Deployment(**{**row, "state": State(row["state"])}) for row in connection.execute(statement).mappings().all()
    ]


def get(connection: sa.Connection, deployment_id: str) -> Deployment:
    """Return the deployment of that id.

    Raises:
        NotFound: if there is none.
    """
    found = select(connection, deployment.c.id == deployment_id)
    if not found:
        raise NotFound(kind="deployment", name=deployment_id, remedy=_REMEDY)
    return found[0]


def find(connection: sa.Connection, deployment_id: str) -> Deployment:
    """Return the one deployment whose id begins so.

    Raises:
        NotFound: if there is none.
        Conflict: if there are several.
    """
    found = (
        select(connection, deployment.c.id.startswith(deployment_id, autoescape=True), limit=2) if deployment_id else []
    )
    if not found:
        raise NotFound(kind="deployment", name=deployment_id, remedy=_REMEDY)
    if len(found) > 1:
        raise Conflict(f"several deployments begin with {deployment_id!r}; give more characters of the id. {_REMEDY}")
    return found[0]


def insert(connection: sa.Connection, one: Deployment) -> None:
    """Write a new deployment."""
    connection.execute(sa.insert(deployment).values({name: getattr(one, name) for name in _FIELDS}))


def update(connection: sa.Connection, one: Deployment) -> None:
    """Write where a deployment stands now."""
    values = {name: getattr(one, name) for name in _MOVING}
    connection.execute(sa.update(deployment).where(deployment.c.id == one.id).values(values))
