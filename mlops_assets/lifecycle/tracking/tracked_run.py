"""What is written into an open MLflow run: noted first, then sent in one batch, so that a run costs few round trips.

What a process noted and did not write before it was killed is lost with it; the next attempt notes it again.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlops_assets.kernel.fingerprint import Json, canonical_json
from mlops_assets.storage.parquet.snapshots import Snapshot

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric

FINGERPRINT_TAG = "mlops.fingerprint"

_PARAMETER_LENGTH = 6_000
_DIGEST_LENGTH = 36

Use = Literal["training", "source"]
"""What a dataset is to a run: it learned from it, or from what was made from it."""


class TrackedRun:
    """An open MLflow run. `attempt` counts from 0 how often it was opened before.

    Who sets `is_failed` has it closed as FAILED without an error.
    """

    def __init__(self, client: MlflowClient, run_id: str, *, attempt: int, written: Mapping[str, str]) -> None:
        """Args: written: the parameters that earlier attempts wrote."""
        self.client, self.id, self.attempt = client, run_id, attempt
        self.is_failed = False
        self._written = dict(written)
        self._parameters: dict[str, str] = {}
        self._metrics: list[Metric] = []
        self._tags: dict[str, str] = {}
        self._inputs: list[DatasetInput] = []

    def log_parameters(self, parameters: Mapping[str, Json]) -> None:
        """Note parameters. One that an earlier attempt wrote with another value goes under `attempt_<n>/<name>`."""
        for name, value in parameters.items():
            text = _text(value)
            is_new = self._written.get(name, text) == text
            self._parameters[name if is_new else f"attempt_{self.attempt}/{name}"] = text

    def log_metrics(self, metrics: Mapping[str, float | None], *, step: int | None = None) -> None:
        """Note the metrics that have a value. The attempt is their step unless told: MLflow shows the highest step."""
        from mlflow.entities import Metric
        from mlflow.utils.time import get_current_time_millis

        now, at = get_current_time_millis(), self.attempt if step is None else step
        self._metrics += [
            Metric(name, value, now, at)
            for name, value in metrics.items()
            if value is not None and math.isfinite(value)
        ]

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Note tags; a later value replaces an earlier one."""
        self._tags.update(tags)

    def log_training_set(self, snapshot: Snapshot) -> None:
        """Note what the run learned from, and every snapshot that was made from, as MLflow's inputs."""
        self.log_dataset(snapshot.dataset, snapshot.fingerprint, rows=snapshot.row_count)
        for dataset, fingerprint in snapshot.inputs.items():
            self.log_dataset(dataset, fingerprint, use="source")

    def log_dataset(self, name: str, fingerprint: str, *, use: Use = "training", rows: int | None = None) -> None:
        """Note a snapshot as one of MLflow's inputs."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=name,
            digest=fingerprint[:_DIGEST_LENGTH],
            source_type="snapshot",
            source=canonical_json({"dataset": name, "fingerprint": fingerprint}).decode(),
            profile=None if rows is None else canonical_json({"num_rows": rows}).decode(),
        )
        tags = [InputTag("mlflow.data.context", use), InputTag(FINGERPRINT_TAG, fingerprint)]
        self._inputs.append(DatasetInput(dataset, tags))

    def log_json(self, value: Json, path: str) -> None:
        """Keep a JSON document as an artifact, at once."""
        self.client.log_text(self.id, canonical_json(value).decode(), path)

    def log_model(self, content: bytes, file_name: str, path: str = "model") -> None:
        """Keep a model's own bytes as an artifact, at once."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / file_name
            file.write_bytes(content)
            self.client.log_artifact(self.id, str(file), path)

    def log_lightgbm(self, text: str, path: str = "model") -> None:
        """Keep a model as MLflow's LightGBM flavour, which stores LightGBM's own text unchanged, at once."""
        import lightgbm
        from mlflow.lightgbm import save_model

        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / path
            save_model(lightgbm.Booster(model_str=text), target, pip_requirements=[f"lightgbm=={lightgbm.__version__}"])
            self.client.log_artifacts(self.id, str(target), path)

    def write(self) -> None:
        """Send what was noted: one batch, and the inputs."""
        from mlflow.entities import Param, RunTag

        if self._parameters or self._metrics or self._tags:
            self.client.log_batch(
                self.id,
                metrics=self._metrics,
                params=[Param(*one) for one in self._parameters.items()],
                tags=[RunTag(*one) for one in self._tags.items()],
            )
        if self._inputs:
            self.client.log_inputs(self.id, datasets=self._inputs)
        self._written |= self._parameters
        self._parameters, self._metrics, self._tags, self._inputs = {}, [], {}, []


def _text(value: Json) -> str:
    text = value if isinstance(value, str) else canonical_json(value).decode()
    return text[:_PARAMETER_LENGTH]
