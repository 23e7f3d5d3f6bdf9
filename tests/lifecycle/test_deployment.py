from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.governance.spec import Approval, Verdict
from mlops_assets.governance.store import ApprovalStore
from mlops_assets.governance.transitions import State
from mlops_assets.kernel.clock import FixedClock
from mlops_assets.kernel.errors import Forbidden
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.lifecycle.approval_evidence import KINDS, approval_evidence
from mlops_assets.lifecycle.checklist import (
    Checklist,
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
from tests.governance.worlds import ACCESS, RULES
from tests.lifecycle.worlds import NOW, SERVICE, Stores, people, stores

VERSION, DATA, REPORT = "a" * 64, "b" * 64, "c" * 64
TARGET = DeploymentTarget(environment="staging")
GAPS = [{"earlier": "train", "later": "valid", "is_disjoint": True}]
SKILL = {"gains": [{"baseline": "base_rate", "estimate": -0.0006, "low": -0.0019, "high": 0.0005}]}
CLEAN = LookAheadFound(is_passed=True, snapshot_fingerprint="7" * 64, cuts=("2020-02-19",), rows_compared=900)
SEALED = ReportFound(sha256=REPORT, version_fingerprint=VERSION, gates_fingerprint="6" * 64)
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
    return _ask(kept.deployments, assemble(evidence))


def _ask(deployments: Deployments, checklist: Checklist, **changes: Any) -> Requested:
    asked = {"version": _version(), "target": TARGET, "tier": 2, "makers": {"mia"}, "by": SERVICE, **changes}
    return deployments.request(checklist=checklist, **asked)


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
    assert (requested.approval.quorum, requested.approval.state) == (2, State.SUBMITTED)
    assert {one.principal for one in requested.approval.parties} == {"mia", "dagster"}
    assert kept.deployments.get(requested.deployment.id) == requested.deployment
    assert [entry.action for entry in kept.ledger.entries()] == [
        "deployment.request",
        "approval.draft",
        "approval.submit",
    ]


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
    _ask(kept.deployments, checklist, target=production)
    another = replace(_version(), model="another", fingerprint="2" * 64)
    _ask(kept.deployments, checklist, version=another)
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

    def request(self, **_: object) -> Approval:
        raise KeyboardInterrupt


@pytest.mark.parametrize("is_superseding", [False, True])
def test_a_request_whose_process_died_before_the_approval_is_completed_by_the_next_call(
    kept: Stores, is_superseding: bool
):
    if is_superseding:
        _request(kept, OTHER)
    clock = FixedClock(at=NOW)
    approvals = _Dying(
        kept.database, kept.ledger, clock, rules=RULES, access=ACCESS, directory=people(), seal=lambda: None
    )
    dying = Deployments(kept.database, kept.ledger, approvals, clock)
    with pytest.raises(KeyboardInterrupt):
        _ask(dying, assemble(COMPLETE))
    (pending,) = kept.deployments.list(status=DeploymentStatus.PENDING)
    assert pending.evidence_fingerprint not in {one.evidence_fingerprint for one in kept.approvals.list()}
    healed = _request(kept)
    assert healed.deployment == pending
    assert healed.approval.evidence_fingerprint == pending.evidence_fingerprint
    assert healed == _request(kept)
    assert len(list(kept.ledger.entries(action="deployment.request"))) == 1 + is_superseding
    assert kept.ledger.verify().is_intact


@pytest.mark.parametrize("name", ["dagster", "mia"])
def test_who_asked_or_made_the_evidence_can_not_approve(kept: Stores, name: str):
    requested = _request(kept)
    maker = Principal(name=name, roles=frozenset({Role.MLOPS}))
    with pytest.raises(Forbidden, match="can't decide on it"):
        kept.approvals.decide(requested.approval.id, by=maker, verdict=Verdict.APPROVE, note="")


def test_a_superseded_version_withdraws_its_approval_also_after_a_crash_between(kept: Stores):
    first = _request(kept)
    newer = replace(_version(), version=2, fingerprint="2" * 64)
    registered = replace(COMPLETE, version_id="models/signal_classifier@2", version_fingerprint="2" * 64)
    approved = kept.approvals.get(first.approval.id)
    for name, role in (("ana", Role.COMPLIANCE), ("ben", Role.MLOPS)):
        by = Principal(name=name, roles=frozenset({role}))
        approved = kept.approvals.decide(approved.id, by=by, verdict=Verdict.APPROVE, note="")
    assert approved.state is State.APPROVED
    kept.deployments.request(version=newer, target=TARGET, tier=2, checklist=_of(registered), makers=(), by=SERVICE)
    withdrawn = kept.approvals.get(first.approval.id)
    assert withdrawn.state is State.REVOKED
    assert withdrawn.closed_reason.startswith("superseded by deployment ")


def _of(evidence: Evidence) -> Checklist:
    """The checklist of another version, on which the same was shown."""
    sealed = replace(SEALED, version_fingerprint=evidence.version_fingerprint)
    return assemble(
        replace(evidence, reports={"covid_crash": sealed}, explained_fingerprint=evidence.version_fingerprint)
    )


def test_every_item_is_a_part_of_its_kind_and_so_are_gates_and_the_rule_of_the_tier():
    checklist = assemble(COMPLETE)
    assert {item.name.split(".")[0] for item in checklist.items} == set(KINDS)
    parts = {part.name: part for part in approval_evidence(checklist, RULES.of(1)).parts}
    assert {name: part.kind.value for name, part in parts.items()} == {
        "registered": "subject",
        "training_set": "data",
        "folds_apart": "data",
        "look_ahead.momentum": "data",
        "baselines_known": "report",
        "report.covid_crash": "report",
        "explanations": "report",
        "drift_calibration.momentum": "thresholds",
        "gates.covid_crash": "policy",
        "tier_rule": "policy",
    }
    assert parts["report.covid_crash"].fingerprint == REPORT
    assert parts["tier_rule"].note == "tier 1: 2 to approve, one of them compliance, valid 180 days"


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ({"reports": {"covid_crash": replace(SEALED, sha256="8" * 64)}}, "report.covid_crash moved: cccccccccccc…"),
        ({"reports": {"covid_crash": replace(SEALED, gates_fingerprint="8" * 64)}}, "gates.covid_crash moved"),
        ({"drift_limits": {"momentum": "8" * 64}}, "drift_calibration.momentum moved"),
        ({"explanations": "8" * 64}, "explanations moved"),
    ],
)
def test_a_request_that_moved_says_which_part(kept: Stores, change: dict[str, Any], moved: str):
    first = _request(kept)
    _request(kept, replace(COMPLETE, **change))
    void = kept.approvals.get(first.approval.id)
    assert void.state is State.REVOKED
    assert [words for words in void.moved if words.startswith(moved)]


def test_the_tier_decides_how_many_and_which_people(kept: Stores):
    asked = _ask(kept.deployments, assemble(COMPLETE), tier=1).approval
    assert (asked.quorum, asked.required_role) == (2, Role.COMPLIANCE)
    lower = _ask(kept.deployments, assemble(COMPLETE), tier=3).approval
    assert (lower.quorum, lower.required_role) == (1, None)
    assert kept.approvals.get(asked.id).moved[0].startswith("tier_rule moved")
