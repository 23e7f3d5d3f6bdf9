"""What the assets of evaluation report after they ran: numbers, curves and verdicts on their pages in Dagster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from mlops_assets.evaluation import plots
from mlops_assets.evaluation.evaluate import Evaluation
from mlops_assets.evaluation.explain import importances
from mlops_assets.evaluation.metrics import BY_NAME, deepest_drawdown
from mlops_assets.evaluation.page import measure
from mlops_assets.evaluation.report import Contender, SealedReport
from mlops_assets.evaluation.spec import Scenario
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.lifecycle.training.folds import complete_rows
from mlops_assets.orchestration.results import plot_metadata, snapshot_result
from mlops_assets.storage.parquet.snapshots import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

GATES_KEPT = "gates_kept"


def evaluation_result(
    scenario: Scenario, evaluated: Evaluation, curve: Snapshot, fills: Snapshot
) -> dg.MaterializeResult:
    """Report a replay: metrics, curves and the verdict of each check."""
    result, name = evaluated.result, evaluated.candidate
    canvas = plots.Canvas()
    colour = {name: canvas.theme.candidates[0]}
    fall = deepest_drawdown(result)
    reported = snapshot_result(
        curve,
        replay=evaluated.id,
        result_fingerprint=result.fingerprint,
        fills=fills.row_count,
        fills_snapshot=fills.id,
        metrics=dg.MetadataValue.md(_metric_table({name: evaluated.metrics})),
        maximum_drawdown=f"{measure(fall.depth, 'fraction')} from {fall.peak} to {fall.trough}",
        equity=plot_metadata(plots.equity_curves({name: result}, colour, scenario.stress_events, canvas)),
        drawdown=plot_metadata(plots.drawdown_curves({name: result}, colour, scenario.stress_events, canvas)),
    )
    return reported._replace(
        check_results=[
            dg.AssetCheckResult(
                check_name=verdict.check,
                passed=verdict.is_passed,
                description=verdict.summary,
                metadata={"facts": dg.MetadataValue.json(dict(verdict.facts))},
            )
            for verdict in evaluated.verdicts
        ]
    )


def report_result(
    scenario: Scenario,
    record: Mapping[str, Any],
    sealed: SealedReport,
    contenders: Sequence[Contender],
    *,
    html: Path,
) -> dg.MaterializeResult:
    """Report a sealed report: its hash is the data version, its KPIs and curves are on the asset's page."""
    results = {one.name: one.result for one in contenders}
    canvas = plots.Canvas()
    colour = plots.colours(scenario.baselines, scenario.candidates, canvas.theme)
    kpis = {kpi.key: kpi.value for kpi in sealed.kpis}
    values = {
        one.name: {name: kpis.get(f"{scenario.name}.{one.name}.{name}") for name in BY_NAME} for one in contenders
    }
    return dg.MaterializeResult(
        data_version=dg.DataVersion(sealed.sha256),
        metadata={
            "report_sha256": sealed.sha256,
            "html": dg.MetadataValue.path(html),
            "metrics": dg.MetadataValue.md(_metric_table(values)),
            "kpis": dg.MetadataValue.json(dict(kpis)),
            "inputs": dg.MetadataValue.json(dict(sealed.inputs)),
            "equity": plot_metadata(plots.equity_curves(results, colour, scenario.stress_events, canvas)),
            "drawdown": plot_metadata(plots.drawdown_curves(results, colour, scenario.stress_events, canvas)),
        },
        check_results=[_gates_kept(record["gates"])],
    )


def _gates_kept(gates: Sequence[Mapping[str, Any]]) -> dg.AssetCheckResult:
    """List every breach; a candidate that misses a gate is a result, not a fault, so it only warns."""
    breaches = [f"{gate['candidate']}: {gate['metric']} {gate['value']}" for gate in gates if not gate["is_passed"]]
    return dg.AssetCheckResult(
        check_name=GATES_KEPT,
        passed=not breaches,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"gates": dg.MetadataValue.json(list(gates)), "breaches": breaches},
    )


def _metric_table(values: Mapping[str, Mapping[str, float | None]]) -> str:
    """Write metrics as a Markdown table, a column a strategy."""
    known = [metric for name, metric in BY_NAME.items() if any(name in column for column in values.values())]
    rows = [
        [metric.title, *(measure(column.get(metric.name), metric.unit) for column in values.values())]
        for metric in known
    ]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"| | {' | '.join(values)} |", f"| --- |{' ---: |' * len(values)}", *lines])


def importance_table(explanations: pa.Table) -> dg.MarkdownMetadataValue:
    lines = [
        f"| {one.feature} | {one.mean_absolute_shap:.5f} | {one.share:.1%} |"
        for one in importances(_frame(explanations))
    ]
    return dg.MetadataValue.md("\n".join(["| feature | mean abs. SHAP | share |", "| --- | ---: | ---: |", *lines]))


def beeswarm(explanations: pa.Table, training_set: pa.Table, model: ModelSpec) -> dg.MarkdownMetadataValue:
    """Draw SHAP values beside the feature values they belong to."""
    rows = complete_rows(training_set, model.features).select("symbol", "date", *model.features)
    shown = _frame(explanations)
    values = shown.select("symbol", "date").join(rows, on=["symbol", "date"], how="left", maintain_order="left")
    return plot_metadata(plots.beeswarm(shown, values, model.features, seed=model.seed))


def _frame(table: pa.Table) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(table))
