"""What the stores say of a version: reports with what failed in them, checks of what it was trained on, and people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.kernel.errors import IntegrityViolation, UnknownReference
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.lifecycle.deployment.checklist import Evidence, ItemStatus, LookAheadFound, ReportFound, assemble
from mlops_assets.lifecycle.deployment.evidence import EvidenceDesk, gather, makers_of
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.storage.parquet.snapshots import Provenance
from mlops_assets.storage.sql.tables import model_version
from tests.lifecycle.worlds import NOW, Stores, small_spec, stores, training_set

VERSION, SHA256 = "a" * 64, "c" * 64


@dataclass(frozen=True)
class Report:
    sha256: str = SHA256
    inputs: Mapping[str, str] = field(default_factory=lambda: {"models/signal_classifier": VERSION})


@dataclass(frozen=True)
class Sealing:
    report: Report


@dataclass(frozen=True)
class Reports:
    """Reports of every scenario, the one sealed last first."""

    content: Mapping[str, Any]
    sealed: tuple[Report, ...] = (Report(),)

    def sealings(self, name: str) -> list[Sealing]:
        return [Sealing(one) for one in self.sealed]

    def record(self, sha256: str) -> Mapping[str, Any]:
        assert sha256 in {one.sha256 for one in self.sealed}
        return self.content

    def makers(self, sha256: str) -> frozenset[str]:
        return frozenset({f"maker of {sha256[:1]}"})


def _record(*, is_kept: bool, is_believed: bool) -> Mapping[str, Any]:
    def contender(*checks: tuple[str, bool]) -> Mapping[str, Any]:
        return {"checks": [{"check": name, "is_passed": passed, "summary": ""} for name, passed in checks]}

    return {
        "results": {
            "signal_ml": contender(("out_of_sample", is_believed), ("data_complete", True)),
            "buy_and_hold": contender(("data_complete", is_believed)),
        },
        "gates": [
            {
                "candidate": "signal_ml",
                "metric": "turnover",
                "bound": "at most 25",
                "value": 30.0,
                "is_passed": is_kept,
            },
            {"candidate": "signal_ml", "metric": "maximum_drawdown", "bound": "at least -0.4", "value": -0.3}
            | {"is_passed": True},
        ],
        "summary": {"checks": 3, "failed_checks": 0, "gates": 2, "failed_gates": 0},
    }


@pytest.fixture
def kept(tmp_path: Path) -> Stores:
    made = stores(tmp_path, is_mlflow_prepared=False)
    provenance = Provenance(code_version="1", inputs={})
    made.snapshots.publish("features/momentum", training_set(), provenance=provenance, actor="tests")
    return made


VERSION_1 = ModelVersion(
    model="signal_classifier",
    version=1,
    fingerprint=VERSION,
    artifact_sha256=SHA256,
    training_set_fingerprint=SHA256,
    code_version=SHA256,
    run_id="run",
    stage="experimental",
    metadata={
        "kind": "classifier",
        "training_set": "datasets/signal_daily",
        "feature_views": {"momentum": "1.0.0"},
        "skill": {"gains": []},
        "fold_gaps": [],
    },
    metrics={},
    created_at=NOW,
    created_by="dagster",
)


def _gather(
    kept: Stores,
    record: Mapping[str, Any],
    *,
    version: ModelVersion = VERSION_1,
    sealed: tuple[Report, ...] = (Report(),),
) -> Evidence:
    return gather(
        small_spec(),
        version,
        plan=small_spec().deployment,
        scenarios=["covid_crash"],
        snapshots=kept.snapshots,
        reports=Reports(record, sealed),
        certificates=kept.feature_registry,
        attested=kept.attestations.of(version),
        makers=frozenset(),
    )


def _trained_on(snapshot_fingerprint: str) -> ModelVersion:
    inputs = {"features/momentum": snapshot_fingerprint}
    return replace(VERSION_1, metadata={**VERSION_1.metadata, "inputs": inputs})


def _certify(kept: Stores, snapshot_fingerprint: str, *, is_clean: bool = True) -> None:
    kept.feature_registry.record_certificate(
        view="momentum",
        version="1.0.0",
        snapshot_fingerprint=snapshot_fingerprint,
        bars_fingerprint="b" * 64,
        cuts=["2020-02-19"],
        rows_compared=9,
        peeks=[] if is_clean else ["it peeks"],
        is_clean=is_clean,
        actor="tests",
    )


@pytest.mark.parametrize(
    ("is_kept", "is_believed", "checks", "gates", "status"),
    [
        (True, True, (), (), ItemStatus.PASSED),
        (False, True, (), ("turnover of signal_ml (30.0, not at most 25)",), ItemStatus.FAILED),
        (True, False, ("data_complete of buy_and_hold", "out_of_sample of signal_ml"), (), ItemStatus.FAILED),
    ],
)
def test_what_failed_in_the_sealed_record_is_part_of_the_evidence(
    kept: Stores, is_kept: bool, is_believed: bool, checks: tuple[str, ...], gates: tuple[str, ...], status: ItemStatus
):
    evidence = _gather(kept, _record(is_kept=is_kept, is_believed=is_believed))
    bounds = [("turnover", "at most 25"), ("maximum_drawdown", "at least -0.4")]
    found = ReportFound(
        sha256=SHA256,
        version_fingerprint=VERSION,
        gates_fingerprint=fingerprint([{"candidate": "signal_ml", "metric": one, "bound": two} for one, two in bounds]),
        failed_checks=checks,
        failed_gates=gates,
    )
    assert evidence.reports == {"covid_crash": found}
    (item,) = [item for item in assemble(evidence).items if item.name == "report.covid_crash"]
    assert item.status is status


def test_the_look_ahead_check_that_counts_is_of_what_it_was_trained_on_else_of_what_readers_get(kept: Stores):
    record = _record(is_kept=True, is_believed=True)
    head, older = kept.snapshots.head("features/momentum").fingerprint, "0" * 64
    version = _trained_on(older)
    assert _gather(kept, record, version=version).look_ahead == {"momentum": None}
    _certify(kept, head, is_clean=False)
    found = _gather(kept, record, version=version).look_ahead["momentum"]
    assert found == LookAheadFound(is_passed=False, snapshot_fingerprint=head, cuts=("2020-02-19",), rows_compared=9)
    _certify(kept, older)
    found = _gather(kept, record, version=version).look_ahead["momentum"]
    assert found is not None
    assert (found.snapshot_fingerprint, found.is_passed) == (older, True)


def test_the_report_of_an_older_version_is_found_behind_that_of_a_newer_one(kept: Stores):
    record = _record(is_kept=True, is_believed=True)
    newer = Report(sha256="d" * 64, inputs={"models/signal_classifier": "9" * 64})
    found = _gather(kept, record, sealed=(newer, Report())).reports["covid_crash"]
    assert found is not None
    assert found.sha256 == SHA256
    other = replace(VERSION_1, fingerprint="5" * 64)
    of_another = _gather(kept, record, version=other, sealed=(newer, Report())).reports["covid_crash"]
    assert of_another is not None
    assert (of_another.sha256, of_another.version_fingerprint) == ("d" * 64, "9" * 64)
    assert _gather(kept, record, sealed=()).reports == {"covid_crash": None}


def test_makers_are_who_trained_it_and_who_made_the_reports_on_it():
    newer = Report(sha256="d" * 64, inputs={"models/signal_classifier": "9" * 64})
    found = makers_of(VERSION_1, scenarios=["covid_crash"], reports=Reports({}, (newer, Report())))
    assert found == {"dagster", "maker of c"}


def test_explanations_stay_those_of_the_version_when_others_are_published(kept: Stores):
    record, dataset = _record(is_kept=True, is_believed=True), "explanations/signal_classifier"
    assert _gather(kept, record).explanations is None
    published = []
    for seed, version in ((1, VERSION), (2, VERSION), (3, "9" * 64)):
        provenance = Provenance(code_version="1", inputs={"models/signal_classifier": version})
        rows = training_set(seed=seed, symbols=1)
        published.append(kept.snapshots.publish(dataset, rows, provenance=provenance, actor="tests"))
    found = _gather(kept, record)
    assert (found.explanations, found.explained_fingerprint) == (published[0].fingerprint, VERSION)


def test_a_version_of_before_the_template_asked_for_views_is_judged_by_those_declared(kept: Stores):
    bare = {name: value for name, value in VERSION_1.metadata.items() if name != "feature_views"}
    found = _gather(kept, _record(is_kept=True, is_believed=True), version=replace(VERSION_1, metadata=bare))
    assert list(found.look_ahead) == list(found.drift_limits) == ["momentum"]


def test_the_desk_judges_any_version_for_any_environment_and_loads_what_it_judges(kept: Stores):
    spec = small_spec()
    registered = replace(VERSION_1, artifact_sha256=kept.blobs.put(b"tree\nversion=v4\n"))
    with kept.database.begin() as connection:
        row = {name: getattr(registered, name) for name in ModelVersion.__dataclass_fields__}
        connection.execute(model_version.insert().values(row))
    desk = EvidenceDesk(
        declared={spec.name: spec},
        scenarios_of=lambda _: ["covid_crash"],
        models=kept.models,
        snapshots=kept.snapshots,
        reports=Reports(_record(is_kept=True, is_believed=True)),
        certificates=kept.feature_registry,
        attestations=kept.attestations,
    )
    asked = desk.gather("signal_classifier", 1, "production")
    assert (asked.environment, asked.tier, asked.makers) == ("production", 2, {"dagster", "maker of c"})
    assert asked.plan == {**spec.deployment.as_json(), "environment": "production"}
    vic = Principal(name="vic", roles=frozenset({Role.COMPLIANCE}))
    desk.attest("signal_classifier", 1, "fallback_named", by=vic, statement="the version of before")
    missing = {item.name for item in desk.gather("signal_classifier", 1, "production").checklist.open_items}
    assert "fallback_named" not in missing
    assert {"independent_validation", "limits_reviewed"} <= missing
    for wrong in (("signal_clasifier", 1, None), ("signal_classifier", 1, "prod")):
        with pytest.raises(UnknownReference):
            desk.gather(*wrong)
    kept.blobs.path(registered.artifact_sha256).chmod(0o600)
    kept.blobs.path(registered.artifact_sha256).write_bytes(b"another tree")
    with pytest.raises(IntegrityViolation):
        desk.gather("signal_classifier", 1)
