"""Who asks for a model to be trained again: the schedule, drift within its budget, people; each cause once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from mlops_assets.alerts.alert import Severity
from mlops_assets.kernel.clock import FixedClock
from mlops_assets.kernel.errors import InvalidDeclaration
from mlops_assets.lifecycle.automation import raise_events
from mlops_assets.lifecycle.drift_events import DriftEvent, Status
from mlops_assets.lifecycle.retraining.automation import retrain_after_drift_sensor, retraining_definitions
from mlops_assets.lifecycle.retraining.requests import REFUSE, REQUEST, Cause, Retrainings, learned_from
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.storage.parquet.snapshots import Provenance
from tests.governance.worlds import ACCESS
from tests.lifecycle.test_drift_events import _feature, _table
from tests.lifecycle.worlds import NOW, SERVICE, Stores, declared, small_spec, stores

DAY = timedelta(days=1)
DRIFT = "drift/signal_classifier/momentum"


@pytest.fixture
def kept(tmp_path: Path) -> Stores:
    return stores(tmp_path)


def retrainings(kept: Stores, *, at: datetime = NOW) -> Retrainings:
    return Retrainings(kept.database, kept.ledger, kept.alerts, FixedClock(at=at))


def event(name: str, severity: Severity = Severity.HIGH) -> DriftEvent:
    return DriftEvent(
        id=name,
        subject=DRIFT,
        metric_name=f"{name}:wasserstein",
        metric_value=2.0,
        threshold=1.0,
        severity=severity,
        status=Status.OPEN,
        message=f"{name} drifts.",
        snapshot_fingerprint="f" * 64,
        detected_at=NOW,
    )


def spec(most_a_year: int = 2, **changes: object) -> ModelSpec:
    return small_spec(retraining={**declared()["retraining"], "most_a_year": most_a_year, **changes})


def actions(kept: Stores, action: str) -> list[str]:
    return [entry.reason for entry in kept.ledger.entries(action=action)]


def test_the_same_cause_is_one_request_with_one_ledger_entry(kept: Stores):
    first = retrainings(kept).request("m", Cause.SCHEDULE, "2024-06-01T06:00:00", by="dagster", reason="cadence")
    again = retrainings(kept, at=NOW + DAY).request("m", Cause.SCHEDULE, "2024-06-01T06:00:00", by="x", reason="y")
    assert again == first
    assert first.run_key == "retrain:m:schedule:2024-06-01T06:00:00"
    assert actions(kept, REQUEST) == ["cadence"]


def test_many_drifting_features_are_one_request(kept: Stores):
    asked = retrainings(kept).request_after_drift(spec(), [event("a"), event("b")], by="dagster")
    assert asked is not None
    assert asked.cause_id == "a"
    more = retrainings(kept).request_after_drift(spec(), [event("a"), event("b"), event("c")], by="dagster")
    assert more == asked
    assert actions(kept, REQUEST) == ["drift/signal_classifier/momentum: a drifts. and 1 more"]


@pytest.mark.parametrize("severity", [Severity.LOW, Severity.MEDIUM])
def test_mild_drift_asks_for_nothing(kept: Stores, severity: Severity):
    assert retrainings(kept).request_after_drift(spec(), [event("a", severity)], by="dagster") is None


def test_a_model_that_declares_so_is_not_trained_after_drift(kept: Stores):
    assert retrainings(kept).request_after_drift(spec(after_drift=False), [event("a")], by="dagster") is None
    assert actions(kept, REQUEST) == []


def test_the_budget_is_kept_and_its_end_is_said_once(kept: Stores):
    for number in range(2):
        at = NOW + number * DAY
        assert retrainings(kept, at=at).request_after_drift(spec(), [event(f"e{number}")], by="dagster") is not None
    for _ in range(2):
        assert retrainings(kept, at=NOW + 2 * DAY).request_after_drift(spec(), [event("late")], by="dagster") is None
    assert len(actions(kept, REFUSE)) == 1
    assert [one.alert.kind for one in kept.alerts.list()] == ["retraining_budget"]
    assert retrainings(kept, at=NOW + 2 * DAY).budget_used("signal_classifier") == 2
    a_year_later = retrainings(kept, at=NOW + 365 * DAY)
    assert a_year_later.request_after_drift(spec(), [event("next year")], by="dagster") is not None


def test_a_schedule_and_people_do_not_spend_the_budget(kept: Stores):
    for cause in (Cause.SCHEDULE, Cause.MANUAL):
        retrainings(kept).request("signal_classifier", cause, "x", by="kim", reason="because")
    assert retrainings(kept).budget_used("signal_classifier") == 0


def _tick(kept: Stores, cursor: str | None, of: ModelSpec) -> dg.SensorResult:
    sensor = retrain_after_drift_sensor({of.name: of})
    context = dg.build_sensor_context(
        cursor=cursor,
        resources={
            "journal": kept.ledger,
            "drift_events": kept.drift_events,
            "retrainings": retrainings(kept),
            "actor": SERVICE,
        },
    )
    found = sensor(context)
    assert isinstance(found, dg.SensorResult)
    return found


def _raise_drift(kept: Stores, **times: float) -> None:
    table = _table(*(_feature(name, factor) for name, factor in times.items()))
    provenance = Provenance(code_version="1", inputs={})
    published = kept.snapshots.publish(DRIFT, table, provenance=provenance, actor="dagster")
    raise_events([published], snapshots=kept.snapshots, events=kept.drift_events, actor=SERVICE)


def test_the_sensor_asks_for_one_run_and_a_tick_that_is_lost_asks_for_the_same(kept: Stores):
    _raise_drift(kept, rsi_14=1.6, return_1d=2.5, return_5d=1.1)
    model = spec()
    first, lost = _tick(kept, None, model), _tick(kept, None, model)
    assert [one.run_key for one in first.run_requests] == [one.run_key for one in lost.run_requests]
    assert [one.asset_selection for one in first.run_requests] == [[dg.AssetKey(["models", model.name])]]
    assert _tick(kept, first.cursor, model).run_requests == []
    _raise_drift(kept, return_5d=2.2)
    assert len(_tick(kept, first.cursor, model).run_requests) == 1
    assert len(retrainings(kept).list(model.name)) == 2


def test_the_drift_of_another_model_is_none_of_its_business(kept: Stores):
    _raise_drift(kept, rsi_14=3.0)
    assert _tick(kept, None, replace(spec(), name="return_forecast")).run_requests == []


def test_the_schedule_asks_for_the_model_alone_with_a_key_of_its_tick(kept: Stores):
    (schedule,) = retraining_definitions(spec()).schedules
    tick = datetime(2024, 7, 2, 6, tzinfo=UTC)
    for _ in range(2):
        context = dg.build_schedule_context(
            scheduled_execution_time=tick, resources={"retrainings": retrainings(kept), "actor": SERVICE}
        )
        asked = schedule(context)
        assert asked.run_key == f"retrain:signal_classifier:schedule:{tick.isoformat()}"
        assert asked.asset_selection == [dg.AssetKey(["models", "signal_classifier"])]
    assert len(retrainings(kept).list("signal_classifier", cause=Cause.SCHEDULE)) == 1
    assert schedule.execution_timezone == "UTC"


@pytest.mark.parametrize("cron", ["61 6 * * *", "0 6 31 2 *", "at six o'clock every day"])
def test_a_cadence_that_never_comes_is_named_with_its_file(cron: str):
    never = spec(cron=cron)
    with pytest.raises(InvalidDeclaration, match=r"signal_classifier\.yaml: field 'retraining\.cron'.*UTC"):
        retraining_definitions(never)


def test_nothing_that_runs_by_itself_may_promote():
    assert not ACCESS.allows(SERVICE, "deployment.promote")


def test_a_version_of_another_source_is_known_by_the_bars_behind_it(kept: Stores):
    made = SimpleNamespace(fingerprint="b" * 64, inputs={"source/sample": "1"})
    history = SimpleNamespace(history=lambda dataset: [made])
    version = SimpleNamespace(metadata={"inputs": {"market/bars": "b" * 64}})
    assert learned_from(version, history, source="source/sample")
    assert not learned_from(version, history, source="source/folder")
    gone = SimpleNamespace(metadata={"inputs": {"market/bars": "c" * 64}})
    assert learned_from(gone, history, source="source/folder")
