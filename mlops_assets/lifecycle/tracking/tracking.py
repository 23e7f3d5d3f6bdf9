"""Which MLflow run belongs to what: exactly one per (asset, partition, root run), however often a step is tried.

MLflow can't be asked to create something once, so the platform's database elects: the first process to insert the key
into `tracked_run` creates, and all others find. A process killed in between is healed by the next, which looks for the
key among MLflow's tags before it creates. Every opening after the first is another attempt of the same run.

What is written into a run is in `tracked_run.py`; who closes what a killed process left open, in
`automation.py`.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.lifecycle.tracking.links import Links
from mlops_assets.lifecycle.tracking.tracked_run import FINGERPRINT_TAG, TrackedRun
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import tracked_run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

KEY_TAG, ATTEMPT_TAG, DAGSTER_RUN_TAG = "mlops.key", "mlops.attempt", "dagster.run_id"
FAILURE_TAG = "mlops.failure"
"""Why a run failed; gone when it is opened again."""
CLOSED_TAG = "mlops.closed"
"""Why a run that nobody finished was closed; gone when it is opened again."""

_PREPARE_TIMEOUT_SECONDS = 120
_SHOWN_OF_A_ROOT = 8


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

    @property
    def fingerprint(self) -> str:
        return fingerprint({"asset": self.asset, "partition": self.partition, "root_run_id": self.root_run_id})

    @property
    def title(self) -> str:
        """What people see in MLflow's list of runs."""
        partition = f" [{self.partition}]" if self.partition else ""
        return f"{self.asset}{partition} {self.root_run_id[:_SHOWN_OF_A_ROOT]}"


class _Elected(NamedTuple):
    """The one thing of a key, and whether this process has just made it."""

    id: str
    is_new: bool


class Tracking:
    """A thin layer over MLflow's client: elects runs, closes them, and projects the registry."""

    def __init__(
        self,
        database: Database,
        *,
        uri: str,
        artifacts: Path,
        mlflow_ui: str | None = None,
        dagster_ui: str | None = None,
        source_tree: Path | None = None,
    ) -> None:
        """Args: source_tree: where the code lies; its Git commit, if it has one, is a tag of every run."""
        self.uri, self.source_tree = uri, source_tree
        self.links = Links(tracking_uri=uri, mlflow_ui=mlflow_ui, dagster_ui=dagster_ui)
        self._database, self._artifacts = database, artifacts
        self._is_prepared = False
        self._experiments: dict[str, str] = {}

    def url(self, run_id: str) -> str | None:
        """Return the page of a run in MLflow's UI, or None if no UI is known; see `links.how_to_open`."""
        return self.links.mlflow_run(run_id)

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
        self,
        key: RunKey,
        *,
        experiment: str,
        tags: Mapping[str, str],
        parent: str | None = None,
        name: str | None = None,
    ) -> Iterator[TrackedRun]:
        """Open the one run of `key`; write what was noted and close it as FINISHED, FAILED or, interrupted, KILLED."""
        client = self.client()
        experiment_id = self._experiment(client, experiment)
        shared = {**tags, KEY_TAG: key.fingerprint, **({"mlflow.parentRunId": parent} if parent else {})}

        def find() -> str | None:
            where = f"tags.`{KEY_TAG}` = '{key.fingerprint}'"
            found = client.search_runs([experiment_id], filter_string=where, max_results=1)
            return found[0].info.run_id if found else None

        def create() -> str:
            wanted = {**shared, ATTEMPT_TAG: "0"}
            return client.create_run(experiment_id, tags=wanted, run_name=name or key.title).info.run_id

        elected = self._once(key, find, create)
        if elected.is_new:
            run = TrackedRun(client, elected.id, attempt=0, written={})
        else:
            run = _reopened(client, elected.id, shared)
        status = "KILLED"
        try:
            try:
                yield run
            except PlatformError as error:
                run.log_tags({FAILURE_TAG: str(error)})
                raise
            finally:
                run.write()
            status = "FAILED" if run.is_failed else "FINISHED"
        except Exception:
            status = "FAILED"
            raise
        finally:
            client.set_terminated(run.id, status=status)

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

        return self._once(RunKey(asset=f"registry/{model}", root_run_id=fingerprint), find, create).id

    def _once(self, key: RunKey, find: Callable[[], str | None], create: Callable[[], str]) -> _Elected:
        """Return the id elected for `key`, creating it if nobody has. Holds the write lock only while it creates."""
        row = (
            tracked_run.c.asset == key.asset,
            tracked_run.c.partition == key.partition,
            tracked_run.c.root_run_id == key.root_run_id,
        )
        elected = sa.select(tracked_run.c.run_id).where(*row)
        with self._database.read() as connection:
            if (known := connection.scalar(elected)) is not None:
                return _Elected(known, is_new=False)
        with self._database.begin() as connection:
            connection.execute(_insert_if_absent(connection, key))
            if (known := connection.scalar(elected)) is not None:
                return _Elected(known, is_new=False)
            found = find()
            made = found or create()
            connection.execute(sa.update(tracked_run).where(*row).values(run_id=made))
            return _Elected(made, is_new=found is None)

    def _experiment(self, client: MlflowClient, name: str) -> str:
        if name not in self._experiments:
            self._experiments[name] = self._find_or_make_experiment(client, name)
        return self._experiments[name]

    def _find_or_make_experiment(self, client: MlflowClient, name: str) -> str:
        from mlflow.exceptions import MlflowException

        if (found := client.get_experiment_by_name(name)) is not None:
            if found.lifecycle_stage == "deleted":
                client.restore_experiment(found.experiment_id)
            return found.experiment_id
        location = self._artifacts.resolve().as_uri() if self._sqlite_file() is not None else None
        try:
            return client.create_experiment(name, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return self._find_or_make_experiment(client, name)

    def _connect(self) -> MlflowClient:
        from mlflow import MlflowClient

        for noisy in ("alembic", "mlflow.store.db.utils"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def _sqlite_file(self) -> Path | None:
        prefix = "sqlite:///"
        return Path(self.uri.removeprefix(prefix)) if self.uri.startswith(prefix) else None


def _reopened(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> TrackedRun:
    """Open a run again as its next attempt; which Dagster run made the one before stays among the tags."""
    before = client.get_run(run_id)
    if before.info.lifecycle_stage == "deleted":
        client.restore_run(run_id)
    attempt = _attempt_of(before) + 1
    run = TrackedRun(client, run_id, attempt=attempt, written=before.data.params)
    earlier = before.data.tags.get(DAGSTER_RUN_TAG)
    kept = {} if earlier is None else {f"attempt_{attempt - 1}/{DAGSTER_RUN_TAG}": earlier}
    run.log_tags({**tags, **kept, ATTEMPT_TAG: str(attempt)})
    run.write()
    for tag in {CLOSED_TAG, FAILURE_TAG} & before.data.tags.keys():
        client.delete_tag(run_id, tag)
    client.update_run(run_id, status="RUNNING")
    return run


def _attempt_of(run: Run) -> int:
    return int(run.data.tags.get(ATTEMPT_TAG, "0"))


def _insert_if_absent(connection: sa.Connection, key: RunKey) -> sa.Insert:
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert  # its drivers' modules cost 0.15 s to import
    else:
        from sqlalchemy.dialects.sqlite import insert
    values = {"asset": key.asset, "partition": key.partition, "root_run_id": key.root_run_id, "run_id": None}
    return insert(tracked_run).values(values).on_conflict_do_nothing()
