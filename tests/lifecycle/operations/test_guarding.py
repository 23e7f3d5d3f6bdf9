"""What passes its limits ends by itself: once, with its reason, and people are told."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from mlops_assets.alerts.alert import Severity
from mlops_assets.alerts.service import Alerts
from mlops_assets.kernel.errors import Forbidden
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.lifecycle.deployment.record import Deployment
from mlops_assets.lifecycle.deployment.states import State
from mlops_assets.lifecycle.operations.automation import limits_sensor
from mlops_assets.lifecycle.operations.guarding import Guard, Guarded, Outcome
from mlops_assets.lifecycle.operations.limit_watch import LimitWatch
from mlops_assets.lifecycle.serving.health import HealthStore
from mlops_assets.lifecycle.serving.request_recorder import RequestRecorder
from mlops_assets.storage.parquet.snapshots import Provenance, SnapshotStore
from mlops_assets.storage.sql.database import Database
from tests.lifecycle.deployment_worlds import MODEL, STAGING, Floor

LIMITS = {
    "max_order_difference": 0.3,
    "max_drawdown": 0.15,
    "max_weight": 0.2,
    "max_orders_a_session": 25,
    "max_error_rate": 0.02,
    "max_p99_ms": 250.0,
}
PLAN = {
    "environment": STAGING,
    "rollout": {"shadow_sessions": 5, "canary_sessions": 5, "canary": {"by": "symbols", "share": 0.2}},
    "limits": LIMITS,
}


class Guarding:
    """A floor whose versions were approved with all limits, and the guard with what it looks at."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.floor = floor = Floor(database, changes={number: {"plan": PLAN} for number in (1, 2, 3)})
        self.health = HealthStore(database)
        self.snapshots = SnapshotStore(folder / "snapshots", database, floor.ledger, floor.clock)
        self.alerts = Alerts(database, floor.ledger, floor.clock, [])
        self.watch = LimitWatch(floor.serving, self.health, self.snapshots, floor.clock)
        self.guard = Guard(floor.serving, floor.deployments, self.watch, self.alerts)

    def champion(self, number: int) -> Deployment:
        """A version that went all the way."""
        one = self.floor.approved(number, insists=True)
        self.floor.passed = 5
        if self.floor.now().champion is not None:
            for step in (State.SHADOW, State.CANARY):
                self.floor.promote(one, step)
        return self.floor.promote(one).deployment

    def canary(self, number: int) -> Deployment:
        self.floor.passed = 5
        one = self.floor.approved(number, insists=True)
        for step in (State.SHADOW, State.CANARY):
            one = self.floor.promote(one, step).deployment
        return one

    def asked(self, one: Deployment, *, answers: int, failures: int = 0, seconds: float = 0.01) -> None:
        """Requests in the next minute."""
        self.floor.clock.pass_by(minutes=1)
        recorder = RequestRecorder(self.health, self.floor.clock, flush_seconds=None)
        for _ in range(answers):
            recorder.answered(one.id, seconds)
        for _ in range(failures):
            recorder.failed(one.id)
        recorder.flush()

    def compared(self, champion: Deployment, challenger: Deployment, **period: Any) -> None:
        """What `shadow/<model>` keeps of a comparison."""
        account = {"orders": 9, "most_orders_a_session": 3, "largest_weight": 0.2, "turnover": 1.0, "drawdown": 0.01}
        found = {
            "sessions": 4,
            "share_that_differs": 0.1,
            "champion": account | period.pop("champion_account", {}),
            "challenger": account | period.pop("challenger_account", {}),
        }
        details = {
            "environment": STAGING,
            "champion": champion.id,
            "challenger": challenger.id,
            "periods": {"since_start": found | period},
        }
        provenance = Provenance(code_version="1", inputs={"made": str(details)}, details=details)
        self.snapshots.publish(f"shadow/{MODEL}", pa.table({"n": [1]}), provenance=provenance, actor="dagster")

    def once(self) -> dict[int, Guarded]:
        return {one.version: one for one in self.guard.guard_once(by=self.floor.dagster)}

    def told(self) -> list[str]:
        return [one.alert.summary for one in self.alerts.list()]


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Guarding:
    return Guarding(database, tmp_path)


