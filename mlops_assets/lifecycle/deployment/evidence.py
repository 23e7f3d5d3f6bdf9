"""Where the evidence for a deployment is: read from the stores, never from what somebody says.

The same evidence is found anywhere and at any time: it is that of the version, not of what was published since.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast, get_args

from mlops_assets.features.activation import RecordedCertificate
from mlops_assets.kernel.errors import UnknownReference
from mlops_assets.kernel.fingerprint import Json, fingerprint
from mlops_assets.kernel.identity import Principal
from mlops_assets.lifecycle.deployment.attestations import Attestation, Attestations
from mlops_assets.lifecycle.deployment.checklist import Checklist, Evidence, LookAheadFound, ReportFound, assemble
from mlops_assets.lifecycle.learner import EXPLAINED
from mlops_assets.lifecycle.plans import DeploymentPlan, Environment
from mlops_assets.lifecycle.registry import ModelRegistry, ModelVersion
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.storage.parquet.snapshots import SnapshotStore

ENVIRONMENTS: tuple[Environment, ...] = get_args(Environment)


class SealedReport(Protocol):
    """What a report says of itself; the evaluation room, one floor up, keeps them."""

    @property
    def sha256(self) -> str: ...

    @property
    def inputs(self) -> Mapping[str, str]: ...


class Sealing(Protocol):
    """That a report was sealed."""

    @property
    def report(self) -> SealedReport: ...


class SealedReports(Protocol):
    """Finds the sealings under a name, the last first, what a report says in full, and who made it and its replays."""

    def sealings(self, name: str) -> Sequence[Sealing]: ...

    def record(self, sha256: str) -> Mapping[str, Any]: ...

    def makers(self, sha256: str) -> frozenset[str]: ...


class Certificates(Protocol):
    """Finds what the look-ahead check found of a snapshot of a view."""

    def certificate_of(self, view: str, snapshot_fingerprint: str) -> RecordedCertificate | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """Everything by which one version is judged for one environment. `makers` decide nothing about it."""

    version: ModelVersion
    environment: str
    tier: int
    plan: Mapping[str, Json]
    checklist: Checklist
    makers: frozenset[str]


class EvidenceDesk:
    """Joins the declaration, the registry and the stores into a checklist."""

    def __init__(
        self,
        *,
        declared: Mapping[str, ModelSpec],
        scenarios_of: Callable[[ModelSpec], Sequence[str]],
        models: ModelRegistry,
        snapshots: SnapshotStore,
        reports: SealedReports,
        certificates: Certificates,
        attestations: Attestations,
    ) -> None:
        """Keep the parts; `scenarios_of` names the scenarios that put a model to the test."""
        self._declared, self._scenarios_of, self._models = declared, scenarios_of, models
        self._snapshots, self._reports = snapshots, reports
        self._certificates, self._attestations = certificates, attestations

    def gather(self, model: str, version: int | None = None, environment: str | None = None) -> Gathered:
        """Judge a version for an environment: unless told otherwise the latest, and for the declared one.

        Raises:
            UnknownReference: if no such model is declared, or there is no such environment.
            NotFound: if there is no such version.
            IntegrityViolation: if its stored artifact is not the one that was registered.
        """
        spec, plan = self.spec_of(model), self.plan_of(model, environment)
        found = self._models.latest(model) if version is None else self._models.get(model, version)
        self._models.load(found)
        makers = self.makers_of(found)
        evidence = gather(
            spec,
            found,
            plan=plan,
            scenarios=self._scenarios_of(spec),
            snapshots=self._snapshots,
            reports=self._reports,
            certificates=self._certificates,
            attested=self._attestations.of(found),
            makers=makers,
        )
        return Gathered(
            version=found,
            environment=plan.environment,
            tier=spec.tier,
            plan=plan.as_json(),
            checklist=assemble(evidence),
            makers=makers,
        )

    def makers_of(self, version: ModelVersion) -> frozenset[str]:
        """Name who made a version and the reports on it: none of them decides on its deployment."""
        spec = self.spec_of(version.model)
        return makers_of(version, scenarios=self._scenarios_of(spec), reports=self._reports)

    def attest(self, model: str, version: int, item: str, *, by: Principal, statement: str) -> Attestation:
        """Keep somebody's word on an item of a version's checklist.

        Raises:
            Forbidden: if they may not, or had a hand in the version or the reports on it.
        """
        found = self._models.get(model, version)
        return self._attestations.attest(found, item, by=by, statement=statement, makers=self.makers_of(found))

    def plan_of(self, model: str, environment: str | None = None) -> DeploymentPlan:
        """Return how a model is deployed, to the declared environment unless told otherwise.

        Raises:
            UnknownReference: if no such model is declared, or there is no such environment.
        """
        declared = self.spec_of(model).deployment
        return declared if environment is None else replace(declared, environment=known_environment(environment))

    def spec_of(self, model: str) -> ModelSpec:
        """Return the declaration of a model.

        Raises:
            UnknownReference: if there is none.
        """
        if model not in self._declared:
            raise UnknownReference(kind="model", name=model, known=self._declared, asked_by="a deployment")
        return self._declared[model]


def gather(
    spec: ModelSpec,
    version: ModelVersion,
    *,
    plan: DeploymentPlan,
    scenarios: Sequence[str],
    snapshots: SnapshotStore,
    reports: SealedReports,
    certificates: Certificates,
    attested: Sequence[Attestation],
    makers: frozenset[str],
) -> Evidence:
    """Collect what the stores know of a version."""
    skill = cast("Mapping[str, Json]", version.metadata["skill"])
    gains = cast("Sequence[Mapping[str, float]]", skill["gains"])
    views: Sequence[str] = list(version.metadata.get("feature_views", spec.training_set.views))
    explanations = _explanations(version, spec, snapshots)
    training_set = cast("str", version.metadata["training_set"])
    return Evidence(
        version_id=version.id,
        version_fingerprint=version.fingerprint,
        environment=plan.environment,
        tier=spec.tier,
        plan=plan.as_json(),
        metadata=version.metadata,
        training_set=training_set,
        training_set_fingerprint=version.training_set_fingerprint,
        published_training_sets=frozenset(one.fingerprint for one in snapshots.history(training_set)),
        skill=skill,
        beats_every_baseline=all(gain["low"] > 0 for gain in gains),
        look_ahead={view: _look_ahead(version, view, snapshots, certificates) for view in views},
        reports={scenario: _report(reports, scenario, version) for scenario in scenarios},
        explained_fingerprint=None if explanations is None else version.fingerprint,
        explanations=explanations,
        drift_limits={view: drift_limits(snapshots, spec.drift_dataset(view)) for view in views},
        attested=[one.as_found() for one in attested],
        makers=makers,
        is_explained=spec.kind in EXPLAINED,
    )


def known_environment(environment: str) -> Environment:
    """Return an environment by its name.

    Raises:
        UnknownReference: if there is none of that name.
    """
    for one in ENVIRONMENTS:
        if one == environment:
            return one
    raise UnknownReference(kind="environment", name=environment, known=ENVIRONMENTS, asked_by="a deployment")


def makers_of(version: ModelVersion, *, scenarios: Sequence[str], reports: SealedReports) -> frozenset[str]:
    """Name who made a version and the reports on it."""
    sealed = [found for one in scenarios if (found := _sealed(reports, one, version)) is not None]
    return frozenset({version.created_by}).union(*(reports.makers(one.sha256) for one in sealed))


def drift_limits(snapshots: SnapshotStore, dataset: str) -> str | None:
    """Return the fingerprint of a drift dataset's limits (not of today's distances), or None if one is missing."""
    head = snapshots.find_head(dataset)
    if head is None:
        return None
    rows = snapshots.read(head, columns=["feature", "statistic", "threshold"]).to_pylist()
    return None if any(row["threshold"] is None for row in rows) else fingerprint(rows)


def _look_ahead(
    version: ModelVersion, view: str, snapshots: SnapshotStore, certificates: Certificates
) -> LookAheadFound | None:
    """Return what the check found on the snapshot that it was trained on, else on the one that readers get."""
    dataset = f"features/{view}"
    head = snapshots.find_head(dataset)
    candidates = [version.metadata.get("inputs", {}).get(dataset), None if head is None else head.fingerprint]
    for snapshot in candidates:
        found = None if snapshot is None else certificates.certificate_of(view, snapshot)
        if found is not None:
            return LookAheadFound(
                is_passed=found.is_clean,
                snapshot_fingerprint=found.snapshot_fingerprint,
                cuts=found.cuts,
                rows_compared=found.rows_compared,
            )
    return None


def _explanations(version: ModelVersion, spec: ModelSpec, snapshots: SnapshotStore) -> str | None:
    """Return the first explanations of the version: later ones cover more rows of the same model."""
    history = snapshots.history(f"explanations/{spec.name}")
    return next((one.fingerprint for one in history if one.inputs.get(spec.dataset) == version.fingerprint), None)


def _sealed(reports: SealedReports, scenario: str, version: ModelVersion) -> SealedReport | None:
    """Return the report of a scenario that was sealed last on this version, else the last of all."""
    sealed = [one.report for one in reports.sealings(scenario)]
    dataset = f"models/{version.model}"
    own = (one for one in sealed if one.inputs.get(dataset) == version.fingerprint)
    return next(own, sealed[0] if sealed else None)


def _report(reports: SealedReports, scenario: str, version: ModelVersion) -> ReportFound | None:
    """Return what the report of a scenario says of itself; every contender's checks count, as do all gates."""
    sealed = _sealed(reports, scenario, version)
    if sealed is None:
        return None
    record = reports.record(sealed.sha256)
    return ReportFound(
        sha256=sealed.sha256,
        version_fingerprint=sealed.inputs.get(f"models/{version.model}"),
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
