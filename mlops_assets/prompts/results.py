"""What a reader sees of answers and evaluations on the page of their asset."""

from __future__ import annotations

import json
from collections.abc import Sequence

from mlops_assets.prompts.facts import Verdict
from mlops_assets.prompts.grade import Evaluation, Output


def origin_metadata(answered: Sequence[Output]) -> dict[str, str]:
    """Say where answers come from."""
    origins = dict.fromkeys(one.answer.origin for one in answered)
    return {
        "answers_come_from": ", ".join(dict.fromkeys(origin.kind for origin in origins)),
        "origin": " ".join(dict.fromkeys(origin.statement for origin in origins)),
    }


def answers_text(answered: Sequence[Output]) -> str:
    """Lay out every answer as Markdown."""
    return "\n\n".join(
        f"**{one.locale}, {one.case}** ({one.answer.origin.kind}, request `{one.answer.request_sha256[:12]}`)\n\n"
        f"```json\n{_pretty(one.answer.text)}\n```"
        for one in answered
    )


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, indent=1)
    except ValueError:
        return text


def claim_counts(evaluation: Evaluation) -> dict[str, int]:
    """Count claims by verdict, and policy findings."""
    counted = {f"claims_{verdict}": sum(one.verdict is verdict for one in evaluation.claims) for verdict in Verdict}
    return counted | {"policy_findings": len(evaluation.findings)}


def claims_table(evaluation: Evaluation) -> str:
    """Lay out every numeric claim as a Markdown table."""
    rows = [
        f"| {claim.where} | {claim.printed} | {claim.verdict} | {claim.key or ''} | {claim.stored} | {claim.reason} |"
        for claim in evaluation.claims
    ]
    head = ["| where | printed | verdict | KPI | stored | reason |", "| --- | --- | --- | --- | --- | --- |"]
    return "\n".join([*head, *rows])
