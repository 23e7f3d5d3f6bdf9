"""A desk for the approvals' tests: people with roles, a clock that can be set, evidence, and the real store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mlops_assets import catalog
from mlops_assets.governance.evidence import Evidence, Part, PartKind
from mlops_assets.governance.rules import load_approval_rules
from mlops_assets.governance.spec import Approval, Verdict
from mlops_assets.governance.store import ApprovalStore
from mlops_assets.identity.access import load_access
from mlops_assets.kernel.errors import Forbidden
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.sql.database import Database

CATALOG = Path(str(catalog.__file__)).parent
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
RULES = load_approval_rules(CATALOG / "approval_rules.yaml")
ACCESS = load_access(CATALOG / "access.yaml")
SUBJECT = "deployments/m@1/staging"


@dataclass
class Hands:
    """A clock whose hands a test moves."""

    at: datetime = NOW

    def now(self) -> datetime:
        return self.at

    def pass_by(self, **span: float) -> None:
        self.at += timedelta(**span)


@dataclass
class People:
    """Who there is, by name; somebody deactivated is not there."""

    roles: dict[str, frozenset[Role]] = field(default_factory=dict)
    services: set[str] = field(default_factory=set)

    def named(self, name: str, *roles: Role) -> Principal:
        self.roles[name] = frozenset(roles)
        return self.principal(name)

    def principal(self, name: str) -> Principal:
        if name not in self.roles:
            raise Forbidden(f"{name!r} is nobody's name")
        return Principal(name=name, roles=self.roles[name], is_service=name in self.services)


@dataclass
class Desk:
    """The store with everything around it, and four people who did not make what they decide on."""

    database: Database
    clock: Hands = field(default_factory=Hands)
    people: People = field(default_factory=People)
    sealed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.database, self.clock)
        self.dagster = self.people.named("dagster", Role.SERVICE)
        self.ana = self.people.named("ana", Role.COMPLIANCE)
        self.ben = self.people.named("ben", Role.MLOPS)
        self.cho = self.people.named("cho", Role.QUANT)
        self.dee = self.people.named("dee", Role.COMPLIANCE, Role.MLOPS)
        self.vera = self.people.named("vera", Role.VIEWER)
        self.store = self.open()

    def open(self, database: Database | None = None) -> ApprovalStore:
        """The store as a process that starts finds it."""
        kept = database or self.database
        ledger = Ledger(kept, self.clock)
        seal: Callable[[], object] = lambda: self.sealed.append(len(list(ledger.entries())))  # noqa: E731
        return ApprovalStore(kept, ledger, self.clock, rules=RULES, access=ACCESS, directory=self.people, seal=seal)

    def draft(self, found: Evidence | None = None, *, tier: int = 2, subject: str = SUBJECT) -> Approval:
        return self.store.draft(
            subject=subject, tier=tier, evidence=found or evidence(), authors=["aron"], by=self.dagster
        )

    def request(self, found: Evidence | None = None, *, tier: int = 2, subject: str = SUBJECT) -> Approval:
        return self.store.request(
            subject=subject, tier=tier, evidence=found or evidence(), authors=["aron"], by=self.dagster
        )

    def approve(self, request: Approval, by: Principal, note: str = "read it") -> Approval:
        return self.store.decide(request.id, by=by, verdict=Verdict.APPROVE, note=note)

    def reject(self, request: Approval, by: Principal, note: str = "no skill") -> Approval:
        return self.store.decide(request.id, by=by, verdict=Verdict.REJECT, note=note)

    def actions(self, subject: str = SUBJECT) -> list[tuple[str, str]]:
        return [(entry.actor, entry.action.removeprefix("approval.")) for entry in self.ledger.entries(subject=subject)]


def part(name: str, fill: str = "a", kind: PartKind = PartKind.DATA, note: str = "") -> Part:
    return Part(name=name, kind=kind, fingerprint=fill * 64, note=note)


def evidence(report: str = "a", **others: str) -> Evidence:
    """Evidence of three parts and more; `report` fills the fingerprint of the report."""
    return Evidence(
        parts=(
            part("registered", "1", PartKind.SUBJECT),
            part("report.covid_crash", report, PartKind.REPORT),
            part("training_set", "3"),
            *(part(name, fill) for name, fill in others.items()),
        )
    )
