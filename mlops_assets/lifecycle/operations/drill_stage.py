"""A stage for rehearsals: deployments, approvals and people of its own in a scratch database, the real rules and
artifacts. Whatever is done on it, nothing real moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from mlops_assets.governance.rules import ApprovalRules
from mlops_assets.governance.spec import Verdict
from mlops_assets.governance.store import ApprovalStore
from mlops_assets.governance.transitions import State as ApprovalState
from mlops_assets.identity.access import AccessPolicy
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.ledger.store import Ledger
from mlops_assets.lifecycle.deployment.checklist import Checklist, Item, ItemStatus
from mlops_assets.lifecycle.deployment.deployments import Deployments, Surroundings
from mlops_assets.lifecycle.deployment.evidence import Gathered
from mlops_assets.lifecycle.deployment.serving_store import ServingStore
from mlops_assets.lifecycle.deployment.states import State
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.lifecycle.serving.health import HealthStore
from mlops_assets.lifecycle.serving.loaded_models import LoadedModels
from mlops_assets.lifecycle.serving.request_recorder import RequestRecorder
from mlops_assets.lifecycle.serving.served_features import ServedFeatures
from mlops_assets.lifecycle.serving.service import PredictionService
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import model_version

_WHY = "rehearsal"
_ROLES = frozenset({Role.MLOPS, Role.QUANT, Role.COMPLIANCE})
_CAST = {name: Principal(name=name, roles=_ROLES) for name in ("asker", "first", "second", "third")}

ASKER = _CAST["asker"]
"""Who asks, promotes and rolls back; the others decide."""


class _Directory:
    """Who there is on the stage."""

    def principal(self, name: str) -> Principal:
        return _CAST[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Versions:
    """The versions on the stage, with their real artifacts."""

    by_number: Mapping[int, ModelVersion]
    artifact: Callable[[ModelVersion], bytes]

    def get(self, model: str, version: int) -> ModelVersion:
        return self.by_number[version]

    def load(self, version: ModelVersion) -> bytes:
        return self.artifact(version)


class Stage:
    """Deploys versions for nobody. Close it before its folder goes."""

    def __init__(
        self,
        folder: Path,
        spec: ModelSpec,
        versions: Mapping[int, ModelVersion],
        artifact: Callable[[ModelVersion], bytes],
        features: ServedFeatures,
        *,
        rules: ApprovalRules,
        access: AccessPolicy,
        clock: Clock,
    ) -> None:
        self._spec, self._versions = spec, versions
        self._database = Database(f"sqlite:///{folder / 'stage.db'}")
        self._database.migrate()
        names = ModelVersion.__dataclass_fields__
        with self._database.begin() as connection:
            rows = [{name: getattr(one, name) for name in names} for one in versions.values()]
            connection.execute(sa.insert(model_version), rows)
        ledger = Ledger(self._database, clock)
        self._approvals = ApprovalStore(
            self._database, ledger, clock, rules=rules, access=access, directory=_Directory(), seal=lambda: None
        )
        self._deployments = Deployments(
            self._database,
            ledger,
            self._approvals,
            clock,
            access=access,
            around=Surroundings(gather=self._gather, sessions_since=lambda _: 0),
        )
        self._predictions = PredictionService(
            ServingStore(self._database),
            LoadedModels(_Versions(by_number=versions, artifact=artifact)),
            features,
            RequestRecorder(HealthStore(self._database), clock, flush_seconds=None),
            access,
            clock,
            {spec.name: spec},
        )

    def promote(self, version: int) -> None:
        """Ask for a version, have it approved and make it the champion."""
        asked = self._gather(self._spec.name, version, self._spec.deployment.environment)
        requested = self._deployments.request(asked, by=ASKER, must_be_complete=True)
        assert requested.approval is not None  # a complete request asks for one
        approval = requested.approval
        for decider in (one for one in _CAST.values() if one != ASKER):
            if approval.state is not ApprovalState.APPROVED:
                approval = self._approvals.decide(approval.id, by=decider, verdict=Verdict.APPROVE, note=_WHY)
        self._deployments.promote(requested.deployment.id, to=State.CHAMPION, by=ASKER, reason=_WHY)

    def roll_back(self) -> None:
        """Let the champion of before serve again."""
        self._deployments.rollback(self._spec.name, self._spec.deployment.environment, by=ASKER, reason=_WHY)

    def answering_version(self, symbol: str, as_of: datetime) -> int:
        """Predict, and return the version that answered."""
        return self._predictions.predict(self._spec.name, symbol, as_of=as_of, by=ASKER).main.version

    def close(self) -> None:
        """Let go of the database."""
        self._predictions.close()
        self._database.dispose()

    def _gather(self, model: str, version: int, environment: str) -> Gathered:
        """Say that everything is shown: evidence and the steps beside a champion are not what is rehearsed."""
        found = self._versions[version]
        shown = Item(name="registered", status=ItemStatus.PASSED, rule=_WHY, note=found.id, evidence=found.fingerprint)
        return Gathered(
            version=found,
            environment=environment,
            tier=self._spec.tier,
            plan={},
            checklist=Checklist(subject=f"{found.id} to {environment}", items=(shown,)),
            makers=frozenset({found.created_by}),
        )
