from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg
import polars as pl
import pyarrow as pa
import pytest

from mlops_assets.features.activation import RecordedCertificate
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.lifecycle.assets import drift_definitions, model_definitions
from mlops_assets.lifecycle.deployment.evidence import EvidenceDesk
from mlops_assets.lifecycle.deployment.states import State
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.orchestration.declared import key
from mlops_assets.orchestration.results import snapshot_result
from mlops_assets.storage.parquet.snapshots import Provenance, SnapshotStore
from tests.lifecycle.worlds import (
    FEATURES,
    Stores,
    declared,
    momentum_view,
    resources,
    sessions,
    small_spec,
    stores,
    training_set,
)

MODEL, PREDICTIONS, DRIFT = (
    key("models/signal_classifier"),
    key("predictions/signal_classifier"),
    key("drift/signal_classifier/momentum"),
)
DEPLOYMENT, VIEW = key("deployments/signal_classifier"), key("features/momentum")


@dataclass(frozen=True)
class Report:
    sha256: str
    inputs: Mapping[str, str]


@dataclass(frozen=True)
class Sealing:
    report: Report


class Reports:
    """Answers with a report of the latest version."""

    def __init__(self, kept: Stores) -> None:
        self._kept = kept

    def record(self, sha256: str) -> Mapping[str, object]:
        return {"results": {}, "gates": []}

    def makers(self, sha256: str) -> frozenset[str]:
        return frozenset({"mia"})

    def sealings(self, name: str) -> list[Sealing]:
        latest = self._kept.models.latest("signal_classifier")
        return [Sealing(Report(sha256="a" * 64, inputs={"models/signal_classifier": latest.fingerprint}))]


@dg.asset(key=VIEW)
def feature_view(snapshots: dg.ResourceParam[SnapshotStore]) -> dg.MaterializeResult:
    return snapshot_result(snapshots.head("features/momentum"))


def _graph(spec: ModelSpec) -> list:
    model, watched = model_definitions(spec, reports=["covid_crash"]), drift_definitions(momentum_view(), spec)
    return [*(model.assets or ()), *(watched.assets or ()), feature_view]


def _certify(kept: Stores, *, is_clean: bool = True) -> RecordedCertificate:
    """What the look-ahead check leaves in the feature registry when it runs on what is published."""
    return kept.feature_registry.record_certificate(
        view="momentum",
        version="1.0.0",
        snapshot_fingerprint=kept.snapshots.head("features/momentum").fingerprint,
        bars_fingerprint="b" * 64,
        cuts=["2014-05-02", "2020-02-19"],
        rows_compared=5200,
        peeks=[],
        is_clean=is_clean,
        actor="test",
    )


def _evidence(kept: Stores, spec: ModelSpec) -> EvidenceDesk:
    return EvidenceDesk(
        declared={spec.name: spec},
        scenarios_of=lambda _: ["covid_crash"],
        models=kept.models,
        snapshots=kept.snapshots,
        reports=Reports(kept),
        certificates=kept.feature_registry,
        attestations=kept.attestations,
    )


def _filled(home: Path) -> Stores:
    kept = stores(home)
    table = training_set(signal=1.0)
    _publish_features(kept, table)
    inputs = {"features/momentum": kept.snapshots.head("features/momentum").fingerprint}
    provenance = Provenance(code_version="1", inputs=inputs, details={"views": {"momentum": "1.0.0"}})
    kept.snapshots.publish("datasets/signal_daily", table, provenance=provenance, actor="test")
    return kept


def _publish_features(kept: Stores, rows: pa.Table) -> None:
    features = rows.select(["symbol", "date", "event_at", "known_at", *FEATURES])
    provenance = Provenance(code_version="1", inputs={})
    kept.snapshots.publish("features/momentum", features, provenance=provenance, actor="test")


def _run(
    kept: Stores, instance: dg.DagsterInstance, *keys: dg.AssetKey, spec: ModelSpec | None = None
) -> dg.ExecuteInProcessResult:
    declared = spec or small_spec()
    return dg.materialize(
        _graph(declared),
        instance=instance,
        resources=resources(kept, evidence=_evidence(kept, declared)),
        selection=dg.AssetSelection.assets(*keys),
        raise_on_error=False,
    )