def test_what_keeps_its_limits_goes_on_and_what_is_not_measured_is_named(desk: Guarding):
    champion = desk.champion(1)
    desk.asked(champion, answers=200)
    (seen,) = desk.once().values()
    assert seen.outcome is Outcome.NOT_ENDED
    assert str(seen) == (
        "signal_classifier@1 in staging (champion): not ended; not measured: max_order_difference, max_drawdown, "
        "max_weight, max_orders_a_session"
    )
    assert desk.told() == []
    assert desk.floor.state(champion) is State.CHAMPION


def test_a_canary_that_fails_too_often_is_stopped_once(desk: Guarding):
    champion, canary = desk.champion(1), desk.canary(2)
    desk.asked(canary, answers=90, failures=10)
    assert desk.once()[2].outcome is Outcome.STOPPED
    assert desk.floor.state(canary) is State.ROLLED_BACK
    assert desk.floor.state(champion) is State.CHAMPION
    now = desk.floor.now()
    assert (now.champion and now.champion.version, now.challenger) == (1, None)
    entry = list(desk.floor.ledger.entries(action="deployment.rollback"))[-1]
    assert (entry.actor, entry.reason) == ("dagster", "limit passed: max_error_rate 0.1 > 0.02")
    (alert,) = desk.alerts.list()
    assert (alert.alert.kind, alert.alert.severity) == ("deployment_limits", Severity.CRITICAL)
    assert alert.alert.summary == (
        "signal_classifier version 2 in staging is stopped: limit passed: max_error_rate 0.1 > 0.02"
    )
    epoch = now.epoch
    assert 2 not in desk.once()
    assert desk.floor.now().epoch == epoch
    assert len(desk.alerts.list()) == 1


def test_a_slow_champion_is_rolled_back_to_the_one_before_which_then_begins_anew(desk: Guarding):
    first = desk.champion(1)
    desk.asked(first, answers=200, seconds=0.9)  # it was slow too, before the other took over
    slow = desk.champion(2)
    desk.asked(slow, answers=150, seconds=0.5)
    assert desk.once()[2].outcome is Outcome.ROLLED_BACK
    assert (desk.floor.state(slow), desk.floor.state(first)) == (State.ROLLED_BACK, State.CHAMPION)
    assert desk.once()[1].outcome is Outcome.NOT_ENDED
    assert len(desk.told()) == 1


def test_a_champion_with_nobody_before_it_keeps_serving_and_people_are_told(desk: Guarding):
    only = desk.champion(1)
    desk.asked(only, answers=10, failures=90)
    for _ in range(2):
        assert desk.once()[1].outcome is Outcome.KEEPS_SERVING
    assert desk.floor.state(only) is State.CHAMPION
    (said,) = desk.told()
    assert "if none served before it, it goes on serving" in said


@pytest.mark.parametrize(
    ("change", "limit"),
    [
        ({"share_that_differs": 0.31}, "max_order_difference 0.31 > 0.3"),
        ({"challenger_account": {"drawdown": 0.2}}, "max_drawdown 0.2 > 0.15"),
        ({"challenger_account": {"most_orders_a_session": 26}}, "max_orders_a_session 26 > 25"),
        ({"challenger_account": {"largest_weight": 0.25}}, "max_weight 0.25 > 0.2"),
    ],
)
def test_a_challenger_whose_orders_pass_a_limit_is_stopped(desk: Guarding, change: dict[str, Any], limit: str):
    champion, canary = desk.champion(1), desk.canary(2)
    desk.compared(champion, canary)
    assert {one.outcome for one in desk.once().values()} == {Outcome.NOT_ENDED}
    desk.compared(champion, canary, **change)
    seen = desk.once()
    assert (seen[1].outcome, seen[2].outcome) == (Outcome.NOT_ENDED, Outcome.STOPPED)
    assert limit in desk.told()[0]


def test_a_comparison_with_an_earlier_champion_or_without_sessions_says_nothing(desk: Guarding):
    first, canary = desk.champion(1), desk.canary(2)
    desk.compared(first, canary, share_that_differs=0.9, sessions=0)
    assert desk.once()[2].outcome is Outcome.NOT_ENDED
    desk.compared(replace(first, id="f" * 64), canary, share_that_differs=0.9)
    assert desk.once()[2].outcome is Outcome.NOT_ENDED


