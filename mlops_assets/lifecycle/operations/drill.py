"""How long a rollback takes: rehearsed on a scratch copy, until the version of before has answered a prediction.

Only what can't be changed is real: the artifacts of the two versions, read and checked against their hashes, and the
published features. So a drill shows that the version of before can still be loaded and asked today, and it can't touch
who serves.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from mlops_assets.governance.rules import ApprovalRules
from mlops_assets.identity.access import AccessPolicy
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import NotFound
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.lifecycle.deployment.serving_store import ServingStore
from mlops_assets.lifecycle.operations.drill_stage import Stage
from mlops_assets.lifecycle.registry import ModelRegistry, ModelVersion
from mlops_assets.lifecycle.serving.served_features import ServedFeatures
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.storage.parquet.snapshots import SnapshotStore

DRILL_LIMIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillResult:
    """A rehearsal: from which version back to which, who answered next, and how long each part took."""

    later: int
    earlier: int
    is_one_version: bool
    answered_by: int
    rollback_seconds: float
    prediction_seconds: float
    symbol: str
    as_of: datetime

    @property
    def total_seconds(self) -> float:
        return self.rollback_seconds + self.prediction_seconds

    @property
    def is_passed(self) -> bool:
        return self.answered_by == self.earlier and self.total_seconds <= DRILL_LIMIT_SECONDS

    def __str__(self) -> str:
        source = f"a copy of version {self.earlier}, the only one" if self.is_one_version else f"version {self.later}"
        return (
            f"after the rollback from {source}, version {self.answered_by} answered the next prediction "
            f"{self.total_seconds * 1_000:.0f} ms after the command"
        )


class Drill:
    """Rehearses rollbacks."""

    def __init__(
        self,
        *,
        models: ModelRegistry,
        serving: ServingStore,
        features: ServedFeatures,
        snapshots: SnapshotStore,
        rules: ApprovalRules,
        access: AccessPolicy,
        clock: Clock,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._models, self._serving = models, serving
        self._features, self._snapshots = features, snapshots
        self._rules, self._access = rules, access
        self._clock, self._timer = clock, timer

    def run(self, spec: ModelSpec) -> DrillResult:
        """Rehearse the rollback of a model: promote two versions, predict, roll back and predict again.

        Raises:
            NotFound: if the model has no version, or no prediction to take a question from.
            PlatformError: if a step is refused, as the real one would be.
        """
        earlier, later = self._versions(spec.name)
        is_one_version = earlier == later
        if is_one_version:
            later = replace(
                earlier, version=earlier.version + 1, fingerprint=fingerprint(["copy", earlier.fingerprint])
            )
        symbol, as_of = self._question(spec)
        with tempfile.TemporaryDirectory(prefix="mlops-drill-") as folder:
            stage = Stage(
                Path(folder),
                spec,
                {one.version: one for one in (earlier, later)},
                self._models.load,
                self._features,
                rules=self._rules,
                access=self._access,
                clock=self._clock,
            )
            try:
                for one in (earlier, later):
                    stage.promote(one.version)
                stage.answering_version(symbol, as_of)
                began = self._timer()
                stage.roll_back()
                rolled_back = self._timer()
                answered_by = stage.answering_version(symbol, as_of)
                answered = self._timer()
            finally:
                stage.close()
        return DrillResult(
            later=later.version,
            earlier=earlier.version,
            is_one_version=is_one_version,
            answered_by=answered_by,
            rollback_seconds=rolled_back - began,
            prediction_seconds=answered - rolled_back,
            symbol=symbol,
            as_of=as_of,
        )

    def _versions(self, model: str) -> tuple[ModelVersion, ModelVersion]:
        """Return the champion of before and the champion where there are both, else the last two registered."""
        for head in self._serving.heads():
            if head.model != model or head.champion is None:
                continue
            before = [move.after.champion for move in self._serving.history(model, head.environment)]
            earlier = [slot for slot in before if slot is not None and slot.version != head.champion.version]
            if earlier:
                return self._models.get(model, earlier[-1].version), self._models.get(model, head.champion.version)
        known = self._models.list(model=model) or [self._models.latest(model)]
        return known[-2:][0], known[-1]

    def _question(self, spec: ModelSpec) -> tuple[str, datetime]:
        """Return a symbol and an instant at which its features were complete: those of the newest published row."""
        published = self._snapshots.head(spec.predictions)
        rows = self._snapshots.frame(published, ["symbol", "known_at"])
        if rows.is_empty():
            raise NotFound(kind="prediction", name=published.id, remedy=f"Materialise the asset {spec.predictions}.")
        symbol, as_of = rows.sort("known_at", "symbol", descending=[True, False]).row(0)
        return symbol, as_of
