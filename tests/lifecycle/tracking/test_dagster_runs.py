"""A real job under the multiprocess executor: steps fail, are killed, retried and run again, in one MLflow run each."""

from __future__ import annotations

import collections
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from mlops_assets.lifecycle.tracking.automation import close_orphans
from mlops_assets.lifecycle.tracking.tracking import CLOSED_TAG
from tests.lifecycle.tracking_worlds import DAGSTER_UI, EXPERIMENT, PARTITIONS, tracking_of, tried_job


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What happened, and what MLflow says of it afterwards; `killed` is what it said right after the kill."""

    first: dg.DagsterRun
    again: dg.DagsterRun
    other: dg.DagsterRun
    killed: Run
    closed: list[str]
    closed_twice: list[str]
    after_closing: Run
    runs: list[Run]
    shown: dict[str, str]


def _execute(instance: dg.DagsterInstance, home: Path, partition: str, **options) -> dg.DagsterRun:
    result = dg.execute_job(
        dg.reconstructable(tried_job),
        instance=instance,
        run_config={"resources": {"home": {"config": {"home": str(home)}}}},
        tags={"dagster/partition": partition},
        raise_on_error=False,
        **options,
    )
    with result:
        found = instance.get_run_by_id(result.run_id)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    home = tmp_path_factory.mktemp("home")
    tracking = tracking_of(home)
    client = MlflowClient(tracking_uri=tracking.uri)
    now = datetime.now(UTC)
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as instance:
        first = _execute(instance, home, PARTITIONS[0])
        killed = _of(client, "models/killed")[0]
        closed, closed_twice = ([one.run_id for one in close_orphans(tracking, instance, at=now)] for _ in range(2))
        after_closing = client.get_run(killed.info.run_id)
        options = dg.ReexecutionOptions.from_failure(first.run_id, instance)
        again = _execute(instance, home, PARTITIONS[0], reexecution_options=options)
        other = _execute(instance, home, PARTITIONS[1])
        event = instance.fetch_materializations(dg.AssetKey(["models", "steady"]), limit=1).records[0]
        assert event.asset_materialization is not None
        shown = {name: str(one.value) for name, one in event.asset_materialization.metadata.items()}
    return Told(
        first=first,
        again=again,
        other=other,
        killed=killed,
        closed=closed,
        closed_twice=closed_twice,
        after_closing=after_closing,
        runs=_of(client),
        shown=shown,
    )


def _of(client: MlflowClient, asset: str | None = None) -> list[Run]:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    where = "" if asset is None else f"tags.`dagster.asset` = '{asset}'"
    return list(client.search_runs([experiment.experiment_id], filter_string=where))


def test_the_job_went_as_planned(told: Told):
    statuses = [one.status for one in (told.first, told.again, told.other)]
    assert statuses == [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.SUCCESS]
    assert told.again.root_run_id == told.first.run_id


def test_there_is_one_mlflow_run_for_each_asset_partition_and_root_run(told: Told):
    found = collections.Counter(
        (tags["dagster.asset"], tags["dagster.partition"], tags["dagster.root_run_id"])
        for tags in (run.data.tags for run in told.runs)
    )
    roots = dict(zip(PARTITIONS, (told.first.run_id, told.other.run_id), strict=True))
    wanted = {(f"models/{name}", one, root) for name in ("steady", "flaky", "killed") for one, root in roots.items()}
    assert found == dict.fromkeys(wanted, 1)
    assert {run.info.status for run in told.runs} == {"FINISHED"}


def test_a_retried_step_keeps_its_run_and_what_differs_goes_under_its_attempt(told: Told):
    flaky = [run for run in told.runs if run.data.tags["dagster.asset"] == "models/flaky"]
    for run in flaky:
        assert run.data.params == {"learning_rate": "0.1", "tries": "1", "attempt_1/tries": "2"}
        assert run.data.tags["mlops.attempt"] == "1"
        assert run.data.metrics == {"test/auc": 0.5}, "the retry's metric wins although it is lower"


def test_a_killed_step_stays_running_until_the_sensor_closes_it_once(told: Told):
    assert told.killed.info.status == "RUNNING"
    assert told.closed == [told.killed.info.run_id]
    assert told.closed_twice == []
    assert told.after_closing.info.status == "FAILED"
    assert told.first.run_id in told.after_closing.data.tags[CLOSED_TAG]


def test_the_run_again_of_a_killed_step_finishes_the_run_that_the_kill_left(told: Told):
    (run,) = (one for one in told.runs if one.info.run_id == told.killed.info.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["dagster.run_id"] == told.again.run_id
    assert run.data.tags["attempt_0/dagster.run_id"] == told.first.run_id
    assert run.data.params["tries"] == "2", "what the killed process had noted was lost with it"
    assert CLOSED_TAG not in run.data.tags, "a run that finished after all is no orphan"


def test_dagster_and_mlflow_lead_to_each_other(told: Told):
    assert told.shown["mlflow"].startswith('mlflow ui --backend-store-uri "sqlite:///')
    (run,) = (one for one in told.runs if one.info.run_id == told.shown["mlflow_run_id"])
    assert run.data.tags["dagster.url"] == f"{DAGSTER_UI}/runs/{told.other.run_id}"
    page = f"{DAGSTER_UI}/assets/models/steady?view=partitions&partition={PARTITIONS[1]}"
    assert run.data.tags["dagster.asset_url"] == page
    assert page in run.data.tags["mlflow.note.content"]
    assert run.data.tags["dagster.job"] == "train"
