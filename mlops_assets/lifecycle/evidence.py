"""Where the evidence for a deployment is: read from the stores, never from what somebody says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, cast

from mlops_assets.kernel.fingerprint import Json, fingerprint
from mlops_assets.lifecycle.checklist import Evidence
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.storage.parquet.snapshots import SnapshotStore


class SealedReport(Protocol):
    """What a report says of itself; the evaluation room, one floor up, keeps them."""

    @property
    def sha256(self) -> str: ...

    @property
    def inputs(self) -> Mapping[str, str]: ...


class SealedReports(Protocol):
    """Finds the report sealed last under a name."""

    def find_latest(self, name: str) -> SealedReport | None: ...


def gather(
    spec: ModelSpec,
    version: ModelVersion,
    *,
    scenarios: Sequence[str],
    look_ahead: Mapping[str, bool | None],
    snapshots: SnapshotStore,
    reports: SealedReports,
) -> Evidence:
    """Collect what the stores know of a version. `look_ahead` is by feature view, as Dagster recorded it."""
    found = {scenario: reports.find_latest(scenario) for scenario in scenarios}
    explained = snapshots.find_head(f"explanations/{spec.name}")
    skill = cast("Mapping[str, Json]", version.metadata["skill"])
    gains = cast("Sequence[Mapping[str, float]]", skill["gains"])
    return Evidence(
        version_id=version.id,
        version_fingerprint=version.fingerprint,
        environment=spec.deployment.environment,
        metadata=version.metadata,
        training_set=spec.training_set.dataset,
        training_set_fingerprint=version.training_set_fingerprint,
        published_training_sets=frozenset(one.fingerprint for one in snapshots.history(spec.training_set.dataset)),
        skill=skill,
        beats_every_baseline=all(gain["low"] > 0 for gain in gains),
        look_ahead={view: look_ahead.get(view) for view in spec.training_set.views},
        reports={
            name: None if report is None else (report.sha256, report.inputs.get(spec.dataset))
            for name, report in found.items()
        },
        explained_fingerprint=None if explained is None else explained.inputs.get(spec.dataset),
        explanations=None if explained is None else explained.fingerprint,
        drift_limits={view: drift_limits(snapshots, spec.drift_dataset(view)) for view in spec.training_set.views},
    )


def drift_limits(snapshots: SnapshotStore, dataset: str) -> str | None:
    """Return the fingerprint of a drift dataset's limits (not of today's distances), or None if one is missing."""
    head = snapshots.find_head(dataset)
    if head is None:
        return None
    rows = snapshots.read(head, columns=["feature", "statistic", "threshold"]).to_pylist()
    return None if any(row["threshold"] is None for row in rows) else fingerprint(rows)
