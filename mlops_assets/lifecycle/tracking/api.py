"""Which experiments there are, over HTTP: as MLflow has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from mlops_assets.kernel.errors import NotFound
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.lifecycle.tracking.tracking import Tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_MODELS = "models/"
_AT = "2024-05-02T21:31:00Z"
_EXPERIMENT: dict[str, Any] = {
    "id": "1",
    "name": "signal_classifier",
    "description": "Direction of the next five trading days.",
    "owner": "team:quant",
    "status": "active",
    "tags": [],
    "metadata": {"runs": 1},
    "metrics": {"test_auc": 0.51},
    "created_at": _AT,
    "updated_at": _AT,
    "completed_at": _AT,
    "duration_seconds": 12.5,
    "logs": [f"{_AT} run a1b2c3d4e5f60718 FINISHED"],
    "artifacts": [{"name": "model.lgb", "path": "model/model.lgb", "size_bytes": 402113}],
}


class Artifact(BaseModel):
    """A file that a run kept."""

    name: str
    path: str
    size_bytes: int


class Experiment(BaseModel):
    """An experiment as MLflow has it, with the metrics, times and artifacts of its newest run."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXPERIMENT]})

    id: str
    name: str
    description: str
    owner: str
    status: Literal["active", "archived"]
    tags: list[str]
    metadata: dict[str, Any]
    metrics: dict[str, float]
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    duration_seconds: float | None
    logs: list[str]
    artifacts: list[Artifact]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentPages:
    """Reads experiments from MLflow. The experiment of a model is named like its asset there, like the model here."""

    tracking: Tracking
    declared: Mapping[str, ModelSpec]

    def show(self, name: str) -> Experiment:
        """Return one experiment.

        Raises:
            NotFound: naming the experiments there are.
            TrackingUnavailable: if MLflow does not answer.
        """
        with self.tracking.reading() as client:
            return self._shown(client, name)

    def _shown(self, client: MlflowClient, name: str) -> Experiment:
        found = client.get_experiment_by_name(_MODELS + name) or client.get_experiment_by_name(name)
        if found is None:
            all_names = [one.name.removeprefix(_MODELS) for one in client.search_experiments(max_results=100)]
            raise NotFound(kind="experiment", name=name, remedy=f"MLflow knows: {', '.join(sorted(all_names))}.")
        runs = list(client.search_runs([found.experiment_id], max_results=100, order_by=["attributes.start_time DESC"]))
        newest = runs[0] if runs else None
        spec = self.declared.get(name)
        tags: Mapping[str, str] = found.tags or {}
        return Experiment(
            id=found.experiment_id,
            name=found.name.removeprefix(_MODELS),
            description=tags.get("mlflow.note.content") or (spec.description if spec else ""),
            owner=spec.owner if spec else tags.get("owner", ""),
            status="active" if found.lifecycle_stage == "active" else "archived",
            tags=[f"{key}={value}" for key, value in sorted(tags.items())],
            metadata={"runs": len(runs), "artifact_location": found.artifact_location},
            metrics=dict(newest.data.metrics) if newest else {},
            created_at=_instant(found.creation_time or 0),
            updated_at=_instant(max([found.last_update_time or 0, *(_ended(run) for run in runs)])),
            completed_at=_instant(newest.info.end_time) if newest and newest.info.end_time else None,
            duration_seconds=_seconds(newest),
            logs=[f"{_instant(run.info.start_time):%Y-%m-%dT%H:%M:%SZ} run {_described(run)}" for run in runs],
            artifacts=sorted(_artifacts(client, newest), key=lambda one: one.path) if newest else [],
        )


def router(experiments: ExperimentPages) -> APIRouter:
    """Return the route of experiments."""
    routes = APIRouter(tags=["lifecycle"])

    @routes.get("/experiments/{name}")
    def show_experiment(name: str) -> Experiment:
        """Show one experiment with the metrics, log and artifacts of its newest run."""
        return experiments.show(name)

    return routes


def _artifacts(client: MlflowClient, run: Run, folder: str | None = None) -> Iterator[Artifact]:
    for item in client.list_artifacts(run.info.run_id, folder):
        if item.is_dir:
            yield from _artifacts(client, run, item.path)
        else:
            yield Artifact(name=item.path.rsplit("/", 1)[-1], path=item.path, size_bytes=item.file_size or 0)


def _described(run: Run) -> str:
    return f"{run.info.run_id} {run.info.status} {run.info.run_name}"


def _seconds(run: Run | None) -> float | None:
    if run is None or run.info.end_time is None:
        return None
    return (run.info.end_time - run.info.start_time) / 1000


def _ended(run: Run) -> int:
    return run.info.end_time or run.info.start_time


def _instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
