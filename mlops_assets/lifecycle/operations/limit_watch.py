"""Where a deployment that runs stands towards its limits now: from its health and from how its orders compare.

Errors and latencies count for the last minutes, and never from before it began to run. Orders count since the newer of
champion and challenger began, and only if they are of who runs now: what a shadow did beside an earlier champion says
nothing of today. They are measured in one environment of a model: where a challenger began last, else a champion.
"""

from __future__ import annotations

from datetime import timedelta

from mlops_assets.kernel.clock import Clock
from mlops_assets.lifecycle.deployment.record import Deployment
from mlops_assets.lifecycle.deployment.serving_moves import Serving, Slot
from mlops_assets.lifecycle.deployment.serving_store import ServingStore
from mlops_assets.lifecycle.operations.comparison import is_of, measured, running_since, shadow_dataset
from mlops_assets.lifecycle.operations.limits import Finding, breaches_in, findings, limits_of
from mlops_assets.lifecycle.serving.health import HealthStore
from mlops_assets.storage.parquet.snapshots import SnapshotStore

HEALTH_WINDOW = timedelta(minutes=15)


class LimitWatch:
    """Measures deployments. It decides nothing."""

    def __init__(self, serving: ServingStore, health: HealthStore, snapshots: SnapshotStore, clock: Clock) -> None:
        self._serving, self._health = serving, health
        self._snapshots, self._clock = snapshots, clock

    def breaches(self, deployment: Deployment) -> list[str]:
        """Say which limits a deployment passes now, in words; nothing if it does not run.

        Raises:
            NoLimits: if it was approved without any.
        """
        head = self._serving.now(deployment.model, deployment.environment)
        if Slot(deployment_id=deployment.id, version=deployment.model_version) not in (head.champion, head.challenger):
            return []
        return [str(one) for one in breaches_in(self.findings(head, deployment))]

    def findings(self, head: Serving, deployment: Deployment) -> list[Finding]:
        """Say of each limit of a deployment that runs where it stands.

        Raises:
            NoLimits: if it was approved without any.
        """
        limits = limits_of(deployment)
        slot = Slot(deployment_id=deployment.id, version=deployment.model_version)
        began = running_since(self._serving.history(head.model, head.environment), slot)
        health = self._health.of(slot.deployment_id, since=max(began, self._clock.now() - HEALTH_WINDOW))
        compared = self._snapshots.find_head(shadow_dataset(head.model))
        figures = compared.details if compared is not None and is_of(compared.details, head) else {}
        return findings(measured(figures, slot.deployment_id, health), limits)
