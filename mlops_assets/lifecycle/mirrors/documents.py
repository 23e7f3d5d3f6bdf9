"""What the mirrors get of versions, deployments and who serves: fields are named as the REST API names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

if TYPE_CHECKING:
    from mlops_assets.lifecycle.deployment.record import Deployment
    from mlops_assets.lifecycle.deployment.serving_moves import Serving
    from mlops_assets.lifecycle.registry import ModelVersion

MODELS, DEPLOYMENTS, SERVING = "models", "deployments", "serving"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirrored:
    """One document, by its kind and its id among them."""

    kind: str
    id: str
    document: Mapping[str, Any]


def of_version(version: ModelVersion) -> Mirrored:
    """Describe a registered version."""
    document = {
        "model_name": version.model,
        "version": str(version.version),
        "run_id": version.run_id,
        "stage": version.stage,
        "metrics": version.metrics,
        "framework": str(version.metadata.get("library", "")),
        "hyperparameters": version.metadata.get("parameters", {}),
        "artifact_path": f"blobs/{version.artifact_sha256}",
        "artifact_sha256": version.artifact_sha256,
        "training_set_fingerprint": version.training_set_fingerprint,
        "code_version": version.code_version,
        "fingerprint": version.fingerprint,
        "metadata": version.metadata,
        "created_by": version.created_by,
        "created_at": version.created_at,
    }
    return _mirrored(MODELS, f"{version.model}@{version.version}", document)


def of_deployment(deployment: Deployment) -> Mirrored:
    """Describe a deployment; `state` is ours, `status` the REST API's view of it."""
    return _mirrored(DEPLOYMENTS, deployment.id, deployment.as_json())


def of_serving(serving: Serving) -> Mirrored:
    """Describe who serves a model in an environment since the move `epoch`."""
    return _mirrored(SERVING, f"{serving.model}/{serving.environment}", serving.as_json())


def _mirrored(kind: str, id: str, document: Mapping[str, Any]) -> Mirrored:
    """Make plain JSON of it: instants in ISO 8601, numbers that are none as null."""
    return Mirrored(kind=kind, id=id, document=to_jsonable_python(document, inf_nan_mode="null"))
