"""Approvals under any order of events: the real store on SQLite against a small model written apart from it.

The model says before each step whether it is legal and what it leaves. No step may raise anything but the platform's
own refusals: a guard of the database that fires means that the rules let something through.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mlops_assets.governance.approvals import UnusableNote
from mlops_assets.governance.spec import Approval, Verdict
from mlops_assets.kernel.errors import Conflict, Forbidden
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.storage.sql.database import Database
from tests.governance.worlds import Desk, evidence

TIERS = {"deployments/high": 1, "reports/middle": 2, "prompts/low": 3}
QUORUM, REQUIRED = {1: 2, 2: 2, 3: 1}, {1: "compliance", 2: None, 3: None}
UNDECIDED_DAYS, VALID_DAYS = {1: 14, 2: 14, 3: 30}, {1: 180, 2: 365, 3: 365}
PEOPLE = {
    "ana": {"compliance"},
    "ben": {"mlops"},
    "cho": {"quant"},
    "dee": {"compliance", "mlops"},
    "aron": {"quant", "compliance"},  # the author
    "vera": {"viewer"},
    "dagster": {"service"},
}
DECIDING = {"compliance", "mlops", "quant"}
EMERGENCY = timedelta(hours=24)
LIVE = {"draft", "submitted", "in_review", "approved"}

# Weighted, so that most runs reach approvals: what is refused at once teaches little.
subjects, reports = st.sampled_from(sorted(TIERS)), st.sampled_from("aaaaab")
anybody, ages = st.sampled_from(sorted(PEOPLE)), st.sampled_from([0, 0, 0, 0, 1])
askers = st.sampled_from(["dagster", "dagster", "dagster", "cho", "aron", "vera"])
deciders = st.sampled_from([*sorted(PEOPLE), "ana", "ben", "cho", "dee"])


@dataclass
class Request:
    """What the model knows of one request."""

    id: str
    tier: int
    report: str
    parties: set[tuple[str, str]]
    state: str = "draft"
    expires: datetime | None = None
    yeas: dict[str, str] = field(default_factory=dict)
    spoke: set[str] = field(default_factory=set)
    overriders: dict[str, datetime] = field(default_factory=dict)
    overridden_by: set[str] = field(default_factory=set)
    is_override: bool = False


@cache
def migrated() -> bytes:
    """The file of a migrated database: making one for each example would take most of the time."""
    with tempfile.TemporaryDirectory() as folder:
        made = Database(f"sqlite:///{folder}/platform.db")
        made.migrate()
        with made.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        made.dispose()
        return (Path(folder) / "platform.db").read_bytes()


class Approvals(RuleBasedStateMachine):
    """Everything that can happen to requests of three subjects."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        (self.folder / "platform.db").write_bytes(migrated())
        self.database = Database(f"sqlite:///{self.folder / 'platform.db'}")
        self.desk = Desk(self.database)
        self.now_roles = {name: set(roles) for name, roles in PEOPLE.items()}
        for name, roles in PEOPLE.items():
            self.desk.people.named(name, *(Role(role) for role in roles))
        self.known: dict[str, list[Request]] = {subject: [] for subject in TIERS}
        self.entries = 0

    def teardown(self) -> None:
        assert self.desk.ledger.verify().is_intact
        self.database.dispose()
        shutil.rmtree(self.folder)

    @initialize()
    def everything_is_asked_for(self) -> None:
        for subject in TIERS:
            self.ask_now(subject, "a")

    @rule(subject=subjects, report=reports)
    def ask(self, subject: str, report: str) -> None:
        self.ask_now(subject, report)

    def ask_now(self, subject: str, report: str) -> None:
        self.draft(subject, report, "dagster")
        self.submit(subject, 0, "dagster")

    @rule(subject=subjects, report=reports, by=askers)
    def draft_by(self, subject: str, report: str, by: str) -> None:
        self.draft(subject, report, by)

    @rule(subject=subjects, age=ages, by=askers)
    def submit_by(self, subject: str, age: int, by: str) -> None:
        self.submit(subject, age, by)

    def draft(self, subject: str, report: str, by: str) -> None:
        is_legal = bool(self._roles(by) & {"data_engineer", "quant", "mlops", "service"})
        found = self._attempt(
            is_legal,
            lambda: (
                self.desk.store.draft(
                    subject=subject, tier=TIERS[subject], evidence=evidence(report), authors=["aron"], by=self._as(by)
                ).id
            ),
        )
        if not is_legal:
            return
        self._void(subject, report)
        same = [one for one in self.known[subject] if one.report == report]
        if same and self._is_over(same[-1]):
            self._move(same[-1], "expired")
        if same and same[-1].state not in {"expired", "revoked"}:
            one = same[-1]
            new = {("aron", "author"), (by, "launcher")} - one.parties
            new = {(name, duty) for name, duty in new if name not in one.spoke | set(one.overriders)}
            if new and one.state in {"draft", "submitted", "in_review"}:
                one.parties |= new
                self.entries += 1
            assert found == one.id
            return
        parties = {("aron", "author"), (by, "launcher")}
        self.known[subject].append(Request(id=str(found), tier=TIERS[subject], report=report, parties=parties))
        self.entries += 1

    def submit(self, subject: str, age: int, by: str) -> None:
        if (one := self._pick(subject, age)) is None:
            return
        is_legal = bool(self._roles(by) & {"quant", "mlops", "service"}) and one.state == "draft"
        self._attempt(is_legal, lambda: self.desk.store.submit(one.id, by=self._as(by)))
        if is_legal:
            one.parties.add((by, "submitter"))
            one.expires = self.desk.clock.at + timedelta(days=UNDECIDED_DAYS[one.tier])
            self._move(one, "submitted")

    @rule(subject=subjects, age=ages, by=deciders)
    def review(self, subject: str, age: int, by: str) -> None:
        if (one := self._pick(subject, age)) is None:
            return
        is_legal = self._may_judge(one, by) and one.state == "submitted"
        self._attempt(is_legal, lambda: self.desk.store.start_review(one.id, by=self._as(by)))
        if is_legal:
            self._move(one, "in_review")

    @rule(subject=subjects, age=ages, by=deciders, verdict=st.sampled_from(["approve"] * 9 + ["reject"]))
    def one_decides(self, subject: str, age: int, by: str, verdict: str) -> None:
        self.decide(subject, age, by, verdict)

    @rule(subject=subjects, one=deciders, other=deciders)
    def two_approve(self, subject: str, one: str, other: str) -> None:
        self.two_approve_now(subject, one, other)

    def two_approve_now(self, subject: str, one: str, other: str) -> None:
        self.ask_now(subject, "a")
        self.decide(subject, 0, one, "approve")
        self.decide(subject, 0, other, "approve")

    @rule(subject=subjects, one=deciders, other=deciders, loss=st.sampled_from(["all", "compliance", "mlops"]))
    def two_approve_and_one_leaves(self, subject: str, one: str, other: str, loss: str) -> None:
        self.two_approve_now(subject, one, other)
        for name in sorted(self.known[subject][-1].yeas)[:1]:
            self.change_roles(name, loss)
        self.use_it(subject, "a")

    def decide(self, subject: str, age: int, by: str, verdict: str) -> None:
        if (one := self._pick(subject, age)) is None:
            return
        capacity = self._capacity(one, by)
        is_legal = (
            self._may_judge(one, by)
            and one.state in {"submitted", "in_review"}
            and by not in one.spoke
            and capacity in self.now_roles.get(by, set())
        )
        self._attempt(
            is_legal,
            lambda: self.desk.store.decide(one.id, by=self._as(by), verdict=Verdict(verdict), note="read it"),
        )
        if not is_legal:
            return
        if one.state == "submitted":
            self._move(one, "in_review")
        one.spoke.add(by)
        if verdict == "approve":
            one.yeas[by] = capacity
        is_enough = self._has_quorum(one)
        self._move(one, "rejected" if verdict == "reject" else "approved" if is_enough else "in_review")
        if one.state == "approved":
            one.expires = self.desk.clock.at + timedelta(days=VALID_DAYS[one.tier])

    @rule(subject=subjects, age=ages, by=deciders, reason=st.sampled_from(["the feed is down", "now", ""]))
    def override(self, subject: str, age: int, by: str, reason: str) -> None:
        if (one := self._pick(subject, age)) is None:
            return
        is_legal = (
            self._may_judge(one, by)
            and one.state in {"submitted", "in_review"}
            and by not in one.overriders
            and reason != ""
            and bool(self.now_roles.get(by, set()) & DECIDING)
        )
        self._attempt(is_legal, lambda: self.desk.store.override(one.id, by=self._as(by), reason=reason))
        if not is_legal:
            return
        if one.state == "submitted":
            self._move(one, "in_review")
        in_time = {name for name, at in one.overriders.items() if self.desk.clock.at - at < EMERGENCY}
        held = [name for name in in_time if self.now_roles.get(name, set()) & DECIDING]
        one.overriders[by] = self.desk.clock.at
        if held:
            one.is_override, one.expires = True, self.desk.clock.at + EMERGENCY
            one.overridden_by = {*in_time, by}
        self._move(one, "approved" if held else "in_review")

    @rule(subject=subjects, age=ages, by=anybody)
    def revoke(self, subject: str, age: int, by: str) -> None:
        if (one := self._pick(subject, age)) is None or age == 0:  # rarely the newest, or nothing would get far
            return
        is_legal = bool(self._roles(by) & {"compliance", "mlops"}) and one.state in LIVE
        self._attempt(is_legal, lambda: self.desk.store.revoke(one.id, by=self._as(by), reason="no longer"))
        if is_legal:
            self._move(one, "revoked")

    @rule(subject=subjects, report=reports)
    def use(self, subject: str, report: str) -> None:
        self.use_it(subject, report)

    def use_it(self, subject: str, report: str) -> None:
        same = [one for one in self.known[subject] if one.report == report]
        newest = same[-1] if same else None
        is_legal = (
            newest is not None and newest.state == "approved" and not self._is_over(newest) and self._stands(newest)
        )
        used = lambda: self.desk.store.require_approved(subject, evidence(report), by=self.desk.dagster)  # noqa: E731
        self._attempt(is_legal, used)
        if is_legal:
            return
        has_live_other = any(one.report != report and one.state in LIVE for one in self.known[subject])
        self._void(subject, report)
        if newest is not None and self._is_over(newest) and (newest.state in LIVE or not has_live_other):
            self._move(newest, "expired")

    @rule(hours=st.sampled_from([1, 1, 23, 23, 200, 24 * 100]))
    def time_passes(self, hours: int) -> None:
        self.desk.clock.pass_by(hours=hours)

    @rule()
    def expire_due(self) -> None:
        due = [one for requests in self.known.values() for one in requests if self._is_over(one)]
        assert {one.id for one in self.desk.store.expire_due(by=self.desk.dagster)} == {one.id for one in due}
        for one in due:
            self._move(one, "expired")

    @rule(name=anybody, loss=st.sampled_from(["all", "compliance", "nothing"]))
    def roles_change(self, name: str, loss: str) -> None:
        if name != "dagster":
            self.change_roles(name, loss)

    def change_roles(self, name: str, loss: str) -> None:
        self.now_roles.pop(name, None)
        self.desk.people.roles.pop(name, None)
        if loss != "all":
            self.now_roles[name] = PEOPLE[name] - {loss}
            self.desk.people.named(name, *(Role(role) for role in self.now_roles[name]))

    @rule()
    def process_dies(self) -> None:
        self.database.dispose()
        self.database = Database(self.database.url)
        self.desk.database = self.database
        self.desk.store = self.desk.open()

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        expected = {
            one.id: (one.state, one.is_override, one.yeas) for requests in self.known.values() for one in requests
        }
        assert {one.id: (one.state.value, one.is_override, _yeas(one)) for one in self.desk.store.list()} == expected

    @invariant()
    def nothing_is_approved_without_enough_people_apart_from_the_work(self) -> None:
        with self.database.read() as connection:
            wrong = connection.execute(sa.text(_WITHOUT_QUORUM)).all()
            conflicted = connection.execute(sa.text(_CONFLICTED)).all()
        assert wrong == []
        assert conflicted == []

    @invariant()
    def every_move_has_one_entry(self) -> None:
        with self.database.read() as connection:
            assert connection.scalar(sa.text("SELECT count(*) FROM ledger_entry")) == self.entries

    def _attempt(self, is_legal: bool, act) -> object:
        if is_legal:
            return act()
        with pytest.raises((Conflict, Forbidden, UnusableNote)):
            act()
        return None

    def _as(self, name: str) -> Principal:
        """Sign somebody in; who was deactivated since acts on what they had before."""
        return Principal(name=name, roles=frozenset(Role(role) for role in self._roles(name)))

    def _roles(self, name: str) -> set[str]:
        return self.now_roles.get(name, PEOPLE[name])

    def _pick(self, subject: str, age: int) -> Request | None:
        """The newest request, or one before it."""
        requests = self.known[subject]
        return requests[-1 - age] if len(requests) > age else None

    def _may_judge(self, one: Request, by: str) -> bool:
        """Say whether somebody may; what only the attempt does (expiring, recording a conflict of duties) is done."""
        if not self._roles(by) & DECIDING:
            return False
        if self._is_over(one):
            self._move(one, "expired")
        if by in {name for name, _ in one.parties}:
            self.entries += 1
            return False
        return True

    def _capacity(self, one: Request, by: str) -> str:
        own, required = sorted(self._roles(by) & DECIDING), REQUIRED[one.tier]
        covered = {one.yeas[name] for name in one.yeas if one.yeas[name] in self.now_roles.get(name, set())}
        if required in own and required not in covered:
            return str(required)
        return next((role for role in own if role != required), own[0] if own else "")

    def _has_quorum(self, one: Request) -> bool:
        held = {name: role for name, role in one.yeas.items() if role in self.now_roles.get(name, set())}
        return len(held) >= QUORUM[one.tier] and (REQUIRED[one.tier] is None or REQUIRED[one.tier] in held.values())

    def _stands(self, one: Request) -> bool:
        if one.is_override:
            return sum(bool(self.now_roles.get(name, set()) & DECIDING) for name in one.overridden_by) >= 2
        return self._has_quorum(one)

    def _is_over(self, one: Request) -> bool:
        return one.state in LIVE and one.expires is not None and self.desk.clock.at >= one.expires

    def _void(self, subject: str, report: str) -> None:
        for one in self.known[subject]:
            if one.report != report and one.state in LIVE:
                self._move(one, "revoked")

    def _move(self, one: Request, state: str) -> None:
        one.state = state
        self.entries += 1


