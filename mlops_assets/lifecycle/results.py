"""What the lifecycle's assets show in Dagster: figures, tables, plots and check results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg
import polars as pl

from mlops_assets.kernel.fingerprint import Json, fingerprint
from mlops_assets.lifecycle import drift, plots
from mlops_assets.lifecycle.deployment.checklist import Checklist
from mlops_assets.lifecycle.deployment.deployments import Requested
from mlops_assets.lifecycle.kinds.known import kind_of
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.lifecycle.training.candidate import Candidate
from mlops_assets.lifecycle.training.skill import Gain
from mlops_assets.orchestration.results import plot_metadata


def model_result(
    trained: Candidate, registered: ModelVersion, *, run: Mapping[str, dg.MetadataValue]
) -> dg.MaterializeResult:
    """Report a trained version: its skill beside the baselines, period by period, and its checks.

    Args:
        run: where its MLflow run is to be found.
    """
    spec, said = trained.spec, _gains(trained.skill.gains)
    embargo, fewest = spec.training_set.folds.embargo_sessions, trained.fewest_sessions_apart
    return dg.MaterializeResult(
        data_version=dg.DataVersion(registered.fingerprint),
        metadata={
            "version": registered.version,
            "fingerprint": registered.fingerprint,
            "artifact_sha256": registered.artifact_sha256,
            "artifact_format": trained.fitted.format.value,
            "training_set_fingerprint": registered.training_set_fingerprint,
            **run,
            "skill_on_the_test_fold": _skill_table(trained),
            f"gain_in_{trained.skill.loss}": said,
            "walk_forward": _period_table(trained),
            "skill": plot_metadata(plots.skill_plot(trained)),
            "periods": plot_metadata(plots.periods_plot(trained)),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="folds_lie_apart",
                passed=trained.folds_lie_apart and fewest >= embargo,
                metadata={
                    "embargo_sessions": embargo,
                    "fewest_sessions_apart": fewest,
                    "fits": 1 + len(trained.periods),
                },
            ),
            dg.AssetCheckResult(
                check_name="beats_its_baselines",
                passed=trained.skill.beats_every_baseline,
                severity=dg.AssetCheckSeverity.WARN,
                description=f"Gain in {trained.skill.loss}, with a 90 % interval: {said}.",
            ),
        ],
    )


def _gains(gains: Sequence[Gain]) -> str:
    return ", ".join(f"{one.baseline} {one.estimate:+.5f} ({one.low:+.5f} to {one.high:+.5f})" for one in gains)


def _skill_table(trained: Candidate) -> dg.TableMetadataValue:
    names = list(trained.skill.test["model"])
    records = [
        dg.TableRecord({"candidate": who, **{name: _shown(scores.get(name)) for name in names}})
        for who, scores in trained.skill.test.items()
    ]
    schema = dg.TableSchema.from_name_type_dict(dict.fromkeys(["candidate", *names], "string"))
    return dg.MetadataValue.table(records=records, schema=schema)


def _period_table(trained: Candidate) -> dg.TableMetadataValue:
    records = [
        dg.TableRecord(
            {
                "period": f"{one.first} to {one.last}",
                "rows": str(one.rows),
                trained.skill.loss: _shown(one.loss),
                "gain": _gains(one.gains),
            }
        )
        for one in trained.periods
    ]
    schema = dg.TableSchema.from_name_type_dict(dict.fromkeys(["period", "rows", trained.skill.loss, "gain"], "string"))
    return dg.MetadataValue.table(records=records, schema=schema)


def _shown(figure: float | None) -> str:
    return "–" if figure is None else f"{figure:.6g}"


def prediction_check(said: pl.DataFrame, spec: ModelSpec) -> dg.AssetCheckResult:
    """Check that the model said something possible, once, for each symbol and date."""
    wrong = dict(kind_of(spec.kind).check(said))
    wrong["repeated"] = said.height - said.n_unique(["symbol", "date"])
    return dg.AssetCheckResult(
        check_name="predictions_are_valid", passed=said.height > 0 and not any(wrong.values()), metadata=wrong
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
    """Report a request to deploy with its whole checklist, and warn of what is missing."""
    items = "\n".join(
        f"| {item.name} | {item.status} | {item.shown_by} | {item.note} | {item.rule} |" for item in checklist.items
    )
    shown: list[Json] = [item.as_json() for item in checklist.items]
    asked, missing = requested.approval, {item.name: item.note for item in checklist.open_items}
    return dg.MaterializeResult(
        data_version=dg.DataVersion(fingerprint([requested.deployment.id, shown])),
        metadata={
            "deployment": requested.deployment.id,
            "state": requested.deployment.state.value,
            "status": requested.deployment.status.value,
            "environment": requested.deployment.environment,
            "model_version": requested.deployment.model_version,
            "missing": ", ".join(missing) or "nothing",
            "approval": "not asked for yet" if asked is None else asked.id,
            "approval_state": "none" if asked is None else asked.state.value,
            "approvals_needed": 0 if asked is None else asked.quorum,
            "required_role": "none" if asked is None or asked.required_role is None else asked.required_role.value,
            "checklist": dg.MetadataValue.md(
                f"| item | status | shown by | note | rule |\n| --- | --- | --- | --- | --- |\n{items}"
            ),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="checklist_is_complete",
                passed=checklist.is_complete,
                severity=dg.AssetCheckSeverity.WARN,
                metadata=missing,
            )
        ],
    )


def with_checks(result: dg.MaterializeResult, checks: Sequence[dg.AssetCheckResult]) -> dg.MaterializeResult:
    """Add check results to a result."""
    return dg.MaterializeResult(data_version=result.data_version, metadata=result.metadata, check_results=checks)
