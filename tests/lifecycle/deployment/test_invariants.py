"""Whatever is asked in whatever order: one champion, states that agree with the log, and a rollback that goes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.governance.spec import Verdict
from mlops_assets.kernel.errors import Conflict
from mlops_assets.lifecycle.deployment.checklist import ChecklistIncomplete
from mlops_assets.lifecycle.deployment.serving_moves import Action
from mlops_assets.lifecycle.deployment.states import RUNNING, State
from mlops_assets.storage.sql.database import Database
from tests.lifecycle.deployment_worlds import MODEL, STAGING, Floor

ENDED = (State.ROLLED_BACK, State.RETIRED)
NUMBERS = st.integers(min_value=1, max_value=4)
ASKED = st.one_of(
    st.tuples(st.just("serve"), NUMBERS),
    st.tuples(st.just("serve"), NUMBERS),
    st.tuples(st.just("challenge"), NUMBERS),
    st.tuples(st.just("approve"), NUMBERS),
    st.tuples(st.just("ask"), NUMBERS),
    st.tuples(st.just("move_evidence"), NUMBERS),
    st.tuples(st.just("lose_evidence"), NUMBERS),
    st.tuples(st.just("promote"), st.sampled_from([State.SHADOW, State.CANARY, State.CHAMPION])),
    st.tuples(st.just("roll_back"), st.none()),
    st.tuples(st.just("stop"), st.none()),
    st.tuples(st.sampled_from(["retire", "revoke", "reject", "follow", "outlive"]), st.none()),
)


@dataclass
class Crowd:
    """People and sensors who do what they may; what is refused is refused with Conflict and changes no serving."""

    floor: Floor

    def ask(self, number: int) -> None:
        self._try(lambda: self.floor.ask(number))

    def approve(self, number: int) -> None:
        self._try(lambda: self.floor.decide(self.floor.ask(number, insists=True).approval))

    def serve(self, number: int) -> None:
        """Go the whole way, by the steps that the plan asks for."""
        self.approve(number)
        for to in (State.SHADOW, State.CANARY, State.CHAMPION):
            self.promote(to)

    def challenge(self, number: int) -> None:
        self.approve(number)
        self.promote(State.SHADOW)

    def promote(self, to: State) -> None:
        for one in self.floor.deployments.list():
            self._try(lambda one=one: self.floor.promote(one, to))

    def stop(self, _: None) -> None:
        before = self.floor.now()
        assert self._try(self.floor.stop) is (before.challenger is not None)
        assert (self.floor.now().champion, self.floor.now().challenger) == (before.champion, None)

    def roll_back(self, _: None) -> None:
        before = self.floor.now()
        ended = {one.id for one in self.floor.deployments.list() if one.state in ENDED}
        log = self.floor.serving.history(MODEL, STAGING)
        failed_at = {
            log[number - 1].after.champion.version: number
            for number, move in enumerate(log)
            if move.action in (Action.ROLL_BACK, Action.RETIRE)
        }
        earlier = [
            champion
            for number, move in enumerate(log)
            if (champion := move.after.champion) is not None
            and champion.deployment_id not in ended
            and champion.version != (before.champion and before.champion.version)
            and number >= failed_at.get(champion.version, 0)
        ]
        done = self._try(self.floor.rollback)
        if not done:
            assert before.champion is None or not earlier
        else:
            assert self.floor.now().champion == earlier[-1]
            assert self.floor.now().challenger == before.challenger

    def retire(self, _: None) -> None:
        self._try(self.floor.retire)

    def reject(self, _: None) -> None:
        for one in self.floor.deployments.list(state=State.IN_REVIEW):
            for request in self.floor.approvals.list(subject=one.subject, is_live=True):
                self._try(lambda request=request: self.floor.decide(request, Verdict.REJECT))

    def revoke(self, _: None) -> None:
        for one in self.floor.approvals.list(is_live=True):
            if one.subject.startswith("deployments/"):
                self.floor.approvals.revoke(one.id, by=self.floor.ana, reason="wait")

    def outlive(self, _: None) -> None:
        self.floor.clock.pass_by(days=400)

    def follow(self, _: None) -> None:
        self.floor.deployments.follow_approvals(by=self.floor.dagster)
        assert self.floor.deployments.follow_approvals(by=self.floor.dagster) == []

    def move_evidence(self, number: int) -> None:
        self.floor.changes[number] = {} if number in self.floor.changes else {"explanations": "8" * 64}

    def lose_evidence(self, number: int) -> None:
        self.floor.changes[number] = {"explained_fingerprint": None}

    def _try(self, act: Callable[[], object]) -> bool:
        before = self.floor.now()
        try:
            act()
        except (Conflict, ChecklistIncomplete):
            now = self.floor.now()
            assert now.champion == before.champion
            assert now.challenger in (None, before.challenger)  # one that lost its approval stops
            return False
        return True


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("migrated") / "platform.db"
    made = Database(f"sqlite:///{file}")
    made.migrate()
    made.dispose()
    return file


@given(plan=st.tuples(st.integers(0, 1), st.integers(0, 1)), asked=st.lists(ASKED, min_size=6, max_size=20))
@settings(max_examples=20)
def test_whatever_is_asked_the_log_and_the_states_agree(
    migrated: Path, plan: tuple[int, int], asked: list[tuple[str, object]]
):
    file = migrated.with_name("case.db")
    for left in migrated.parent.glob("case.db*"):
        left.unlink()
    file.write_bytes(migrated.read_bytes())
    database = Database(f"sqlite:///{file}")
    crowd = Crowd(Floor(database, rollout={"shadow_sessions": plan[0], "canary_sessions": plan[1]}, passed=1))
    for verb, argument in asked:
        getattr(crowd, verb)(argument)
        _agree(crowd.floor)
    assert crowd.floor.ledger.verify().is_intact
    database.dispose()


def _agree(floor: Floor) -> None:
    now, found = floor.now(), floor.deployments.list()
    expected: dict[str, State] = {}
    if now.champion is not None:
        expected[now.champion.deployment_id] = State.CHAMPION
    if now.challenger is not None:
        assert now.mode is not None
        expected[now.challenger.deployment_id] = State(now.mode)
    assert {one.id: one.state for one in found if one.state in RUNNING} == expected
    assert sum(one.state in (State.IN_REVIEW, State.APPROVED) for one in found) <= 1
    log = floor.serving.history(MODEL, STAGING)
    assert [move.after.epoch for move in log] == list(range(1, len(log) + 1))
    assert all((move.after.champion is None) is (move.action is Action.RETIRE) for move in log)
    assert all(move.after.challenger is None or move.after.champion is not None for move in log)
