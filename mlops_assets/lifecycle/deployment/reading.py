"""Which deployments there are."""

from __future__ import annotations

from mlops_assets.lifecycle.deployment import rows
from mlops_assets.lifecycle.deployment.record import Deployment
from mlops_assets.lifecycle.deployment.states import DeploymentStatus, State, states_of
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import deployment


class DeploymentReader:
    """Answers about deployments."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, deployment_id: str) -> Deployment:
        """Return one deployment.

        Raises:
            NotFound: if there is no such deployment.
        """
        with self._database.read() as connection:
            return rows.get(connection, deployment_id)

    def find(self, prefix: str) -> Deployment:
        """Return the one deployment whose id begins so.

        Raises:
            NotFound: if there is none.
            Conflict: if there are several.
        """
        with self._database.read() as connection:
            return rows.find(connection, prefix)

    def list(
        self,
        *,
        model: str | None = None,
        environment: str | None = None,
        status: DeploymentStatus | None = None,
        state: State | None = None,
    ) -> list[Deployment]:
        """Return deployments, oldest first, optionally of one model, environment, status or state."""
        wanted = (
            (deployment.c.model, model),
            (deployment.c.environment, environment),
            (deployment.c.state, state),
        )
        where = [column == value for column, value in wanted if value is not None]
        if status is not None:
            where.append(deployment.c.state.in_(states_of(status)))
        with self._database.read() as connection:
            return rows.select(connection, *where)
