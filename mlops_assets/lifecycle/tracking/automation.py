"""Who closes the MLflow runs that a killed process left open: a sensor that asks Dagster what became of each."""

# No `from __future__ import annotations`: Dagster compares the annotation of `context` as a class.

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, ROOT_RUN_ID_TAG, WILL_RETRY_TAG

from mlops_assets.kernel.clock import Clock
from mlops_assets.lifecycle.tracking.tracking import CLOSED_TAG, DAGSTER_RUN_TAG, KEY_TAG, Tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_SECONDS_BETWEEN_TICKS = 60
_RUNS_A_PAGE = 200
_UNKNOWN_FOR = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """An MLflow run that nobody works on any more, the status it ends with, and why."""

    run_id: str
    status: Literal["FAILED", "KILLED"]
    reason: str


def orphans_sensor() -> dg.SensorDefinition:
    """Return the sensor that closes MLflow runs whose Dagster run is over. Evaluated twice it does nothing twice."""

    @dg.sensor(
        name="mlflow_orphans",
        description=(
            "Closes MLflow runs that are RUNNING while the Dagster run that opened them has ended, or has been unknown "
            "for more than a day. A run whose retry is under way stays open."
        ),
        minimum_interval_seconds=_SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def close(
        context: dg.SensorEvaluationContext, tracking: dg.ResourceParam[Tracking], clock: dg.ResourceParam[Clock]
    ) -> dg.SensorResult:
        closed = close_orphans(tracking, context.instance, at=clock.now())
        said = "; ".join(f"{one.run_id}: {one.reason}" for one in closed)
        return dg.SensorResult(skip_reason=f"closed {len(closed)} runs: {said}" if closed else "no run is orphaned")

    return close


def close_orphans(tracking: Tracking, instance: dg.DagsterInstance, *, at: datetime) -> list[Orphan]:
    """Close every orphaned run of ours, with a tag that says why, and return them.

    Raises:
        TrackingUnavailable: if MLflow does not answer.
    """
    with tracking.reading() as client:
        found = [orphan for run in _open_runs(client) if (orphan := orphan_of(run, instance, at=at)) is not None]
        for orphan in found:
            client.set_tag(orphan.run_id, CLOSED_TAG, f"by mlflow_orphans: {orphan.reason}")
            client.set_terminated(orphan.run_id, status=orphan.status)
    return found


def orphan_of(run: "Run", instance: dg.DagsterInstance, *, at: datetime) -> Orphan | None:
    """Return what is to be done with an open MLflow run, or None if somebody may still work on it."""
    dagster_id = run.data.tags.get(DAGSTER_RUN_TAG)
    made_by = None if dagster_id is None else instance.get_run_by_id(dagster_id)
    if made_by is None:
        since = datetime.fromtimestamp(run.info.start_time / 1000, tz=UTC)
        if at - since <= _UNKNOWN_FOR:
            return None
        who = "no Dagster run made it" if dagster_id is None else f"Dagster does not know run {dagster_id}"
        return Orphan(run_id=run.info.run_id, status="KILLED", reason=f"{who}, and it is open since {since:%Y-%m-%d}")
    if not made_by.is_finished or _is_retried(made_by, instance):
        return None
    status = "FAILED" if made_by.status is dg.DagsterRunStatus.FAILURE else "KILLED"
    reason = f"Dagster run {made_by.run_id} ended as {made_by.status.value}"
    return Orphan(run_id=run.info.run_id, status=status, reason=reason)


def _is_retried(run: dg.DagsterRun, instance: dg.DagsterInstance) -> bool:
    """Tell whether a finished run is about to be run again, or another run of its root is under way."""
    if run.tags.get(WILL_RETRY_TAG) == "true" and AUTO_RETRY_RUN_ID_TAG not in run.tags:
        return True
    root = run.root_run_id or run.run_id
    same_root = dg.RunsFilter(tags={ROOT_RUN_ID_TAG: root}, statuses=list(NOT_FINISHED_STATUSES))
    if instance.get_runs(filters=same_root, limit=1):
        return True
    first = instance.get_run_by_id(root)
    return first is not None and not first.is_finished


def _open_runs(client: "MlflowClient") -> "Iterator[Run]":
    """Yield the open runs that bear our key, of every experiment; other people's runs are not ours to close."""
    experiments = [one.experiment_id for one in client.search_experiments()]
    where = f"attributes.status = 'RUNNING' and tags.`{KEY_TAG}` != ''"
    token: str | None = None
    while True:
        page = client.search_runs(experiments, filter_string=where, max_results=_RUNS_A_PAGE, page_token=token)
        yield from page
        if not (token := page.token):
            return
