"""What the approval of a prompt version is bound to: its content, its evaluation, the rules, thresholds and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from mlops_assets.governance.evidence import Evidence, Part, PartKind
from mlops_assets.governance.rules import TierRule
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.prompts.spec import Audience, PromptVersion
from mlops_assets.prompts.store import EvaluationRecord

TIER_BY_AUDIENCE: Mapping[Audience, int] = {"retail": 1, "professional": 1, "internal": 2}
"""What leaves the house has the highest tier."""


def subject_of(version: PromptVersion) -> str:
    """Name a version as the ledger and the approvals do."""
    return f"prompts/{version.name}"


def approval_evidence(version: PromptVersion, record: EvaluationRecord, rule: TierRule) -> Evidence:
    """Return an evaluated version as parts."""
    outcome = "passed" if record.is_passed else "failed"
    said = f"{outcome}, {record.findings['claim_count']} numeric claims checked"
    report = record.findings["report_sha256"]
    narrated = (
        () if report is None else (Part(name=f"report.{version.report}", kind=PartKind.DATA, fingerprint=report),)
    )
    policies = (
        Part(name=f"policy.{name}", kind=PartKind.POLICY, fingerprint=found)
        for name, found in sorted(record.findings["rules"].items())
    )
    return Evidence(
        parts=(
            Part(name="content", kind=PartKind.SUBJECT, fingerprint=record.prompt_fingerprint, note=version.name),
            Part(name="evaluation", kind=PartKind.REPORT, fingerprint=record.id, note=said),
            Part(name="thresholds", kind=PartKind.THRESHOLDS, fingerprint=fingerprint(asdict(version.thresholds))),
            Part(name="outputs", kind=PartKind.DATA, fingerprint=record.outputs_fingerprint),
            *narrated,
            *policies,
            rule.as_part(),
        )
    )
