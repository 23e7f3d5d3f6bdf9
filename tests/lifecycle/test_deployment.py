from dataclasses import replace
from pathlib import Path

import pytest

from mlops_assets.governance.approvals import Approval, State, Verdict
from mlops_assets.governance.store import ApprovalStore
from mlops_assets.kernel.clock import FixedClock
from mlops_assets.kernel.errors import Forbidden
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.lifecycle.checklist import (
    ChecklistIncomplete,
    Evidence,
    Item,
    ItemStatus,
    LookAheadFound,
    ReportFound,
    assemble,
)
from mlops_assets.lifecycle.deployment import Deployments, DeploymentStatus, Requested
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.lifecycle.spec import DeploymentTarget
from tests.lifecycle.worlds import NOW, SERVICE, Stores, stores

VERSION, DATA, REPORT = "a" * 64, "b" * 64, "c" * 64
TARGET = DeploymentTarget(environment="staging", quorum=2)
GAPS = [{"earlier": "train", "later": "valid", "is_disjoint": True}]
SKILL = {"gains": [{"baseline": "base_rate", "estimate": -0.0006, "low": -0.0019, "high": 0.0005}]}
CLEAN = LookAheadFound(is_passed=True, snapshot_fingerprint="7" * 64, cuts=("2020-02-19",), rows_compared=900)
SEALED = ReportFound(sha256=REPORT, version_fingerprint=VERSION)
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
    look_ahead={"momentum": CLEAN},
    reports={"covid_crash": SEALED},
    explained_fingerprint=VERSION,
    explanations="d" * 64,
    drift_limits={"momentum": "e" * 64},
)


OTHER = replace(COMPLETE, reports={"covid_crash": replace(SEALED, sha256="8" * 64)})


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


def _item(evidence: Evidence, name: str) -> Item:
    (item,) = [item for item in assemble(evidence).items if item.name == name]
    return item


def test_what_failed_in_a_report_stands_in_the_note():
    failed = replace(
        SEALED,
        failed_checks=("out_of_sample of signal_ml",),
        failed_gates=(
            "turnover of signal_ml (30.0, not at most 25)",
            "sharpe_ratio of signal_ml (None, not at least 1)",
        ),
    )
    item = _item(replace(COMPLETE, reports={"covid_crash": failed}), "report.covid_crash")
    assert item.note == (
        "report cccccccccccc of covid_crash has failed checks: out_of_sample of signal_ml; failed gates: turnover of "
        "signal_ml (30.0, not at most 25), sharpe_ratio of signal_ml (None, not at least 1)"
    )
    assert item.evidence == REPORT


@pytest.mark.parametrize(
    "change",
    [
        {"snapshot_fingerprint": "8" * 64},
        {"cuts": ("2020-02-20",)},
        {"rows_compared": 901},
        {"is_passed": False},
    ],
)
def test_the_look_ahead_item_is_bound_to_the_snapshot_and_to_what_was_compared(change: dict):
    other = replace(COMPLETE, look_ahead={"momentum": replace(CLEAN, **change)})
    found, changed = (_item(one, "look_ahead.momentum") for one in (COMPLETE, other))
    assert found.evidence is not None
    assert found.evidence != changed.evidence
    assert "900 rows compared over 1 cuts" in found.note


