"""What the lifecycle's assets show in Dagster: figures, tables, plots and check results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import dagster as dg
import polars as pl

from mlops_assets.lifecycle import drift, plots
from mlops_assets.lifecycle.candidate import Candidate
from mlops_assets.lifecycle.checklist import Checklist
from mlops_assets.lifecycle.deployment import Requested
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.lifecycle.skill import Scores
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.orchestration.results import plot_metadata


def model_result(spec: ModelSpec, trained: Candidate, registered: ModelVersion, *, run_id: str) -> dg.MaterializeResult:
    """Report a trained version: its skill beside the baselines, and both checks."""
    baselines = trained.skill.gains
    said = ", ".join(f"{one.baseline} {one.estimate:+.5f} ({one.low:+.5f} to {one.high:+.5f})" for one in baselines)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(registered.fingerprint),
        metadata={
            "version": registered.version,
            "fingerprint": registered.fingerprint,
            "artifact_sha256": registered.artifact_sha256,
            "training_set_fingerprint": registered.training_set_fingerprint,
            "mlflow_run_id": run_id,
            "rounds": trained.fit.rounds,
            "skill_on_the_test_fold": _skill_table(trained),
            "gain_over_baselines": said,
            "reliability": plot_metadata(plots.reliability_plot(trained)),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="folds_lie_apart",
                passed=_has_embargo(spec, trained),
                metadata={f"{gap.earlier}_to_{gap.later}_sessions": gap.sessions for gap in trained.gaps},
            ),
            dg.AssetCheckResult(
                check_name="beats_its_baselines",
                passed=trained.skill.beats_every_baseline,
                severity=dg.AssetCheckSeverity.WARN,
                description=f"Gain in log loss, with a 90 % interval: {said}.",
            ),
        ],
    )


def _has_embargo(spec: ModelSpec, trained: Candidate) -> bool:
    embargo = spec.training_set.folds.embargo_sessions
    return trained.folds_lie_apart and all(gap.sessions >= embargo for gap in trained.gaps)


def _skill_table(trained: Candidate) -> dg.TableMetadataValue:
    records = [
        dg.TableRecord({"candidate": name, **asdict(scores), "information_coefficient": _or_dash(scores)})
        for name, scores in trained.skill.test.items()
    ]
    return dg.MetadataValue.table(records=records, schema=dg.TableSchema.from_name_type_dict(_SKILL_TYPES))


def _or_dash(scores: Scores) -> str:
    found = scores.information_coefficient
    return "–" if found is None else f"{found:.4f}"


_SKILL_TYPES = {
    "candidate": "string",
    "rows": "int",
    "auc": "float",
    "log_loss": "float",
    "brier": "float",
    "accuracy": "float",
    "information_coefficient": "string",
}


def probability_check(rows: pl.DataFrame) -> dg.AssetCheckResult:
    """Check that there is one probability from 0 to 1 for each symbol and date."""
    outside = rows.filter(~pl.col("probability").is_between(0, 1).fill_null(value=False)).height
    repeated = rows.height - rows.n_unique(["symbol", "date"])
    return dg.AssetCheckResult(
        check_name="probabilities_are_valid",
        passed=outside == 0 and repeated == 0 and rows.height > 0,
        metadata={"outside": outside, "repeated": repeated},
    )


def drift_checks(result: drift.DriftResult) -> list[dg.AssetCheckResult]:
    """Check that every feature was measured, and that none is beyond its limit (a warning)."""
    excessive = result.of(drift.Verdict.EXCESSIVE)
    unmeasured = {one.feature: one.reason for one in result.of(drift.Verdict.NOT_MEASURED)}
    return [
        dg.AssetCheckResult(check_name="features_are_measured", passed=not unmeasured, metadata=unmeasured),
        dg.AssetCheckResult(
            check_name="drift_is_usual",
            passed=not excessive,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={one.feature: one.worst.times_threshold for one in excessive if one.worst},
        ),
    ]


def request_result(requested: Requested, checklist: Checklist) -> dg.MaterializeResult:
    """Report a request to deploy with its whole checklist."""
    table = "\n".join(f"| {item.name} | {item.status} | {item.note} | {item.rule} |" for item in checklist.items)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(requested.deployment.evidence_fingerprint),
        metadata={
            "deployment": requested.deployment.id,
            "status": requested.deployment.status.value,
            "environment": requested.deployment.environment,
            "model_version": requested.deployment.model_version,
            "approval": requested.approval.id,
            "approval_state": requested.approval.state.value,
            "approvals_needed": requested.approval.quorum,
            "required_role": requested.approval.required_role or "none",
            "checklist": dg.MetadataValue.md(f"| item | status | note | rule |\n| --- | --- | --- | --- |\n{table}"),
        },
    )


def with_checks(result: dg.MaterializeResult, checks: Sequence[dg.AssetCheckResult]) -> dg.MaterializeResult:
    """Add check results to a result."""
    return dg.MaterializeResult(data_version=result.data_version, metadata=result.metadata, check_results=checks)
