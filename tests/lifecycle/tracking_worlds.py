"""Stores for the tests of tracking, and a real Dagster job whose steps fail, are killed, are retried and run again."""

# No `from __future__ import annotations`: Dagster compares the annotation of `context` as a class.

import os
import signal
import tempfile
from functools import cache
from pathlib import Path

import dagster as dg

from mlops_assets.kernel.clock import FixedClock
from mlops_assets.ledger.store import Ledger
from mlops_assets.lifecycle.tracking.dagster_runs import mlflow_metadata, run_key, run_tags
from mlops_assets.lifecycle.tracking.tracking import Tracking
from mlops_assets.lifecycle.training.trials import TrialLedger
from mlops_assets.storage.sql.database import Database

EXPERIMENT = "models/tried"
PARTITIONS = ("AAPL", "MSFT")
DAGSTER_UI = "http://127.0.0.1:3000"


def tracking_of(home: Path, *, is_prepared: bool = True, mlflow_ui: str | None = None) -> Tracking:
    """Tracking over SQLite files in `home`."""
    if is_prepared and not (home / "mlflow.db").exists():
        (home / "mlflow.db").write_bytes(_prepared_mlflow())
    database = database_of(home)
    return Tracking(
        database,
        uri=f"sqlite:///{home / 'mlflow.db'}",
        artifacts=home / "mlflow-artifacts",
        dagster_ui=DAGSTER_UI,
        mlflow_ui=mlflow_ui,
    )


def database_of(home: Path) -> Database:
    database = Database(f"sqlite:///{home / 'platform.db'}")
    database.migrate()
    return database


def trials_of(home: Path, clock: FixedClock) -> TrialLedger:
    database = database_of(home)
    return TrialLedger(database, Ledger(database, clock), clock)


@cache
def _prepared_mlflow() -> bytes:
    """The file of a prepared MLflow store: making one takes seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlflow.db"
        Tracking(Database("sqlite://"), uri=f"sqlite:///{path}", artifacts=Path(folder)).prepare()
        return path.read_bytes()


def tried_job() -> dg.JobDefinition:
    """Return a job of three partitioned assets: one works, one fails at its first try, one is killed at its first."""
    partitions = dg.StaticPartitionsDefinition(list(PARTITIONS))

    def asset(name: str, retry: dg.RetryPolicy | None = None) -> dg.AssetsDefinition:
        dataset = f"models/{name}"

        @dg.asset(key=dataset.split("/"), partitions_def=partitions, retry_policy=retry)
        def trained(context: dg.AssetExecutionContext, home: dg.ResourceParam[str]) -> dg.MaterializeResult:
            tracking = tracking_of(Path(home))
            tags = run_tags(
                context, tracking, asset=dataset, description="Tried.", code_version="1", declaration="1", actor="t"
            )
            with tracking.run(run_key(context, dataset), experiment=EXPERIMENT, tags=tags) as run:
                tries = _count(Path(home), f"{name}-{context.partition_key}")
                run.log_parameters({"learning_rate": 0.1, "tries": tries})
                run.log_metrics({"test/auc": 1 / tries})
                if name == "flaky" and tries == 1:
                    raise ConnectionError("the first try fails")
                if name == "killed" and tries == 1 and context.partition_key == PARTITIONS[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
            return dg.MaterializeResult(metadata=dict(mlflow_metadata(tracking, run.id)))

        return trained

    retried = dg.RetryPolicy(max_retries=1)
    return dg.Definitions(
        assets=[asset("steady"), asset("flaky", retried), asset("killed")],
        jobs=[dg.define_asset_job("train", executor_def=_processes())],
        resources={"home": dg.ResourceDefinition(lambda context: context.resource_config["home"], {"home": str})},
    ).resolve_job_def("train")


def _processes() -> dg.ExecutorDefinition:
    """A process for each step; they are forked from one that has imported what takes seconds."""
    preload = ["dagster", "mlflow", "mlflow.store.tracking.sqlalchemy_store", __name__]
    return dg.multiprocess_executor.configured({"start_method": {"forkserver": {"preload_modules": preload}}})


def _count(home: Path, name: str) -> int:
    """Count the calls of a name, across processes."""
    file = home / f"{name}.tries"
    tries = int(file.read_text()) + 1 if file.exists() else 1
    file.write_text(str(tries))
    return tries
