"""What a checklist asks for by environment and tier, and how each item is judged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlops_assets.lifecycle.deployment.approval_evidence import KINDS, approval_evidence
from mlops_assets.lifecycle.deployment.checklist import (
    ATTESTATIONS,
    ChecklistIncomplete,
    Evidence,
    Item,
    ItemStatus,
    assemble,
)
from tests.governance.worlds import RULES
from tests.lifecycle.deployment_worlds import CLEAN, COMPLETE, REPORT, SEALED, attested

PEOPLE = tuple(attested(item) for item in ATTESTATIONS)
PRODUCTION = replace(COMPLETE, environment="production", attested=PEOPLE)
DEVELOPMENT = replace(COMPLETE, environment="development")
ALWAYS = ["registered", "training_set", "folds_apart", "look_ahead.momentum", "baselines_known", "limits_set"]
FOR_USE = ["documented", "report.covid_crash", "explanations", "drift_calibration.momentum"]


def _names(evidence: Evidence) -> list[str]:
    return [item.name for item in assemble(evidence).items]


def _item(evidence: Evidence, name: str) -> Item:
    (item,) = [item for item in assemble(evidence).items if item.name == name]
    return item


@pytest.mark.parametrize(
    ("environment", "tier", "names"),
    [
        ("development", 1, ALWAYS),
        ("development", 3, ALWAYS),
        ("staging", 2, [*ALWAYS, *FOR_USE]),
        ("staging", 1, [*ALWAYS, *FOR_USE, *ATTESTATIONS]),
        ("production", 3, [*ALWAYS, *FOR_USE, *ATTESTATIONS]),
    ],
)
def test_what_is_asked_for_grows_with_environment_and_tier(environment: str, tier: int, names: list[str]):
    assert _names(replace(COMPLETE, environment=environment, tier=tier)) == names


def test_a_kind_that_nothing_explains_is_not_asked_for_explanations():
    assert _names(replace(COMPLETE, is_explained=False)) == [*ALWAYS, *FOR_USE[:2], *FOR_USE[3:]]


def test_people_show_what_no_machine_can():
    shown = {item.name: item.shown_by.value for item in assemble(PRODUCTION).items}
    assert {name for name, by in shown.items() if by == "human"} == set(ATTESTATIONS)
    assert all(item.rule and item.evidence for item in assemble(PRODUCTION).items)
    assert assemble(PRODUCTION).is_complete


def test_complete_evidence_passes_and_says_that_the_model_beats_no_baseline():
    note = _item(COMPLETE, "baselines_known").note
    assert note.startswith("does not beat every naive baseline; gain in log loss")
    assert "over base_rate -0.00060 (-0.00190 to +0.00050)" in note


@pytest.mark.parametrize(
    ("change", "name", "status"),
    [
        ({"published_training_sets": frozenset()}, "training_set", ItemStatus.FAILED),
        ({"metadata": {**COMPLETE.metadata, "fold_gaps": [{"is_disjoint": False}]}}, "folds_apart", ItemStatus.FAILED),
        ({"look_ahead": {"momentum": None}}, "look_ahead.momentum", ItemStatus.PENDING),
        ({"look_ahead": {"momentum": replace(CLEAN, is_passed=False)}}, "look_ahead.momentum", ItemStatus.FAILED),
        ({"plan": {}}, "limits_set", ItemStatus.PENDING),
        ({"metadata": {**COMPLETE.metadata, "limitations": []}}, "documented", ItemStatus.PENDING),
        ({"reports": {"covid_crash": None}}, "report.covid_crash", ItemStatus.PENDING),
        ({"reports": {}}, "report", ItemStatus.PENDING),
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
        ({"attested": PEOPLE[1:]}, "independent_validation", ItemStatus.PENDING),
    ],
)
def test_what_is_missing_is_named(change: dict[str, Any], name: str, status: ItemStatus):
    checklist = assemble(replace(PRODUCTION, **change))
    (item,) = checklist.open_items
    assert (item.name, item.status) == (name, status)
    error = ChecklistIncomplete(checklist)
    assert error.missing == [name]
    assert item.note in str(error)


def test_a_model_that_no_scenario_tests_is_told_to_get_one():
    assert _item(replace(COMPLETE, reports={}), "report").note == (
        "no scenario puts signal_classifier to the test; add a scenario with a strategy that uses it"
    )


def test_the_word_of_a_maker_attests_nothing():
    own = (attested("independent_validation", "mia"), *PEOPLE[1:])
    item = _item(replace(PRODUCTION, attested=own), "independent_validation")
    assert item.status is ItemStatus.PENDING
    assert item.note.startswith("mia had a hand in it; somebody else has to say that")
    both = _item(replace(PRODUCTION, attested=(*own, PEOPLE[0])), "independent_validation")
    assert both.status is ItemStatus.PASSED
    assert both.note == "vic: read and tried"


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
def test_the_look_ahead_item_is_bound_to_the_snapshot_and_to_what_was_compared(change: dict[str, Any]):
    other = replace(COMPLETE, look_ahead={"momentum": replace(CLEAN, **change)})
    found, changed = (_item(one, "look_ahead.momentum") for one in (COMPLETE, other))
    assert found.evidence is not None
    assert found.evidence != changed.evidence
    assert "900 rows compared over 1 cuts" in found.note


def test_every_item_is_a_part_of_its_kind_and_so_are_request_gates_and_the_rule_of_the_tier():
    checklist = assemble(PRODUCTION)
    assert {item.name.split(".")[0] for item in checklist.items} == set(KINDS)
    parts = {part.name: part for part in approval_evidence(checklist, RULES.of(1), deployment_id="5" * 64).parts}
    assert {name: part.kind.value for name, part in parts.items()} == {
        "request": "subject",
        "registered": "subject",
        "training_set": "data",
        "folds_apart": "data",
        "look_ahead.momentum": "data",
        "baselines_known": "report",
        "limits_set": "thresholds",
        "documented": "subject",
        "report.covid_crash": "report",
        "explanations": "report",
        "drift_calibration.momentum": "thresholds",
        "independent_validation": "report",
        "limits_reviewed": "thresholds",
        "fallback_named": "policy",
        "gates.covid_crash": "policy",
        "tier_rule": "policy",
    }
    assert parts["report.covid_crash"].fingerprint == REPORT
    assert parts["tier_rule"].note == "tier 1: 2 to approve, one of them compliance, valid 180 days"
    assert parts["request"].fingerprint == "5" * 64
