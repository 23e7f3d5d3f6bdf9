from dataclasses import replace
from pathlib import Path

import pytest

from mlops_assets.governance.approvals import State, Verdict
from mlops_assets.kernel.errors import Forbidden
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.lifecycle.checklist import ChecklistIncomplete, Evidence, ItemStatus, assemble
from mlops_assets.lifecycle.deployment import DeploymentStatus, Requested
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.lifecycle.spec import DeploymentTarget
from tests.lifecycle.worlds import NOW, SERVICE, Stores, stores

VERSION, DATA, REPORT = "a" * 64, "b" * 64, "c" * 64
TARGET = DeploymentTarget(environment="staging", quorum=2)
GAPS = [{"earlier": "train", "later": "valid", "is_disjoint": True}]
SKILL = {"gains": [{"baseline": "base_rate", "estimate": -0.0006, "low": -0.0019, "high": 0.0005}]}
COMPLETE = Evidence(
    version_id="models/signal_classifier@1",
    version_fingerprint=VERSION,
    environment="staging",
    metadata={"kind": "classifier", "fold_gaps": GAPS},
    training_set="datasets/signal_daily",
    training_set_fingerprint=DATA,
    published_training_sets=frozenset({DATA}),
    skill=SKILL,
    beats_every_baseline=False,
    look_ahead={"momentum": True},
    reports={"covid_crash": (REPORT, VERSION)},
    explained_fingerprint=VERSION,
    explanations="d" * 64,
    drift_limits={"momentum": "e" * 64},
)


@pytest.fixture
def kept(tmp_path: Path) -> Stores:
    return stores(tmp_path, is_mlflow_prepared=False)


def _version() -> ModelVersion:
    return ModelVersion(
        model="signal_classifier",
        version=1,
        fingerprint=VERSION,
        artifact_sha256="f" * 64,
        training_set_fingerprint=DATA,
        code_version="0" * 64,
        run_id="run",
        stage="experimental",
        metadata={},
        metrics={},
        created_at=NOW,
        created_by="dagster",
    )


def _request(kept: Stores, evidence: Evidence = COMPLETE) -> Requested:
    return kept.deployments.request(version=_version(), target=TARGET, checklist=assemble(evidence), author=SERVICE)


def test_complete_evidence_passes_and_says_that_the_model_beats_no_baseline():
    checklist = assemble(COMPLETE)
    assert checklist.is_complete
    (baselines,) = [item for item in checklist.items if item.name == "baselines_known"]
    assert baselines.note.startswith("does not beat every naive baseline")
    assert "over base_rate -0.00060 (-0.00190 to +0.00050)" in baselines.note


@pytest.mark.parametrize(
    ("change", "name", "status"),
    [
        ({"published_training_sets": frozenset()}, "training_set", ItemStatus.FAILED),
        ({"metadata": {"kind": "classifier", "fold_gaps": [{"is_disjoint": False}]}}, "folds_apart", ItemStatus.FAILED),
        ({"look_ahead": {"momentum": None}}, "look_ahead.momentum", ItemStatus.PENDING),
        ({"look_ahead": {"momentum": False}}, "look_ahead.momentum", ItemStatus.FAILED),
        ({"reports": {"covid_crash": None}}, "report.covid_crash", ItemStatus.PENDING),
        ({"reports": {"covid_crash": (REPORT, "9" * 64)}}, "report.covid_crash", ItemStatus.PENDING),
        ({"explained_fingerprint": "9" * 64}, "explanations", ItemStatus.PENDING),
        ({"drift_limits": {"momentum": None}}, "drift_calibration.momentum", ItemStatus.PENDING),
    ],
)
def test_what_is_missing_is_named_and_stops_the_request(kept: Stores, change: dict, name: str, status: ItemStatus):
    evidence = replace(COMPLETE, **change)
    (item,) = assemble(evidence).open_items
    assert (item.name, item.status) == (name, status)
    with pytest.raises(ChecklistIncomplete, match=name) as caught:
        _request(kept, evidence)
    assert caught.value.missing == [name]
    assert kept.deployments.list() == []
    assert kept.approvals.list() == []


def test_a_request_waits_for_an_approval_bound_to_its_evidence(kept: Stores):
    requested = _request(kept)
    assert requested.deployment.status is DeploymentStatus.PENDING
    assert requested.approval.evidence_fingerprint == requested.deployment.evidence_fingerprint
    assert (requested.approval.quorum, requested.approval.state) == (2, State.IN_REVIEW)
    assert kept.deployments.get(requested.deployment.id) == requested.deployment
    assert [entry.action for entry in kept.ledger.entries()] == ["deployment.request", "approval.submit"]


def test_the_same_evidence_asks_once_and_other_evidence_asks_again(kept: Stores):
    first, again = _request(kept), _request(kept)
    assert first == again
    other = _request(kept, replace(COMPLETE, reports={"covid_crash": ("8" * 64, VERSION)}))
    assert other.deployment.id != first.deployment.id
    assert len(kept.deployments.list(model="signal_classifier", status=DeploymentStatus.PENDING)) == 2
    assert kept.deployments.list(environment="production") == []
    assert kept.ledger.verify().is_intact


def test_who_asked_can_not_approve(kept: Stores):
    requested = _request(kept)
    author = Principal(name=SERVICE.name, roles=frozenset({Role.MLOPS}))
    with pytest.raises(Forbidden):
        kept.approvals.decide(requested.approval.id, approver=author, verdict=Verdict.APPROVE, note="")
