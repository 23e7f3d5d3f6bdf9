import multiprocessing
from pathlib import Path

import pytest
import sqlalchemy as sa

from mlops_assets.lifecycle.tracking import RunKey, Tracking, TrackingUnavailable
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import tracked_run
from tests.alerts.worlds import closed_port
from tests.lifecycle.worlds import stores

KEY = RunKey(asset="models/signal_classifier", root_run_id="root-1")
EXPERIMENT = "models/signal_classifier"


def _tracking(home: Path) -> Tracking:
    return Tracking(
        Database(f"sqlite:///{home / 'platform.db'}"),
        uri=f"sqlite:///{home / 'mlflow.db'}",
        artifacts=home / "mlflow-artifacts",
    )


def _track(home: Path, start, results) -> None:
    tracking = _tracking(home)
    start.wait()
    with tracking.run(KEY, experiment=EXPERIMENT, tags={}) as run:
        results.put(run.id)


def test_questions_to_an_mlflow_that_does_not_answer_name_no_address(tmp_path: Path):
    (tmp_path / "mlflow.db").write_bytes(b"no database at all" * 100)
    with (
        pytest.raises(TrackingUnavailable, match="MLOPS_MLFLOW_TRACKING_URI") as refused,
        _tracking(tmp_path).reading(),
    ):
        pytest.fail("nothing is lent")
    assert "mlflow.db" not in str(refused.value)


def test_a_server_that_is_gone_is_told_within_seconds(tmp_path: Path):
    with closed_port() as port:
        gone = Tracking(
            Database(f"sqlite:///{tmp_path / 'platform.db'}"), uri=f"http://127.0.0.1:{port}", artifacts=tmp_path
        )
        with pytest.raises(TrackingUnavailable, match="does not answer"), gone.reading() as client:
            client.get_experiment_by_name(EXPERIMENT)


@pytest.mark.slow
def test_four_processes_share_one_run_on_a_store_that_none_has_prepared(tmp_path: Path):
    stores(tmp_path, is_mlflow_prepared=False)
    spawn = multiprocessing.get_context("spawn")
    start, results = spawn.Barrier(4), spawn.Queue()
    workers = [spawn.Process(target=_track, args=(tmp_path, start, results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    ids = {results.get(timeout=240) for _ in workers}
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert len(ids) == 1
    client = _tracking(tmp_path).client()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    assert [run.info.run_id for run in client.search_runs([experiment.experiment_id])] == list(ids)


def test_a_run_is_readable_by_mlflow_with_what_was_logged(tmp_path: Path):
    tracking = stores(tmp_path).tracking
    with tracking.run(KEY, experiment=EXPERIMENT, tags={"dagster.run_id": "r1"}, parent="p1") as run:
        run.log_parameters({"learning_rate": 0.03, "objective": "binary"})
        run.log_metrics({"test/auc": 0.51, "test/undefined": None, "test/nan": float("nan")})
        run.log_dataset("datasets/signal_daily", "ab" * 32)
        run.log_json({"b": 1, "a": 2}, "metadata.json")
    seen = tracking.client().get_run(run.id)
    assert seen.info.status == "FINISHED"
    assert seen.data.params == {"learning_rate": "0.03", "objective": "binary"}
    assert seen.data.metrics == {"test/auc": 0.51}
    assert seen.data.tags["dagster.run_id"] == "r1"
    assert seen.data.tags["mlflow.parentRunId"] == "p1"
    (source,) = seen.inputs.dataset_inputs
    assert source.dataset.name == "datasets/signal_daily"
    assert "ab" * 32 in {tag.value for tag in source.tags}


def test_a_run_that_raises_is_closed_as_failed_and_a_retry_finishes_the_same_run(tmp_path: Path):
    tracking = stores(tmp_path).tracking
    with (
        pytest.raises(ZeroDivisionError),
        tracking.run(KEY, experiment=EXPERIMENT, tags={}) as failed,
    ):
        raise ZeroDivisionError
    assert tracking.client().get_run(failed.id).info.status == "FAILED"
    with tracking.run(KEY, experiment=EXPERIMENT, tags={}) as retried:
        pass
    assert retried.id == failed.id
    assert tracking.client().get_run(failed.id).info.status == "FINISHED"


def test_a_process_killed_between_mlflow_and_the_election_leaves_no_second_run(tmp_path: Path):
    kept = stores(tmp_path)
    with kept.tracking.run(KEY, experiment=EXPERIMENT, tags={}) as first:
        pass
    with kept.database.begin() as connection:  # as if the transaction that recorded the id had been lost
        connection.execute(sa.delete(tracked_run))
    with kept.tracking.run(KEY, experiment=EXPERIMENT, tags={}) as second:
        pass
    assert second.id == first.id


def test_another_root_run_or_partition_is_another_run(tmp_path: Path):
    tracking = stores(tmp_path).tracking
    keys = (
        KEY,
        RunKey(asset=KEY.asset, root_run_id="root-2"),
        RunKey(asset=KEY.asset, root_run_id="root-1", partition="p"),
    )
    ids = set()
    for key in keys:
        with tracking.run(key, experiment=EXPERIMENT, tags={}) as run:
            ids.add(run.id)
    assert len(ids) == 3
