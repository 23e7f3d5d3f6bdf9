"""A floor on which versions ask to be deployed: real stores, people, a clock to set, and evidence a test can change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from mlops_assets.governance.spec import Approval, Verdict
from mlops_assets.governance.store import ApprovalStore
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.ledger.store import Ledger
from mlops_assets.lifecycle.deployment.checklist import Attested, Evidence, LookAheadFound, ReportFound, assemble
from mlops_assets.lifecycle.deployment.deployments import Deployments, Moved, Surroundings
from mlops_assets.lifecycle.deployment.evidence import Gathered
from mlops_assets.lifecycle.deployment.journal import Outbox
from mlops_assets.lifecycle.deployment.record import Deployment
from mlops_assets.lifecycle.deployment.requests import Requested
from mlops_assets.lifecycle.deployment.serving_moves import Serving
from mlops_assets.lifecycle.deployment.serving_store import ServingStore
from mlops_assets.lifecycle.deployment.states import State
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import model_version
from tests.governance.worlds import ACCESS, NOW, RULES, Hands, People

MODEL, STAGING = "signal_classifier", "staging"
DATA, REPORT = "b" * 64, "c" * 64
GAPS = [{"earlier": "train", "later": "valid", "is_disjoint": True}]
SKILL = {
    "loss": "log loss",
    "gains": [{"baseline": "base_rate", "estimate": -0.0006, "low": -0.0019, "high": 0.0005}],
}
SAID = {name: f"the {name} of it" for name in ("purpose", "scope", "assumptions", "limitations")}
CLEAN = LookAheadFound(is_passed=True, snapshot_fingerprint="7" * 64, cuts=("2020-02-19",), rows_compared=900)
SEALED = ReportFound(sha256=REPORT, version_fingerprint="a" * 64, gates_fingerprint="6" * 64)
LIMITS = {"max_order_difference": 0.5, "max_error_rate": 0.01}
COMPLETE = Evidence(
    version_id="models/signal_classifier@1",
    version_fingerprint="a" * 64,
    environment=STAGING,
    tier=2,
    plan={
        "environment": STAGING,
        "rollout": {"shadow_sessions": 0, "canary_sessions": 0, "canary": {"by": "symbols", "share": 0.2}},
        "limits": LIMITS,
    },
    metadata={"kind": "classifier", "fold_gaps": GAPS, **SAID},
    training_set="datasets/signal_daily",
    training_set_fingerprint=DATA,
    published_training_sets=frozenset({DATA}),
    skill=SKILL,
    beats_every_baseline=False,
    look_ahead={"momentum": CLEAN},
    reports={"covid_crash": SEALED},
    explained_fingerprint="a" * 64,
    explanations="d" * 64,
    drift_limits={"momentum": "e" * 64},
    makers=frozenset({"mia"}),
)


def attested(item: str, principal: str = "vic") -> Attested:
    return Attested(item=item, principal=principal, statement="read and tried", fingerprint=fingerprint([item]))


@dataclass
class Floor:
    """The stores with people around them. `changes` is what is otherwise with the evidence of a version."""

    database: Database
    clock: Hands = field(default_factory=Hands)
    people: People = field(default_factory=People)
    changes: dict[int, dict[str, Any]] = field(default_factory=dict)
    rollout: dict[str, Any] = field(default_factory=dict)
    passed: int = 0
    breached: Sequence[str] = ()
    projected: list[Serving] = field(default_factory=list)
    outbox: Outbox | None = None
    gathers: Callable[[str, int, str], Gathered] | None = None
    projects: Callable[[Serving], None] | None = None

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.database, self.clock)
        self.dagster = self.people.named("dagster", Role.SERVICE)
        self.people.services.add("dagster")
        self.dagster = self.people.principal("dagster")
        self.quin = self.people.named("quin", Role.QUANT)
        self.ana = self.people.named("ana", Role.COMPLIANCE)
        self.ben = self.people.named("ben", Role.MLOPS)
        self.mo = self.people.named("mo", Role.MLOPS)
        self.approvals = ApprovalStore(
            self.database,
            self.ledger,
            self.clock,
            rules=RULES,
            access=ACCESS,
            directory=self.people,
            seal=lambda: None,
        )
        around = Surroundings(
            gather=self.gathers or self.gather,
            sessions_since=self._sessions_since,
            breaches=lambda _: self.breached,
            project=self.projects or self.projected.append,
        )
        self.deployments = Deployments(
            self.database, self.ledger, self.approvals, self.clock, access=ACCESS, around=around, outbox=self.outbox
        )
        self.serving = ServingStore(self.database)

    def _sessions_since(self, at: datetime) -> int:
        return self.passed

    def version(self, number: int, *, model: str = MODEL) -> ModelVersion:
        """A registered version; registering it again changes nothing."""
        own = fingerprint([model, number])
        made = ModelVersion(
            model=model,
            version=number,
            fingerprint=own,
            artifact_sha256=own,
            training_set_fingerprint=DATA,
            code_version="0" * 64,
            run_id="run",
            stage="experimental",
            metadata={},
            metrics={},
            created_at=NOW,
            created_by="dagster",
        )
        with self.database.begin() as connection:
            known = sa.select(model_version).where(model_version.c.fingerprint == own)
            if connection.execute(known).first() is None:
                connection.execute(sa.insert(model_version).values({n: getattr(made, n) for n in _VERSION}))
        return made

    def evidence(self, number: int, environment: str = STAGING, *, model: str = MODEL) -> Evidence:
        own = self.version(number, model=model)
        rollout = {**COMPLETE.plan["rollout"], **self.rollout}  # pyright: ignore[reportGeneralTypeIssues]
        found = replace(
            COMPLETE,
            version_id=own.id,
            version_fingerprint=own.fingerprint,
            environment=environment,
            explained_fingerprint=own.fingerprint,
            reports={"covid_crash": replace(SEALED, version_fingerprint=own.fingerprint)},
            plan={**COMPLETE.plan, "environment": environment, "rollout": rollout},
        )
        return replace(found, **self.changes.get(number, {}))

    def gather(self, model: str, number: int, environment: str) -> Gathered:
        evidence = self.evidence(number, environment, model=model)
        return Gathered(
            version=self.version(number, model=model),
            environment=evidence.environment,
            tier=evidence.tier,
            plan=evidence.plan,
            checklist=assemble(evidence),
            makers=evidence.makers,
        )

    def ask(
        self, number: int = 1, environment: str = STAGING, *, by: Principal | None = None, insists: bool = False
    ) -> Requested:
        asked = self.gather(MODEL, number, environment)
        return self.deployments.request(asked, by=by or self.dagster, must_be_complete=insists)

    def decide(self, request: Approval | None, verdict: Verdict = Verdict.APPROVE) -> Approval:
        assert request is not None
        for by in (self.ana, self.ben)[: 1 if verdict is Verdict.REJECT else request.quorum]:
            request = self.approvals.decide(request.id, by=by, verdict=verdict, note="read it")
        return request

    def approved(self, number: int = 1, environment: str = STAGING, *, insists: bool = False) -> Deployment:
        """A version that two people approved."""
        requested = self.ask(number, environment, insists=insists)
        self.decide(requested.approval)
        self.deployments.follow_approvals(by=self.dagster)
        return self.deployments.get(requested.deployment.id)

    def promote(self, one: Deployment, to: State = State.CHAMPION, **others: Any) -> Moved:
        return self.deployments.promote(one.id, to=to, **{"by": self.mo, "reason": "it is better", **others})

    def champion(self, number: int = 1, environment: str = STAGING) -> Deployment:
        """A version that serves."""
        return self.promote(self.approved(number, environment, insists=True)).deployment

    def rollback(self, environment: str = STAGING, **others: Any) -> Moved:
        return self.deployments.rollback(MODEL, environment, **{"by": self.mo, "reason": "it loses", **others})

    def stop(self, environment: str = STAGING, **others: Any) -> Moved:
        return self.deployments.stop(MODEL, environment, **{"by": self.mo, "reason": "it trails", **others})

    def retire(self, environment: str = STAGING, **others: Any) -> Moved:
        return self.deployments.retire(MODEL, environment, **{"by": self.mo, "reason": "the desk closes", **others})

    def now(self, environment: str = STAGING) -> Serving:
        return self.serving.now(MODEL, environment)

    def state(self, one: Deployment) -> State:
        return self.deployments.get(one.id).state

    def states(self) -> Mapping[int, list[State]]:
        """By version, the states of its deployments, oldest first."""
        found: dict[int, list[State]] = {}
        for one in self.deployments.list():
            found.setdefault(one.model_version, []).append(one.state)
        return found


_VERSION = tuple(ModelVersion.__dataclass_fields__)
