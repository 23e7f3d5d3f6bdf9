from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.tags import ROOT_RUN_ID_TAG, WILL_RETRY_TAG
from mlflow.entities import Run

from mlops_assets.kernel.clock import FixedClock
from mlops_assets.lifecycle.tracking.automation import orphans_sensor
from mlops_assets.lifecycle.tracking.tracking import CLOSED_TAG, RunKey, Tracking, TrackingUnavailable
from tests.lifecycle.tracking_worlds import tracking_of

NOW = datetime.now(UTC)  # MLflow stamps runs by its own clock
ENDED = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.SUCCESS)


@dg.job
def a_job() -> None:
    pass


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def _left_open(tracking: Tracking, **tags: str) -> str:
    """Leave a run as a killed process does: open. `dagster_run_id` becomes the tag `dagster.run_id`."""
    named = {name.replace("_", ".", 1): value for name, value in tags.items()}
    key = RunKey(asset="models/a", root_run_id="root")
    with tracking.run(key, experiment="models/a", tags=named) as run:
        pass
    tracking.client().update_run(run.id, status="RUNNING")
    return run.id


def _tick(tracking: Tracking, instance: dg.DagsterInstance, *, at: datetime = NOW) -> str:
    context = dg.build_sensor_context(instance=instance, resources={"tracking": tracking, "clock": FixedClock(at=at)})
    return str(orphans_sensor().evaluate_tick(context).skip_message)


def _run(tracking: Tracking, run_id: str) -> Run:
    return tracking.client().get_run(run_id)


def _dagster_run(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, *, root: str | None = None, **tags: str
) -> str:
    lineage = {} if root is None else {"root_run_id": root, "parent_run_id": root}
    marks = {} if root is None else {ROOT_RUN_ID_TAG: root}
    made = instance.create_run_for_job(a_job, status=status, tags={**marks, **tags}, **lineage)
    return made.run_id


@pytest.mark.parametrize(("status", "closed_as"), list(zip(ENDED, ("FAILED", "KILLED", "KILLED"), strict=True)))
def test_a_run_whose_dagster_run_ended_is_closed_once(tmp_path: Path, instance, status, closed_as):
    tracking = tracking_of(tmp_path)
    dagster_run = _dagster_run(instance, status)
    open_run = _left_open(tracking, dagster_run_id=dagster_run)
    assert open_run in _tick(tracking, instance)
    closed = _run(tracking, open_run)
    assert closed.info.status == closed_as
    assert closed.data.tags[CLOSED_TAG] == f"by mlflow_orphans: Dagster run {dagster_run} ended as {status.value}"
    assert _tick(tracking, instance) == "no run is orphaned"
    assert _run(tracking, open_run).info.end_time == closed.info.end_time


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.NOT_STARTED])
def test_a_run_that_is_worked_on_stays_open(tmp_path: Path, instance, status):
    tracking = tracking_of(tmp_path)
    open_run = _left_open(tracking, dagster_run_id=_dagster_run(instance, status))
    assert _tick(tracking, instance, at=NOW + timedelta(days=3)) == "no run is orphaned"
    assert _run(tracking, open_run).info.status == "RUNNING"


def test_a_run_whose_retry_is_under_way_stays_open_until_that_has_ended(tmp_path: Path, instance):
    tracking = tracking_of(tmp_path)
    root = _dagster_run(instance, dg.DagsterRunStatus.FAILURE)
    retry = _dagster_run(instance, dg.DagsterRunStatus.STARTED, root=root)
    open_run = _left_open(tracking, dagster_run_id=root)
    assert _tick(tracking, instance) == "no run is orphaned"
    found = instance.get_run_by_id(retry)
    assert found is not None
    instance.report_run_failed(found)
    assert open_run in _tick(tracking, instance)


def test_a_run_that_dagster_will_run_again_stays_open(tmp_path: Path, instance):
    tracking = tracking_of(tmp_path)
    _left_open(tracking, dagster_run_id=_dagster_run(instance, ENDED[0], **{WILL_RETRY_TAG: "true"}))
    assert _tick(tracking, instance) == "no run is orphaned"


@pytest.mark.parametrize("tags", [{"dagster_run_id": "gone"}, {}], ids=["unknown to Dagster", "not made by Dagster"])
def test_a_run_nobody_knows_is_closed_after_a_day(tmp_path: Path, instance, tags):
    tracking = tracking_of(tmp_path)
    open_run = _left_open(tracking, **tags)
    assert _tick(tracking, instance, at=NOW + timedelta(hours=23)) == "no run is orphaned"
    assert open_run in _tick(tracking, instance, at=NOW + timedelta(hours=25))
    assert _run(tracking, open_run).info.status == "KILLED"


def test_runs_of_other_people_are_left_alone(tmp_path: Path, instance):
    tracking = tracking_of(tmp_path)
    client = tracking.client()
    theirs = client.create_run(client.create_experiment("theirs")).info.run_id
    assert _tick(tracking, instance, at=NOW + timedelta(days=9)) == "no run is orphaned"
    assert client.get_run(theirs).info.status == "RUNNING"


def test_an_mlflow_that_does_not_answer_fails_the_tick_in_words(tmp_path: Path, instance):
    (tmp_path / "mlflow.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(TrackingUnavailable, match="MLOPS_MLFLOW_TRACKING_URI"):
        _tick(tracking_of(tmp_path), instance)