@pytest.mark.parametrize(
    ("change", "name", "status"),
    [
        ({"published_training_sets": frozenset()}, "training_set", ItemStatus.FAILED),
        ({"metadata": {"kind": "classifier", "fold_gaps": [{"is_disjoint": False}]}}, "folds_apart", ItemStatus.FAILED),
        ({"look_ahead": {"momentum": None}}, "look_ahead.momentum", ItemStatus.PENDING),
        ({"look_ahead": {"momentum": replace(CLEAN, is_passed=False)}}, "look_ahead.momentum", ItemStatus.FAILED),
        ({"reports": {"covid_crash": None}}, "report.covid_crash", ItemStatus.PENDING),
        (
            {"reports": {"covid_crash": replace(SEALED, version_fingerprint="9" * 64)}},
            "report.covid_crash",
            ItemStatus.PENDING,
        ),
        (
            {"reports": {"covid_crash": replace(SEALED, failed_checks=("out_of_sample of signal_ml",))}},
            "report.covid_crash",
            ItemStatus.FAILED,
        ),
        (
            {"reports": {"covid_crash": replace(SEALED, failed_gates=("turnover of signal_ml",))}},
            "report.covid_crash",
            ItemStatus.FAILED,
        ),
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
    other = _request(kept, OTHER)
    assert other.deployment.id != first.deployment.id
    assert len(kept.deployments.list(model="signal_classifier")) == 2
    assert kept.deployments.list(environment="production") == []
    assert kept.ledger.verify().is_intact


def test_a_newer_request_supersedes_the_older_one_and_the_ledger_says_by_which(kept: Stores):
    first, other = _request(kept), _request(kept, OTHER)
    older = kept.deployments.get(first.deployment.id)
    assert (older.status, older.epoch) == (DeploymentStatus.TERMINATED, 1)
    assert kept.deployments.list(status=DeploymentStatus.PENDING) == [other.deployment]
    (entry,) = kept.ledger.entries(action="deployment.supersede")
    assert entry.details == {"deployment": first.deployment.id, "superseded_by": other.deployment.id}
    assert _request(kept, OTHER) == other
    assert len(list(kept.ledger.entries(action="deployment.supersede"))) == 1


def test_requests_of_another_environment_or_model_stay(kept: Stores):
    first = _request(kept)
    checklist = assemble(OTHER)
    production = replace(TARGET, environment="production")
    kept.deployments.request(version=_version(), target=production, checklist=checklist, author=SERVICE)
    another = replace(_version(), model="another", fingerprint="2" * 64)
    kept.deployments.request(version=another, target=TARGET, checklist=checklist, author=SERVICE)
    assert kept.deployments.get(first.deployment.id).status is DeploymentStatus.PENDING
    assert len(kept.deployments.list(status=DeploymentStatus.PENDING)) == 3


def test_a_superseded_request_that_is_asked_for_again_is_pending_again(kept: Stores):
    first, other = _request(kept), _request(kept, OTHER)
    back = _request(kept)
    assert (back.deployment.id, back.deployment.epoch) == (first.deployment.id, 2)
    assert kept.deployments.list(status=DeploymentStatus.PENDING) == [back.deployment]
    assert kept.deployments.get(other.deployment.id).status is DeploymentStatus.TERMINATED
    assert kept.ledger.verify().is_intact


class _Dying(ApprovalStore):
    """The real store in a process that dies before it submits."""

    def submit(self, **_: object) -> Approval:
        raise KeyboardInterrupt


@pytest.mark.parametrize("is_superseding", [False, True])
def test_a_request_whose_process_died_before_the_approval_is_completed_by_the_next_call(
    kept: Stores, is_superseding: bool
):
    if is_superseding:
        _request(kept, OTHER)
    clock = FixedClock(at=NOW)
    dying = Deployments(kept.database, kept.ledger, _Dying(kept.database, kept.ledger, clock), clock)
    with pytest.raises(KeyboardInterrupt):
        dying.request(version=_version(), target=TARGET, checklist=assemble(COMPLETE), author=SERVICE)
    (pending,) = kept.deployments.list(status=DeploymentStatus.PENDING)
    assert pending.evidence_fingerprint not in {one.evidence_fingerprint for one in kept.approvals.list()}
    healed = _request(kept)
    assert healed.deployment == pending
    assert healed.approval.evidence_fingerprint == pending.evidence_fingerprint
    assert healed == _request(kept)
    assert len(list(kept.ledger.entries(action="deployment.request"))) == 1 + is_superseding
    assert kept.ledger.verify().is_intact


def test_who_asked_can_not_approve(kept: Stores):
    requested = _request(kept)
    author = Principal(name=SERVICE.name, roles=frozenset({Role.MLOPS}))
    with pytest.raises(Forbidden):
        kept.approvals.decide(requested.approval.id, approver=author, verdict=Verdict.APPROVE, note="")
