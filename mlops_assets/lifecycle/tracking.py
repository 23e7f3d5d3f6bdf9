"""Which MLflow run belongs to what: exactly one per (asset, partition, root run), however often a step is tried.

MLflow can't be asked to create something once, so the platform's database elects: the first process to insert the key
into `tracked_run` creates, and all others find. A process killed in between is healed by the next, which looks for the
key among MLflow's tags before it creates.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.kernel.fingerprint import Json, canonical_json
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import tracked_run

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY_TAG = "mlops.key"
FINGERPRINT_TAG = "mlops.fingerprint"

_PREPARE_TIMEOUT_SECONDS = 120
_PARAMETER_LENGTH = 6_000
_DIGEST_LENGTH = 36


class TrackingUnavailable(PlatformError):
    """MLflow does not answer. Its address stays out of the message: it may hold a password."""

    code: ClassVar[str] = "store_unavailable"

    def __init__(self, kind: str) -> None:
        super().__init__(
            f"MLflow does not answer ({kind}). Start it, or correct MLOPS_MLFLOW_TRACKING_URI, and ask again."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKey:
    """What a run is of. `root_run_id` is Dagster's: a retry of the run shares it."""

    asset: str
    root_run_id: str
    partition: str = ""

    def __str__(self) -> str:
        return f"{self.asset}[{self.partition}]@{self.root_run_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """An open MLflow run."""

    id: str
    client: MlflowClient

    def log_parameters(self, parameters: Mapping[str, Json]) -> None:
        """Log parameters once. MLflow refuses a changed value: what varies by attempt is a tag, not a parameter."""
        from mlflow.entities import Param

        self.client.log_batch(self.id, params=[Param(name, _text(value)) for name, value in parameters.items()])

    def log_metrics(self, metrics: Mapping[str, float | None]) -> None:
        """Log the metrics that have a value."""
        for name, value in metrics.items():
            if value is not None and math.isfinite(value):
                self.client.log_metric(self.id, name, value)

    def log_dataset(self, name: str, fingerprint: str) -> None:
        """Name the snapshot that the run learned from as MLflow's input dataset."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=name,
            digest=fingerprint[:_DIGEST_LENGTH],
            source_type="snapshot",
            source=canonical_json({"dataset": name, "fingerprint": fingerprint}).decode(),
        )
        tags = [InputTag("mlflow.data.context", "training"), InputTag(FINGERPRINT_TAG, fingerprint)]
        self.client.log_inputs(self.id, datasets=[DatasetInput(dataset, tags)])

    def log_json(self, value: Json, path: str) -> None:
        """Keep a JSON document as an artifact."""
        self.client.log_text(self.id, canonical_json(value).decode(), path)

    def log_lightgbm(self, text: str, path: str = "model") -> None:
        """Keep a model as MLflow's LightGBM flavour, which stores LightGBM's own text unchanged."""
        import lightgbm
        from mlflow.lightgbm import save_model

        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / path
            save_model(lightgbm.Booster(model_str=text), target, pip_requirements=[f"lightgbm=={lightgbm.__version__}"])
            self.client.log_artifacts(self.id, str(target), path)


