"""What an approval to deploy is bound to: the request, its checklist, the gates of its reports and the tier's rule."""

from __future__ import annotations

from mlops_assets.governance.evidence import Evidence, Part, PartKind
from mlops_assets.governance.rules import TierRule
from mlops_assets.lifecycle.deployment.checklist import Checklist, ChecklistIncomplete, Item

KINDS = {
    "registered": PartKind.SUBJECT,
    "training_set": PartKind.DATA,
    "folds_apart": PartKind.DATA,
    "look_ahead": PartKind.DATA,
    "baselines_known": PartKind.REPORT,
    "limits_set": PartKind.THRESHOLDS,
    "documented": PartKind.SUBJECT,
    "report": PartKind.REPORT,
    "explanations": PartKind.REPORT,
    "drift_calibration": PartKind.THRESHOLDS,
    "independent_validation": PartKind.REPORT,
    "limits_reviewed": PartKind.THRESHOLDS,
    "fallback_named": PartKind.POLICY,
}
"""By the first word of an item's name, what kind of evidence it is."""


def approval_evidence(checklist: Checklist, rule: TierRule, *, deployment_id: str) -> Evidence:
    """Return a complete checklist as parts. One request's approval is none for another request of the same version.

    Raises:
        ChecklistIncomplete: naming what is missing.
    """
    if not checklist.is_complete:
        raise ChecklistIncomplete(checklist)
    gates = (
        Part(name=f"gates.{scenario}", kind=PartKind.POLICY, fingerprint=found, note=f"the gates of {scenario}")
        for scenario, found in checklist.gates.items()
    )
    asked = Part(name="request", kind=PartKind.SUBJECT, fingerprint=deployment_id, note=checklist.subject)
    return Evidence(parts=(asked, *(_part(item, checklist) for item in checklist.items), *gates, rule.as_part()))


def _part(item: Item, checklist: Checklist) -> Part:
    if item.evidence is None:  # an item that passed has shown something
        raise ChecklistIncomplete(checklist)
    kind = KINDS[item.name.split(".", maxsplit=1)[0]]
    return Part(name=item.name, kind=kind, fingerprint=item.evidence, note=f"{item.note} ({item.rule})")