def _yeas(request: Approval) -> dict[str, str]:
    yeas = [one for one in request.decisions if one.verdict is Verdict.APPROVE]
    return {one.approver: str(one.capacity) for one in yeas}


_WITHOUT_QUORUM = """
SELECT a.id FROM approval a WHERE a.state = 'approved' AND (
  (NOT a.is_override AND (SELECT count(DISTINCT d.approver) FROM approval_decision d
     WHERE d.approval_id = a.id AND d.verdict = 'approve') < a.quorum)
  OR (NOT a.is_override AND a.required_role IS NOT NULL AND NOT EXISTS (SELECT 1 FROM approval_decision d
     WHERE d.approval_id = a.id AND d.verdict = 'approve' AND d.capacity = a.required_role))
  OR (a.is_override AND (SELECT count(DISTINCT o.principal) FROM approval_override o WHERE o.approval_id = a.id) < 2)
  OR EXISTS (SELECT 1 FROM approval_decision d WHERE d.approval_id = a.id AND d.verdict = 'reject'))
"""
_CONFLICTED = """
SELECT p.principal FROM approval_party p WHERE EXISTS (SELECT 1 FROM approval_decision d
  WHERE d.approval_id = p.approval_id AND d.approver = p.principal) OR EXISTS (SELECT 1 FROM approval_override o
  WHERE o.approval_id = p.approval_id AND o.principal = p.principal)
"""

TestApprovals = Approvals.TestCase
TestApprovals.settings = settings(max_examples=30, stateful_step_count=50)