def test_errors_of_long_ago_and_of_few_requests_do_not_count(desk: Guarding):
    champion = desk.champion(1)
    desk.asked(champion, answers=9, failures=10)
    assert desk.once()[1].outcome is Outcome.NOT_ENDED
    desk.asked(champion, answers=9, failures=10)
    assert desk.once()[1].outcome is Outcome.KEEPS_SERVING
    desk.floor.clock.pass_by(minutes=20)
    assert desk.once()[1].outcome is Outcome.NOT_ENDED


def test_a_plan_with_limits_of_another_time_is_named_and_the_others_are_guarded_on(desk: Guarding):
    desk.floor.changes[1] = {"plan": {**PLAN, "limits": {"max_error_rate": 0.02, "max_slippage_bps": 5}}}
    desk.champion(1)
    canary = desk.canary(2)
    desk.asked(canary, answers=90, failures=10)
    seen = desk.once()
    assert (seen[1].outcome, seen[2].outcome) == (Outcome.NO_LIMITS, Outcome.STOPPED)


def test_both_that_run_may_end_at_one_look(desk: Guarding):
    desk.champion(1)
    second, canary = desk.champion(2), desk.canary(3)
    for one in (second, canary):
        desk.asked(one, answers=50, failures=50)
    seen = desk.once()
    assert (seen[3].outcome, seen[2].outcome) == (Outcome.STOPPED, Outcome.ROLLED_BACK)
    now = desk.floor.now()
    assert (now.champion and now.champion.version, now.challenger) == (1, None)
    assert len(desk.told()) == 2


def test_who_may_not_roll_back_may_not_guard(desk: Guarding):
    champion = desk.champion(1)
    desk.asked(champion, answers=50, failures=50)
    with pytest.raises(Forbidden):
        desk.guard.guard_once(by=Principal(name="vera", roles=frozenset({Role.VIEWER})))
    assert desk.floor.state(champion) is State.CHAMPION


def test_a_version_that_fails_does_not_leave_its_step(desk: Guarding):
    desk.champion(1)
    canary = desk.canary(2)
    assert desk.watch.breaches(canary) == []
    desk.asked(canary, answers=50, failures=50)
    assert desk.watch.breaches(canary) == ["max_error_rate 0.5 > 0.02"]
    waiting = desk.floor.ask(3).deployment
    assert desk.watch.breaches(waiting) == []


def _look(url: str, folder: str, at: Any, barrier: Any, results: Any) -> None:
    """One of several guards on the same database, each in its own process."""
    desk = Guarding(Database(url), Path(folder))
    desk.floor.clock.at = at
    barrier.wait()
    results.put([one.outcome.value for one in desk.guard.guard_once(by=desk.floor.dagster)])


def test_several_guards_at_once_act_once(desk: Guarding, database: Database, tmp_path: Path):
    desk.champion(1)
    slow = desk.champion(2)
    desk.asked(slow, answers=150, seconds=0.5)
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(3), context.Queue()
    at = desk.floor.clock.now() + timedelta(seconds=1)
    looking = [
        context.Process(target=_look, args=(database.url, str(tmp_path), at, barrier, results)) for _ in range(3)
    ]
    for one in looking:
        one.start()
    outcomes = [outcome for _ in looking for outcome in results.get(timeout=60)]
    for one in looking:
        one.join()
    assert outcomes.count("rolled_back") == 1
    assert "keeps_serving" not in outcomes
    assert desk.floor.now().champion is not None
    assert len(list(desk.floor.ledger.entries(action="deployment.rollback"))) == 1
    assert len(desk.alerts.list()) == 1
    assert desk.floor.ledger.verify().is_intact


def test_the_sensor_says_what_it_saw_and_did(desk: Guarding):
    champion = desk.champion(1)
    said: list[str] = []
    with dg.DagsterInstance.ephemeral() as instance:
        for failures in (0, 100):
            desk.asked(champion, answers=100, failures=failures)
            resources = {"guard": desk.guard, "actor": desk.floor.dagster}
            result = limits_sensor()(dg.build_sensor_context(instance=instance, resources=resources))
            assert isinstance(result, dg.SensorResult)
            assert result.skip_reason is not None
            said.append(result.skip_reason.skip_message or "")
    assert "not ended" in said[0]
    assert "keeps serving; max_error_rate 0.3333 > 0.02" in said[1]
