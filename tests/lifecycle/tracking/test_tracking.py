import collections
import json
import multiprocessing
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa
from mlflow import MlflowClient

from mlops_assets.lifecycle.tracking.links import Links
from mlops_assets.lifecycle.tracking.source_commit import commit_of
from mlops_assets.lifecycle.tracking.tracking import RunKey, Tracking, TrackingUnavailable
from mlops_assets.storage.parquet.snapshots import Provenance, SnapshotStore
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import tracked_run
from tests.alerts.worlds import closed_port
from tests.lifecycle.tracking_worlds import DAGSTER_UI, database_of, tracking_of

KEY = RunKey(asset="models/signal_classifier", root_run_id="root-1")
EXPERIMENT = "models/signal_classifier"


def _track(home: Path, start, results) -> None:
    tracking = tracking_of(home, is_prepared=False)
    start.wait()
    with tracking.run(KEY, experiment=EXPERIMENT, tags={}) as run:
        results.put(run.id)


def test_questions_to_an_mlflow_that_does_not_answer_name_no_address(tmp_path: Path):
    (tmp_path / "mlflow.db").write_bytes(b"no database at all" * 100)
    with (
        pytest.raises(TrackingUnavailable, match="MLOPS_MLFLOW_TRACKING_URI") as refused,
        tracking_of(tmp_path).reading(),
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
    database_of(tmp_path)
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
    client = tracking_of(tmp_path).client()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    assert [run.info.run_id for run in client.search_runs([experiment.experiment_id])] == list(ids)


def test_a_run_is_readable_by_mlflow_with_what_was_logged(tmp_path: Path):
    tracking = tracking_of(tmp_path)
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
    tracking = tracking_of(tmp_path)
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
    tracking = tracking_of(tmp_path)
    with tracking.run(KEY, experiment=EXPERIMENT, tags={}) as first:
        pass
    with database_of(tmp_path).begin() as connection:  # as if the transaction that recorded the id had been lost
        connection.execute(sa.delete(tracked_run))
    with tracking.run(KEY, experiment=EXPERIMENT, tags={}) as second:
        pass
    assert second.id == first.id


def test_another_root_run_or_partition_is_another_run(tmp_path: Path):
    tracking = tracking_of(tmp_path)
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


def test_everything_noted_costs_one_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    tracking, calls = tracking_of(tmp_path), collections.Counter[str]()

    def counted(name: str):
        original = getattr(SqlAlchemyStore, name)

        def call(*arguments, **options):
            calls[name] += 1
            return original(*arguments, **options)

        return call

    asked = ("create_run", "get_run", "search_runs", "update_run_info", "log_batch", "log_metric", "log_inputs")
    for name in (*asked, "get_experiment_by_name"):
        monkeypatch.setattr(SqlAlchemyStore, name, counted(name))
    for root in ("first", "second"):
        calls.clear()
        with tracking.run(RunKey(asset="models/a", root_run_id=root), experiment=EXPERIMENT, tags={"a": "b"}) as run:
            run.log_parameters({f"p{number}": number for number in range(150)})
            for number in range(30):
                run.log_metrics({f"test/m{number}": number / 7})
            run.log_dataset("datasets/signal_daily", "ab" * 32)
            run.log_dataset("market/bars", "cd" * 32, use="source")
    # Two batches, because MLflow takes 100 parameters in one.
    assert calls == {"search_runs": 1, "create_run": 1, "log_batch": 2, "log_inputs": 1, "update_run_info": 1}
    seen = tracking.client().get_run(run.id)
    assert (len(seen.data.params), len(seen.data.metrics)) == (150, 30)


def test_what_was_noted_is_there_although_the_block_raised(tmp_path: Path):
    tracking = tracking_of(tmp_path)
    with (
        pytest.raises(ZeroDivisionError),
        tracking.run(KEY, experiment=EXPERIMENT, tags={}) as run,
    ):
        run.log_parameters({"a": 1})
        raise ZeroDivisionError
    assert tracking.client().get_run(run.id).data.params == {"a": "1"}


def test_an_interrupted_run_is_killed_and_not_failed(tmp_path: Path):
    tracking = tracking_of(tmp_path)
    with pytest.raises(KeyboardInterrupt), tracking.run(KEY, experiment=EXPERIMENT, tags={}) as run:
        raise KeyboardInterrupt
    assert tracking.client().get_run(run.id).info.status == "KILLED"


def test_a_third_attempt_repeats_what_did_not_change_and_files_what_did_under_its_number(tmp_path: Path):
    tracking = tracking_of(tmp_path)
    for rate in (0.1, 0.2, 0.3):
        with tracking.run(KEY, experiment=EXPERIMENT, tags={}) as run:
            run.log_parameters({"rate": rate, "objective": "binary"})
            run.log_metrics({"test/auc": 1 - rate})
    seen = tracking.client().get_run(run.id)
    assert run.attempt == 2
    assert seen.data.params == {
        "rate": "0.1",
        "objective": "binary",
        "attempt_1/rate": "0.2",
        "attempt_2/rate": "0.3",
    }
    assert seen.data.metrics == {"test/auc": 0.7}
    history = tracking.client().get_metric_history(run.id, "test/auc")
    assert {(one.step, one.value) for one in history} == {(0, 0.9), (1, 0.8), (2, 0.7)}


def test_a_run_that_somebody_deleted_in_mlflow_is_restored_and_not_made_twice(tmp_path: Path):
    tracking = tracking_of(tmp_path)
    with tracking.run(KEY, experiment=EXPERIMENT, tags={}) as first:
        pass
    tracking.client().delete_run(first.id)
    with tracking.run(KEY, experiment=EXPERIMENT, tags={}) as second:
        pass
    assert second.id == first.id
    assert tracking.client().get_run(first.id).info.lifecycle_stage == "active"


def test_a_partition_with_quotes_is_found_again(tmp_path: Path):
    tracking = tracking_of(tmp_path)
    key = RunKey(asset="models/a", root_run_id="r", partition='it\'s "quoted" [x]')
    with tracking.run(key, experiment=EXPERIMENT, tags={}) as first:
        pass
    with database_of(tmp_path).begin() as connection:
        connection.execute(sa.delete(tracked_run))
    with tracking.run(key, experiment=EXPERIMENT, tags={}) as second:
        pass
    assert second.id == first.id


def test_mlflows_own_client_finds_runs_by_tag_parent_input_and_artifact(tmp_path: Path, snapshots: SnapshotStore):
    tracking = tracking_of(tmp_path)
    inputs = {"market/bars": "b" * 64, "features/momentum": "c" * 64}
    rows = pa.table({"date": [1, 2, 3]})
    made_from = Provenance(code_version="1", inputs=inputs)
    training_set = snapshots.publish("datasets/signal_daily", rows, provenance=made_from, actor="t")
    with tracking.run(KEY, experiment=EXPERIMENT, tags={"dagster.asset": "models/a"}) as parent:
        parent.log_training_set(training_set)
        parent.log_json({"a": 1}, "metadata.json")
        parent.log_model(b"tree", "model.lgb")
        child_key = RunKey(asset=KEY.asset, root_run_id=KEY.root_run_id, partition="child")
        with tracking.run(child_key, experiment=EXPERIMENT, tags={}, parent=parent.id) as child:
            child.log_metrics({"valid/loss": 0.5})

    client = MlflowClient(tracking_uri=tracking.uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None

    def found(where: str) -> list[str]:
        return [run.info.run_id for run in client.search_runs([experiment.experiment_id], filter_string=where)]

    assert found("tags.`dagster.asset` = 'models/a'") == [parent.id]
    assert found(f"tags.`mlflow.parentRunId` = '{parent.id}'") == [child.id]
    assert found("metrics.`valid/loss` < 1") == [child.id]
    assert found("dataset.name = 'market/bars'") == [parent.id]
    seen = {
        one.dataset.name: ({tag.key: tag.value for tag in one.tags}, json.loads(one.dataset.source))
        for one in client.get_run(parent.id).inputs.dataset_inputs
    }
    assert {name: tags["mlflow.data.context"] for name, (tags, _) in seen.items()} == {
        "datasets/signal_daily": "training",
        "market/bars": "source",
        "features/momentum": "source",
    }
    assert {name: source["fingerprint"] for name, (_, source) in seen.items()} == {
        "datasets/signal_daily": training_set.fingerprint,
        **inputs,
    }
    assert {one.path for one in client.list_artifacts(parent.id)} == {"metadata.json", "model"}
    assert Path(client.download_artifacts(parent.id, "model/model.lgb")).read_bytes() == b"tree"


@pytest.mark.parametrize(
    ("uri", "ui", "page"),
    [
        ("sqlite:////home/mlflow.db", None, None),
        ("sqlite:////home/mlflow.db", "https://mlflow.desk/", "https://mlflow.desk/#/runs/r1"),
        ("http://me:secret@mlflow.desk:5000", None, "http://mlflow.desk:5000/#/runs/r1"),
        ("http://mlflow.internal", "https://mlflow.desk", "https://mlflow.desk/#/runs/r1"),
    ],
)
def test_the_page_of_a_run_is_that_of_the_ui_or_of_the_server_and_holds_no_password(uri, ui, page):
    assert Links(tracking_uri=uri, mlflow_ui=ui).mlflow_run("r1") == page


def test_how_to_open_the_ui_names_a_file_and_never_a_servers_password():
    assert Links(tracking_uri="sqlite:////h/mlflow.db").how_to_open == (
        'mlflow ui --backend-store-uri "sqlite:////h/mlflow.db"'
    )
    assert "secret" not in Links(tracking_uri="postgresql://me:secret@db/mlflow").how_to_open


def test_a_page_of_an_asset_quotes_its_partition():
    links = Links(tracking_uri="sqlite://", dagster_ui=DAGSTER_UI)
    assert links.dagster_asset("models/a", "x&y") == f"{DAGSTER_UI}/assets/models/a?view=partitions&partition=x%26y"
    assert Links(tracking_uri="sqlite://").dagster_asset("models/a") is None


def test_the_commit_of_a_tree_is_what_git_says(tmp_path: Path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    assert commit_of(tmp_path) is None
    subprocess.run([*git, "init", "--quiet"], check=True)
    assert commit_of(tmp_path) is None, "there is no commit yet"
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "first"], check=True)
    said = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert commit_of(tmp_path) == said
    subprocess.run([*git, "pack-refs", "--all"], check=True)
    assert commit_of(tmp_path) == said
    subprocess.run([*git, "checkout", "--quiet", "--detach"], check=True)
    assert commit_of(tmp_path) == said


def test_an_input_that_two_attempts_name_is_there_once(tmp_path: Path):
    tracking = tracking_of(tmp_path)
    for _ in range(2):
        with tracking.run(KEY, experiment=EXPERIMENT, tags={}) as run:
            run.log_dataset("datasets/signal_daily", "ab" * 32)
    assert len(tracking.client().get_run(run.id).inputs.dataset_inputs) == 1
