"""What the sign-off of a report is bound to: its record, its page, its gates, its inputs and the tier's rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mlops_assets.evaluation.store import StoredReport
from mlops_assets.governance.evidence import Evidence, Part, PartKind
from mlops_assets.governance.rules import TierRule
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.lifecycle.spec import ModelSpec

TIER_WITHOUT_MODEL = 2


def tier_of(models: Iterable[ModelSpec]) -> int:
    """Return the tier of a report: the highest of the models it is about."""
    return min((model.tier for model in models), default=TIER_WITHOUT_MODEL)


def approval_evidence(report: StoredReport, record: Mapping[str, Any], rule: TierRule) -> Evidence:
    """Return a sealed report as parts; each input is one, so that what moved has a name."""
    summary = record["summary"]
    said = (
        f"{summary['failed_checks']} of {summary['checks']} checks and "
        f"{summary['failed_gates']} of {summary['gates']} gates failed"
    )
    inputs = (
        Part(name=f"input.{name}", kind=PartKind.DATA, fingerprint=found)
        for name, found in sorted(report.inputs.items())
    )
    return Evidence(
        parts=(
            Part(name="record", kind=PartKind.REPORT, fingerprint=report.sha256, note=said),
            Part(name="page", kind=PartKind.REPORT, fingerprint=report.html_sha256),
            Part(name="gates", kind=PartKind.THRESHOLDS, fingerprint=fingerprint(record["scenario"]["gates"])),
            *inputs,
            rule.as_part(),
        )
    )
