"""Where the evidence for a deployment is: read from the stores, never from what somebody says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from mlops_assets.kernel.fingerprint import Json, fingerprint
from mlops_assets.lifecycle.checklist import Evidence, LookAheadFound, ReportFound
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
    """Finds the report sealed last under a name, what a report says in full, and who made it and its replays."""

    def find_latest(self, name: str) -> SealedReport | None: ...

    def record(self, sha256: str) -> Mapping[str, Any]: ...

    def makers(self, sha256: str) -> frozenset[str]: ...


def gather(
    spec: ModelSpec,
    version: ModelVersion,
    *,
    scenarios: Sequence[str],
    look_ahead: Mapping[str, LookAheadFound | None],
    snapshots: SnapshotStore,
    reports: SealedReports,
) -> Evidence:
    """Collect what the stores know of a version.

    Args:
        look_ahead: by feature view, what Dagster recorded for its latest materialisation. It counts if that is the
            snapshot which readers get.
    """
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
        look_ahead={view: _of_the_head(look_ahead.get(view), view, snapshots) for view in spec.training_set.views},
        reports={scenario: _report(reports, scenario, spec.dataset) for scenario in scenarios},
        explained_fingerprint=None if explained is None else explained.inputs.get(spec.dataset),
        explanations=None if explained is None else explained.fingerprint,
        drift_limits={view: drift_limits(snapshots, spec.drift_dataset(view)) for view in spec.training_set.views},
    )


def makers_of(version: ModelVersion, *, scenarios: Sequence[str], reports: SealedReports) -> frozenset[str]:
    """Name who made a version and the reports on it: none of them decides on its deployment."""
    sealed = [found for one in scenarios if (found := reports.find_latest(one)) is not None]
    return frozenset({version.created_by}).union(*(reports.makers(one.sha256) for one in sealed))


def _of_the_head(found: LookAheadFound | None, view: str, snapshots: SnapshotStore) -> LookAheadFound | None:
    head = snapshots.find_head(f"features/{view}")
    is_current = found is not None and head is not None and found.snapshot_fingerprint == head.fingerprint
    return found if is_current else None


def _report(reports: SealedReports, scenario: str, model: str) -> ReportFound | None:
    """Return what the latest report of a scenario says of itself; every contender's checks count, as do all gates."""
    sealed = reports.find_latest(scenario)
    if sealed is None:
        return None
    record = reports.record(sealed.sha256)
    return ReportFound(
        sha256=sealed.sha256,
        version_fingerprint=sealed.inputs.get(model),
        gates_fingerprint=fingerprint(
            [{name: gate[name] for name in ("candidate", "metric", "bound")} for gate in record["gates"]]
        ),
        failed_checks=tuple(
            f"{check['check']} of {contender}"
            for contender, result in sorted(record["results"].items())
            for check in result["checks"]
            if not check["is_passed"]
        ),
        failed_gates=tuple(
            f"{gate['metric']} of {gate['candidate']} ({gate['value']}, not {gate['bound']})"
            for gate in record["gates"]
            if not gate["is_passed"]
        ),
    )


def drift_limits(snapshots: SnapshotStore, dataset: str) -> str | None:
    """Return the fingerprint of a drift dataset's limits (not of today's distances), or None if one is missing."""
    head = snapshots.find_head(dataset)
    if head is None:
        return None
    rows = snapshots.read(head, columns=["feature", "statistic", "threshold"]).to_pylist()
    return None if any(row["threshold"] is None for row in rows) else fingerprint(rows)