class Tracking:
    """A thin layer over MLflow's client: elects runs, closes them, and projects the registry."""

    def __init__(self, database: Database, *, uri: str, artifacts: Path) -> None:
        self.uri = uri
        self._database, self._artifacts = database, artifacts
        self._is_prepared = False

    def prepare(self) -> None:
        """Create MLflow's tables, one process at a time: two that do so at once fail with `table already exists`."""
        self._is_prepared = True
        if (store := self._sqlite_file()) is None:
            return
        store.parent.mkdir(parents=True, exist_ok=True)
        lock = sqlite3.connect(store.with_suffix(".lock"), timeout=_PREPARE_TIMEOUT_SECONDS, isolation_level=None)
        with closing(lock):
            lock.execute("BEGIN EXCLUSIVE")
            self._connect().search_experiments(max_results=1)

    def client(self) -> MlflowClient:
        """Return MLflow's own client on the prepared store."""
        if not self._is_prepared:
            self.prepare()
        return self._connect()

    @contextmanager
    def reading(self) -> Iterator[MlflowClient]:
        """Lend MLflow's client for questions.

        Raises:
            TrackingUnavailable: if MLflow does not answer.
        """
        from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT
        from mlflow.exceptions import MlflowException

        # Its own defaults keep somebody who waits for a page for minutes. They hold for the whole process.
        for variable, value in ((MLFLOW_HTTP_REQUEST_MAX_RETRIES, 1), (MLFLOW_HTTP_REQUEST_TIMEOUT, 10)):
            if not variable.is_set():
                variable.set(value)
        try:
            yield self.client()
        except (MlflowException, OSError, sqlite3.Error, SQLAlchemyError) as error:
            raise TrackingUnavailable(type(error).__name__) from error

    @contextmanager
    def run(
        self, key: RunKey, *, experiment: str, tags: Mapping[str, str], parent: str | None = None
    ) -> Iterator[TrackedRun]:
        """Open the one run of `key`, and close it as FINISHED, or FAILED if the block raises."""
        client = self.client()
        experiment_id = self._experiment(client, experiment)
        wanted = {**tags, KEY_TAG: str(key), **({"mlflow.parentRunId": parent} if parent else {})}

        def find() -> str | None:
            found = client.search_runs([experiment_id], filter_string=f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
            return found[0].info.run_id if found else None

        def create() -> str:
            return client.create_run(experiment_id, tags=wanted, run_name=str(key)).info.run_id

        run_id = self._once(key, find, create)
        client.update_run(run_id, status="RUNNING")
        status = "FAILED"
        try:
            yield TrackedRun(id=run_id, client=client)
            status = "FINISHED"
        finally:
            client.set_terminated(run_id, status=status)

    def project_version(
        self, *, model: str, version: int, fingerprint: str, run_id: str, description: str, tags: Mapping[str, str]
    ) -> str:
        """Show a registered version in MLflow's registry and return MLflow's number for it.

        One way: nothing is read back. MLflow counts by itself, so the platform's version is the tag `mlops.version`.
        """
        from mlflow.exceptions import MlflowException

        client = self.client()
        try:
            client.create_registered_model(model, description=description)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

        def find() -> str | None:
            where = f"name = '{model}' and tags.`{FINGERPRINT_TAG}` = '{fingerprint}'"
            found = client.search_model_versions(where, max_results=1)
            return str(found[0].version) if found else None

        def create() -> str:
            wanted = {**tags, FINGERPRINT_TAG: fingerprint, "mlops.version": str(version)}
            created = client.create_model_version(
                model, source=f"runs:/{run_id}/model", run_id=run_id, tags=wanted, await_creation_for=0
            )
            return str(created.version)

        return self._once(RunKey(asset=f"registry/{model}", root_run_id=fingerprint), find, create)

    def _once(self, key: RunKey, find: Callable[[], str | None], create: Callable[[], str]) -> str:
        """Return the id elected for `key`, creating it if nobody has. Holds the write lock only while it creates."""
        row = (
            tracked_run.c.asset == key.asset,
            tracked_run.c.partition == key.partition,
            tracked_run.c.root_run_id == key.root_run_id,
        )
        elected = sa.select(tracked_run.c.run_id).where(*row)
        with self._database.read() as connection:
            if (known := connection.scalar(elected)) is not None:
                return known
        with self._database.begin() as connection:
            connection.execute(_insert_if_absent(connection, key))
            if (known := connection.scalar(elected)) is not None:
                return known
            made = find() or create()
            connection.execute(sa.update(tracked_run).where(*row).values(run_id=made))
            return made

    def _experiment(self, client: MlflowClient, name: str) -> str:
        from mlflow.exceptions import MlflowException

        if (found := client.get_experiment_by_name(name)) is not None:
            return found.experiment_id
        location = self._artifacts.resolve().as_uri() if self._sqlite_file() is not None else None
        try:
            return client.create_experiment(name, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return self._experiment(client, name)

    def _connect(self) -> MlflowClient:
        from mlflow import MlflowClient

        for noisy in ("alembic", "mlflow.store.db.utils"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def _sqlite_file(self) -> Path | None:
        prefix = "sqlite:///"
        return Path(self.uri.removeprefix(prefix)) if self.uri.startswith(prefix) else None


def _insert_if_absent(connection: sa.Connection, key: RunKey) -> sa.Insert:
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert  # its drivers' modules cost 0.15 s to import
    else:
        from sqlalchemy.dialects.sqlite import insert
    values = {"asset": key.asset, "partition": key.partition, "root_run_id": key.root_run_id, "run_id": None}
    return insert(tracked_run).values(values).on_conflict_do_nothing()


def _text(value: Json) -> str:
    text = value if isinstance(value, str) else canonical_json(value).decode()
    return text[:_PARAMETER_LENGTH]
