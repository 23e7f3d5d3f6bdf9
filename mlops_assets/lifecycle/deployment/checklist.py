"""What has to be shown before a version may be deployed, and what of it is there: each item with its own evidence.

What is asked for grows with the environment. Most of it a machine shows; what no machine can, people attest who did not
make the version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.kernel.fingerprint import Json, fingerprint


class ItemStatus(StrEnum):
    """Where an item stands: shown, shown to be wrong, or not shown."""

    PASSED = "passed"
    FAILED = "failed"
    PENDING = "pending"


class ShownBy(StrEnum):
    """Who shows an item: what is stored, or somebody's word."""

    MACHINE = "machine"
    HUMAN = "human"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One requirement. `rule` says where it comes from, `evidence` is the fingerprint of what shows it."""

    name: str
    status: ItemStatus
    rule: str
    note: str
    evidence: str | None = None
    shown_by: ShownBy = ShownBy.MACHINE

    def as_json(self) -> dict[str, Json]:
        return {
            "name": self.name,
            "status": self.status.value,
            "rule": self.rule,
            "note": self.note,
            "evidence": self.evidence,
            "shown_by": self.shown_by.value,
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
class Attested:
    """One person's word on an item, bound to the version by `fingerprint`."""

    item: str
    principal: str
    statement: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was found for one version. None means that nothing was.

    Args:
        plan: the declared rollout and its limits.
        makers: who made the version and the reports on it; their word attests nothing.
        is_explained: whether models of its kind are explained feature by feature.
        look_ahead: by feature view, what its look-ahead check found; None where it has not run on what is published.
        reports: by scenario, its latest report.
        drift_limits: by feature view, the fingerprint of its calibrated limits.
    """

    version_id: str
    version_fingerprint: str
    environment: str
    tier: int
    plan: Mapping[str, Json]
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
    attested: Sequence[Attested] = ()
    makers: frozenset[str] = frozenset()
    is_explained: bool = True


ATTESTATIONS: Mapping[str, tuple[str, str]] = {
    "independent_validation": (
        "SR 11-7: validation by people apart from development",
        "that they have validated it",
    ),
    "limits_reviewed": (
        "SEC 15c3-5, MiFID II RTS 6 art. 12 and 15: pre-set limits",
        "that the limits of its plan fit the desk and its orders",
    ),
    "fallback_named": (
        "MiFID II RTS 6 art. 14: business continuity",
        "what is done when it stops: the version, the strategy or the person that takes over",
    ),
}
"""By item that people attest: where the requirement comes from, and what its statement says."""

_DEVELOPMENT, _STAGING, _PRODUCTION = "development", "staging", "production"
_HIGHEST_TIER = 1
_OUTCOMES = "SR 11-7: outcomes analysis"
_DOCUMENTED = ("purpose", "scope", "assumptions", "limitations")


def needs_people(environment: str, tier: int) -> bool:
    """Tell whether the checklist asks for attestations."""
    return environment == _PRODUCTION or (tier == _HIGHEST_TIER and environment != _DEVELOPMENT)


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
            _limits(evidence),
            *(_for_use(evidence) if evidence.environment != _DEVELOPMENT else ()),
            *(_attestations(evidence) if needs_people(evidence.environment, evidence.tier) else ()),
        ),
        gates={name: found.gates_fingerprint for name, found in evidence.reports.items() if found is not None},
    )


def _for_use(evidence: Evidence) -> Iterator[Item]:
    """Judge what is asked for wherever others rely on the model."""
    yield _documented(evidence)
    yield from (_report(evidence, scenario) for scenario in evidence.reports)
    if not evidence.reports:
        yield _no_report(evidence)
    if evidence.is_explained:
        yield _explanations(evidence)
    yield from (_drift(view, limits) for view, limits in evidence.drift_limits.items())


def _attestations(evidence: Evidence) -> Iterator[Item]:
    yield from (_attestation(evidence, name, rule, asked) for name, (rule, asked) in ATTESTATIONS.items())


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
        note=f"{verdict}; gain in {evidence.skill.get('loss', 'loss')} on the test fold over {said}",
        evidence=fingerprint(evidence.skill),
    )


def _limits(evidence: Evidence) -> Item:
    is_set = bool(evidence.plan.get("limits"))
    return Item(
        name="limits_set",
        status=ItemStatus.PASSED if is_set else ItemStatus.PENDING,
        rule="SEC 15c3-5: pre-set limits; MiFID II RTS 6 art. 7: controlled rollout",
        note="rollout and limits are declared"
        if is_set
        else "no limits are declared; declare deployment.rollout and deployment.limits",
        evidence=fingerprint(evidence.plan) if is_set else None,
    )


def _documented(evidence: Evidence) -> Item:
    said = {name: evidence.metadata.get(name) for name in _DOCUMENTED}
    missing = [name for name, found in said.items() if not found]
    return Item(
        name="documented",
        status=ItemStatus.PENDING if missing else ItemStatus.PASSED,
        rule="SR 11-7: documentation; EU AI Act Annex IV 1-2",
        note=f"it does not say its {', '.join(missing)}; declare them and train again"
        if missing
        else "purpose, scope, assumptions and limitations are stated",
        evidence=None if missing else fingerprint(said),
    )


def _no_report(evidence: Evidence) -> Item:
    model = evidence.version_id.split("@", maxsplit=1)[0].removeprefix("models/")
    return Item(
        name="report",
        status=ItemStatus.PENDING,
        rule=_OUTCOMES,
        note=f"no scenario puts {model} to the test; add a scenario with a strategy that uses it",
    )


def _report(evidence: Evidence, scenario: str) -> Item:
    found = evidence.reports[scenario]
    rule = _OUTCOMES
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


def _attestation(evidence: Evidence, name: str, rule: str, asked: str) -> Item:
    own = [one for one in evidence.attested if one.item == name]
    found = [one for one in own if one.principal not in evidence.makers]
    ref = evidence.version_id.removeprefix("models/")
    remedy = f"say {asked}: `mlops deployments attest {ref} {name}`"
    if not found:
        of_makers = ", ".join(one.principal for one in own)
        why = f"{of_makers} had a hand in it; somebody else has to " if own else "somebody who did not make it has to "
        return Item(name=name, status=ItemStatus.PENDING, rule=rule, note=f"{why}{remedy}", shown_by=ShownBy.HUMAN)
    return Item(
        name=name,
        status=ItemStatus.PASSED,
        rule=rule,
        note="; ".join(f"{one.principal}: {one.statement}" for one in found),
        evidence=fingerprint([one.fingerprint for one in found]),
        shown_by=ShownBy.HUMAN,
    )
