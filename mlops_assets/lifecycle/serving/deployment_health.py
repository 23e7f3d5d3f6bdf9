"""How deployments did in the last day, judged by the limits of their plans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from mlops_assets.kernel.clock import Clock
from mlops_assets.lifecycle.deployment.record import Deployment
from mlops_assets.lifecycle.operations.limits import NoLimits, limits_of
from mlops_assets.lifecycle.serving.health import HealthStatus, HealthStore, ServingHealth, health_status

SHOWN = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A deployment's health, and what its limits say of it; None if nothing was asked of it, or it has no limits."""

    health: ServingHealth
    status: HealthStatus | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentHealth:
    """Reads health for pages."""

    store: HealthStore
    clock: Clock

    def of(self, deployments: Sequence[Deployment]) -> dict[str, Judged]:
        """Return the health of each deployment by its id."""
        found = self.store.of_each([one.id for one in deployments], self.clock.now() - SHOWN)
        return {one.id: Judged(health=found[one.id], status=_status(one, found[one.id])) for one in deployments}


def _status(deployment: Deployment, health: ServingHealth) -> HealthStatus | None:
    try:
        return health_status(health, limits_of(deployment))
    except NoLimits:
        return None