def _explain(kept: Stores) -> None:
    latest = kept.models.latest("signal_classifier")
    provenance = Provenance(code_version="1", inputs={"models/signal_classifier": latest.fingerprint})
    kept.snapshots.publish("explanations/signal_classifier", training_set(count=1500), provenance=provenance, actor="t")


def test_the_line_from_training_set_to_request_materialises(tmp_path: Path):
    kept = _filled(tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        trained = _run(kept, instance, VIEW, MODEL, PREDICTIONS, DRIFT)
        assert trained.success
        checks = {one.check_name: one.passed for one in trained.get_asset_check_evaluations()}
        assert checks["folds_lie_apart"]
        assert checks["beats_its_baselines"]
        assert checks["predictions_are_valid"]
        latest = kept.models.latest("signal_classifier")
        assert (
            kept.snapshots.head("predictions/signal_classifier").inputs["models/signal_classifier"]
            == latest.fingerprint
        )
        run = kept.tracking.client().get_run(latest.run_id)
        assert run.data.tags["dagster.run_id"] == trained.run_id
        assert run.data.metrics["test/auc"] == latest.metrics["test/auc"]
        _explain(kept)
        _certify(kept)
        asked = _run(kept, instance, DEPLOYMENT)
    (pending,) = kept.deployments.list()
    (event,) = asked.asset_materializations_for_node("deployments__signal_classifier")
    assert event.metadata["deployment"].value == pending.id
    assert "does not beat" not in str(event.metadata["checklist"].value)
    assert all(item["status"] == "passed" for item in pending.checklist)


def test_training_again_tracks_a_new_run_and_registers_nothing_new(tmp_path: Path):
    kept = _filled(tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        first, again = (_run(kept, instance, MODEL) for _ in range(2))
    ids = [
        run.asset_materializations_for_node("models__signal_classifier")[0].metadata["mlflow_run_id"].value
        for run in (first, again)
    ]
    assert len(set(ids)) == 2
    assert [version.run_id for version in kept.models.list()] == ids[:1]


def test_after_a_declaration_is_reverted_predictions_are_of_the_version_that_training_reports(tmp_path: Path):
    kept = _filled(tmp_path)
    learner = small_spec().learner
    changed = replace(small_spec(), learner=replace(learner, params=replace(learner.params, learning_rate=0.3)))
    reported = []
    with dg.DagsterInstance.ephemeral() as instance:
        for spec in (small_spec(), changed, small_spec()):
            run = _run(kept, instance, MODEL, PREDICTIONS, spec=spec)
            (event,) = run.asset_materializations_for_node("models__signal_classifier")
            reported.append(event.metadata["version"].value)
    assert reported == [1, 2, 1]
    used = kept.snapshots.head("predictions/signal_classifier").inputs["models/signal_classifier"]
    assert used == kept.models.get("signal_classifier", 1).fingerprint


def test_drift_is_measured_from_what_the_version_learned_although_its_folds_would_have_moved_on(tmp_path: Path):
    """Limits that moved with every session would take the evidence of an approval away each night."""
    kept = _filled(tmp_path)
    folds = {"valid_sessions": 300, "test_sessions": 400, "embargo_sessions": 10}
    spec = small_spec(training_set={**declared()["training_set"], "folds": folds})
    with dg.DagsterInstance.ephemeral() as instance:
        assert _run(kept, instance, MODEL, DRIFT, spec=spec).success
        _publish_features(kept, training_set(count=1520))
        assert _run(kept, instance, DRIFT, spec=spec).success
    measured = kept.snapshots.head("drift/signal_classifier/momentum")
    rows = kept.snapshots.frame(measured)
    assert rows["recent_until"].unique().to_list() == [sessions(1520)[-1]]
    assert rows["reference_until"].unique().to_list() == [sessions(1500)[-701]]
    assert measured.inputs["models/signal_classifier"] == kept.models.latest("signal_classifier").fingerprint


def test_a_request_without_a_look_ahead_check_is_registered_and_warns_of_what_is_missing(tmp_path: Path):
    kept = _filled(tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        _run(kept, instance, MODEL, DRIFT)
        _explain(kept)
        asked = _run(kept, instance, DEPLOYMENT)
        assert asked.success
        (check,) = asked.get_asset_check_evaluations()
        assert (check.check_name, check.passed, check.severity) == (
            "checklist_is_complete",
            False,
            dg.AssetCheckSeverity.WARN,
        )
        assert list(check.metadata) == ["look_ahead.momentum"]
        (event,) = asked.asset_materializations_for_node("deployments__signal_classifier")
        assert event.metadata["missing"].value == "look_ahead.momentum"
        assert kept.deployments.list()[0].state is State.REGISTERED
        assert kept.approvals.list() == []
        _certify(kept)
        _run(kept, instance, DEPLOYMENT)
    (complete,) = kept.deployments.list()
    assert complete.state is State.IN_REVIEW
    assert complete.evidence_fingerprint == kept.approvals.list()[0].evidence_fingerprint


@pytest.mark.parametrize("is_published_again", [False, True])
def test_the_look_ahead_check_that_counts_is_that_of_the_rows_it_was_trained_on(
    tmp_path: Path, is_published_again: bool
):
    kept = _filled(tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        _run(kept, instance, MODEL, DRIFT)
        if is_published_again:
            _publish_features(kept, training_set(seed=2))
        _certify(kept)
        _explain(kept)
        _run(kept, instance, DEPLOYMENT)
        before = kept.deployments.list()[0].evidence_fingerprint
        if not is_published_again:
            _publish_features(kept, training_set(seed=2))
            _certify(kept, is_clean=False)
            _run(kept, instance, DEPLOYMENT)
            assert kept.deployments.list()[0].evidence_fingerprint == before
    assert before is not None


def test_the_evidence_of_the_look_ahead_item_is_what_the_check_found(tmp_path: Path):
    kept = _filled(tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        _run(kept, instance, VIEW, MODEL, DRIFT)
        _explain(kept)
        _certify(kept)
        _run(kept, instance, DEPLOYMENT)
    (pending,) = kept.deployments.list()
    (item,) = [item for item in pending.checklist if item["name"] == "look_ahead.momentum"]
    assert item["evidence"] == fingerprint(
        {
            "view": "momentum",
            "check": "look_ahead",
            "is_passed": True,
            "snapshot": kept.snapshots.head("features/momentum").fingerprint,
            "cuts": ["2014-05-02", "2020-02-19"],
            "rows_compared": 5200,
        }
    )


def test_every_asset_says_what_it_is():
    for asset in _graph(small_spec())[:-2]:
        (spec,) = asset.specs
        assert spec.owners == ["team:quant"]
        assert spec.group_name in {"models", "monitoring", "deployments"}
        assert spec.kinds
        assert spec.description
        assert spec.code_version
        assert spec.automation_condition is not None
        (reference,) = spec.metadata["dagster/code_references"].code_references
        assert reference.file_path.endswith("signal_classifier.yaml")
    tables = {PREDICTIONS: "probability", DRIFT: "threshold"}
    for asset in _graph(small_spec())[:-2]:
        if asset.key in tables:
            (spec,) = asset.specs
            assert tables[asset.key] in {column.name for column in spec.metadata["dagster/column_schema"].columns}
            assert tables[asset.key] in {"probability", *spec.metadata["dagster/column_lineage"].deps_by_column}


def test_the_published_predictions_match_their_declared_columns(tmp_path: Path):
    kept = _filled(tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        _run(kept, instance, MODEL, PREDICTIONS)
    head = kept.snapshots.head("predictions/signal_classifier")
    rows = pl.DataFrame(pl.from_arrow(kept.snapshots.read(head)))
    assert head.schema["probability"] == "double"
    assert head.schema["symbol"] == "string"
    assert rows["probability"].is_between(0, 1).all()
