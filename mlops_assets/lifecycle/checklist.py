"""What has to be shown before a version may be deployed, and what of it is there: each item with its own evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.kernel.fingerprint import Json, fingerprint


class ItemStatus(StrEnum):
    """Where an item stands: shown, shown to be wrong, or not shown."""

    PASSED = "passed"
    FAILED = "failed"
    PENDING = "pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One requirement. `rule` says where it comes from, `evidence` is the fingerprint of what shows it."""

    name: str
    status: ItemStatus
    rule: str
    note: str
    evidence: str | None = None

    def as_json(self) -> dict[str, Json]:
        return {
            "name": self.name,
            "status": self.status.value,
            "rule": self.rule,
            "note": self.note,
            "evidence": self.evidence,
        }


class ChecklistIncomplete(PlatformError):
    """A deployment was asked for before its evidence is complete. `missing` names the items."""

    code = "checklist_incomplete"

    def __init__(self, checklist: Checklist) -> None:
        self.missing = [item.name for item in checklist.open_items]
        said = "; ".join(f"{item.name}: {item.note}" for item in checklist.open_items)
        super().__init__(f"{checklist.subject} can't be deployed yet. {said}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checklist:
    """All requirements for one version and environment. `subject` names them: `models/x@3 to staging`.

    `gates` holds by scenario the fingerprint of the bounds that its report was held to.
    """

    subject: str
    items: tuple[Item, ...]
    gates: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def open_items(self) -> tuple[Item, ...]:
        return tuple(item for item in self.items if item.status is not ItemStatus.PASSED)

    @property
    def is_complete(self) -> bool:
        return not self.open_items


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAheadFound:
    """What the look-ahead check found on the published snapshot of a view: it says nothing of any other snapshot."""

    is_passed: bool
    snapshot_fingerprint: str
    cuts: tuple[str, ...]
    rows_compared: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFound:
    """What a sealed report says: the version it is of and the gates that bound it, by fingerprint, and what failed."""

    sha256: str
    version_fingerprint: str | None
    gates_fingerprint: str
    failed_checks: tuple[str, ...] = ()
    failed_gates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was found for one version. None means that nothing was.

    Args:
        look_ahead: by feature view, what its look-ahead check found; None where it has not run on what is published.
        reports: by scenario, its latest report.
        drift_limits: by feature view, the fingerprint of its calibrated limits.
    """

    version_id: str
    version_fingerprint: str
    environment: str
    metadata: Mapping[str, Json]
    training_set: str
    training_set_fingerprint: str
    published_training_sets: frozenset[str]
    skill: Mapping[str, Json]
    beats_every_baseline: bool
    look_ahead: Mapping[str, LookAheadFound | None]
    reports: Mapping[str, ReportFound | None]
    explained_fingerprint: str | None
    explanations: str | None
    drift_limits: Mapping[str, str | None] = field(default_factory=dict[str, str | None])


def assemble(evidence: Evidence) -> Checklist:
    """Judge every requirement by the evidence."""
    return Checklist(
        subject=f"{evidence.version_id} to {evidence.environment}",
        items=(
            _registered(evidence),
            _training_set(evidence),
            _folds(evidence),
            *(_look_ahead(view, found) for view, found in evidence.look_ahead.items()),
            _baselines(evidence),
            *(_report(evidence, scenario) for scenario in evidence.reports),
            _explanations(evidence),
            *(_drift(view, limits) for view, limits in evidence.drift_limits.items()),
        ),
        gates={name: found.gates_fingerprint for name, found in evidence.reports.items() if found is not None},
    )


def _registered(evidence: Evidence) -> Item:
    return Item(
        name="registered",
        status=ItemStatus.PASSED,
        rule="SR 11-7: inventory and documentation",
        note=f"{evidence.version_id} with every field of the {evidence.metadata['kind']} template",
        evidence=evidence.version_fingerprint,
    )


def _training_set(evidence: Evidence) -> Item:
    is_kept = evidence.training_set_fingerprint in evidence.published_training_sets
    return Item(
        name="training_set",
        status=ItemStatus.PASSED if is_kept else ItemStatus.FAILED,
        rule="EU AI Act Annex IV 2(d): data provenance",
        note=f"{evidence.training_set} is kept as published"
        if is_kept
        else f"no published version of {evidence.training_set} has the fingerprint it was trained on; train again",
        evidence=evidence.training_set_fingerprint,
    )


def _folds(evidence: Evidence) -> Item:
    gaps = evidence.metadata["fold_gaps"]
    assert isinstance(gaps, Sequence)
    is_apart = all(isinstance(gap, Mapping) and gap["is_disjoint"] is True for gap in gaps)
    return Item(
        name="folds_apart",
        status=ItemStatus.PASSED if is_apart else ItemStatus.FAILED,
        rule="SR 11-7: out-of-sample testing",
        note="labels of each fold were known before the next begins"
        if is_apart
        else "a label of one fold was learned after the next begins; move the folds",
        evidence=fingerprint(gaps),
    )


def _look_ahead(view: str, found: LookAheadFound | None) -> Item:
    name, rule = f"look_ahead.{view}", "MiFID II RTS 6 art. 5: testing"
    if found is None:
        note = f"the look_ahead check of features/{view} has not run since it was published"
        return Item(name=name, status=ItemStatus.PENDING, rule=rule, note=note)
    return Item(
        name=name,
        status=ItemStatus.PASSED if found.is_passed else ItemStatus.FAILED,
        rule=rule,
        note=f"features/{view} says the same of the past when the future is cut off: {found.rows_compared} rows "
        f"compared over {len(found.cuts)} cuts"
        if found.is_passed
        else f"features/{view} peeks into the future; correct the view",
        evidence=fingerprint(
            {
                "view": view,
                "check": "look_ahead",
                "is_passed": found.is_passed,
                "snapshot": found.snapshot_fingerprint,
                "cuts": found.cuts,
                "rows_compared": found.rows_compared,
            }
        ),
    )


def _baselines(evidence: Evidence) -> Item:
    gains = evidence.skill["gains"]
    assert isinstance(gains, Sequence)
    said = ", ".join(
        f"{gain['baseline']} {gain['estimate']:+.5f} ({gain['low']:+.5f} to {gain['high']:+.5f})"
        for gain in gains
        if isinstance(gain, Mapping)
    )
    verdict = "beats every naive baseline" if evidence.beats_every_baseline else "does not beat every naive baseline"
    return Item(
        name="baselines_known",
        status=ItemStatus.PASSED,
        rule="SR 11-7: benchmarking",
        note=f"{verdict}; gain in log loss on the test fold over {said}",
        evidence=fingerprint(evidence.skill),
    )


def _report(evidence: Evidence, scenario: str) -> Item:
    found = evidence.reports[scenario]
    rule = "SR 11-7: outcomes analysis"
    name = f"report.{scenario}"
    if found is None:
        note = f"no report is sealed; materialise reports/{scenario}"
        return Item(name=name, status=ItemStatus.PENDING, rule=rule, note=note)
    if found.version_fingerprint != evidence.version_fingerprint:
        note = f"the latest report of {scenario} is of another version; replay {scenario} with this one"
        return Item(name=name, status=ItemStatus.PENDING, rule=rule, note=note)
    failed = {"checks": found.failed_checks, "gates": found.failed_gates}
    said = "; ".join(f"failed {kind}: {', '.join(names)}" for kind, names in failed.items() if names)
    return Item(
        name=name,
        status=ItemStatus.FAILED if said else ItemStatus.PASSED,
        rule=rule,
        note=f"report {found.sha256[:12]} of {scenario}{f' has {said}' if said else ''}",
        evidence=found.sha256,
    )


def _explanations(evidence: Evidence) -> Item:
    is_present = evidence.explained_fingerprint == evidence.version_fingerprint
    model = evidence.version_id.split("@", maxsplit=1)[0].removeprefix("models/")
    return Item(
        name="explanations",
        status=ItemStatus.PASSED if is_present else ItemStatus.PENDING,
        rule="EU AI Act art. 13: transparency",
        note="SHAP values of this version are published"
        if is_present
        else f"no SHAP values of this version; materialise explanations/{model}",
        evidence=evidence.explanations if is_present else None,
    )


def _drift(view: str, limits: str | None) -> Item:
    return Item(
        name=f"drift_calibration.{view}",
        status=ItemStatus.PENDING if limits is None else ItemStatus.PASSED,
        rule="SR 11-7: ongoing monitoring",
        note=f"no calibrated drift limits for {view}; materialise its drift asset"
        if limits is None
        else f"{view} is watched with limits calibrated on the training window",
        evidence=limits,
    )
