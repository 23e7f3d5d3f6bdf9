"""The graph of evaluation: `explanations/<model>`, `evaluation/<scenario>/<strategy>`, `reports/<scenario>`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg
import polars as pl

from mlops_assets.evaluation import checks
from mlops_assets.evaluation.approval_evidence import approval_evidence, tier_of
from mlops_assets.evaluation.automation import nightly_replay
from mlops_assets.evaluation.evaluate import RULE_MODULES as EVALUATION_RULES
from mlops_assets.evaluation.evaluate import evaluate, inputs_of, replay_id
from mlops_assets.evaluation.explain import (
    ADDITIVITY_LIMIT,
    PREFIX,
    additivity_error,
    columns_of,
    explain,
    importances,
)
from mlops_assets.evaluation.gates import require_known_metrics
from mlops_assets.evaluation.page import render
from mlops_assets.evaluation.report import RULE_MODULES as REPORT_RULES
from mlops_assets.evaluation.report import Contender, Explained, build_record, seal
from mlops_assets.evaluation.results import (
    GATES_KEPT,
    beeswarm,
    evaluation_result,
    importance_table,
    report_result,
)
from mlops_assets.evaluation.spec import Scenario, Strategy
from mlops_assets.evaluation.store import ReportStore
from mlops_assets.evaluation.tables import EQUITY_COLUMNS, equity_table, fills_table, replay_from
from mlops_assets.governance.store import ApprovalStore
from mlops_assets.kernel.errors import Conflict
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.kernel.identity import Principal
from mlops_assets.lifecycle.registry import ModelRegistry
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.market_data.bars import BARS
from mlops_assets.orchestration.declared import asset_metadata, code_version, key
from mlops_assets.orchestration.results import snapshot_result
from mlops_assets.orchestration.timing import (
    check_when_refreshed,
    content_freshness,
    nightly_freshness,
    refresh_when_inputs_change,
)
from mlops_assets.storage.blobs import BlobStore
from mlops_assets.storage.parquet.snapshots import Provenance, Snapshot, SnapshotStore


def explanation_definitions(model: ModelSpec) -> dg.Definitions:
    """Return the asset of a model's SHAP values and its check."""
    dataset, training_set = f"explanations/{model.name}", model.training_set.dataset
    version = code_version(model.fingerprint, "mlops_assets.evaluation.explain")
    lineage = {PREFIX + name: [(training_set, name)] for name in model.features}
    lineage["margin"] = [(training_set, name) for name in model.features]

    @dg.asset(
        key=key(dataset),
        deps=[key(model.dataset), key(training_set)],
        description=f"What each feature adds to the score of {model.name}, for every row of the test fold.",
        owners=[model.owner],
        group_name="evaluation",
        kinds={"lightgbm", "parquet"},
        code_version=version,
        metadata=asset_metadata(file=model.declared_in, columns=columns_of(model.features), lineage=lineage),
        automation_condition=refresh_when_inputs_change(),
        freshness_policy=content_freshness(),
    )
    def explanations(
        snapshots: dg.ResourceParam[SnapshotStore],
        models: dg.ResourceParam[ModelRegistry],
        actor: dg.ResourceParam[Principal],
    ) -> dg.MaterializeResult:
        trained, source = models.latest(model.name), snapshots.head(training_set)
        rows = snapshots.read(source)
        values = explain(rows, text=models.load(trained).decode(), features=model.features)
        inputs = {model.dataset: trained.fingerprint, training_set: source.fingerprint}
        provenance = Provenance(code_version=version, inputs=inputs)
        published = snapshots.publish(dataset, values, provenance=provenance, actor=actor.name)
        return snapshot_result(
            published,
            model_version=trained.version,
            additivity_error=additivity_error(values),
            importances=importance_table(values),
            beeswarm=beeswarm(values, rows, model),
        )

    @dg.asset_check(
        asset=key(dataset),
        automation_condition=check_when_refreshed(),
        blocking=True,
        description=f"Base and SHAP values add up to the model's raw score within {ADDITIVITY_LIMIT:g}.",
    )
    def shap_additive(snapshots: dg.ResourceParam[SnapshotStore]) -> dg.AssetCheckResult:
        error = additivity_error(snapshots.read(snapshots.head(dataset)))
        return dg.AssetCheckResult(
            passed=error < ADDITIVITY_LIMIT, metadata={"largest_error": error, "limit": ADDITIVITY_LIMIT}
        )

    return dg.Definitions(assets=[explanations], asset_checks=[shap_additive])


def evaluation_definitions(
    scenario: Scenario, strategies: Mapping[str, Strategy], models: Mapping[str, ModelSpec]
) -> dg.Definitions:
    """Return a scenario's replays with their checks, its report and the schedule that replays them nightly.

    Raises:
        UnknownReference: if a gate names a metric that does not exist.
    """
    require_known_metrics(scenario)
    replayed = [strategies[name] for name in scenario.replayed]
    read = [models[name] for name in dict.fromkeys(one.model for one in replayed) if name is not None]
    return dg.Definitions(
        assets=[*(_evaluation(scenario, strategy) for strategy in replayed), _report(scenario, replayed, read)],
        schedules=[nightly_replay(scenario)],
    )


def _evaluation(scenario: Scenario, strategy: Strategy) -> dg.AssetsDefinition:
    dataset = _dataset(scenario, strategy)
    predictions = [] if strategy.model is None else [f"predictions/{strategy.model}"]
    version = code_version(fingerprint([scenario.fingerprint, strategy.fingerprint]), *EVALUATION_RULES)
    sources = [(BARS, "adjusted_close"), *((name, "probability") for name in predictions)]
    names = [name for name in checks.DESCRIPTIONS if name != "out_of_sample" or predictions]

    @dg.asset(
        key=key(dataset),
        deps=[key(name) for name in (BARS, *predictions)],
        description=f"{strategy.description} Replayed in {scenario.name}: {scenario.description}",
        owners=[strategy.owner],
        group_name="evaluation",
        kinds={"numpy", "parquet"},
        tags={"strategy_version": strategy.version, "scenario_version": scenario.version},
        code_version=version,
        metadata=asset_metadata(
            file=strategy.declared_in,
            columns=EQUITY_COLUMNS,
            lineage={column.name: sources for column in EQUITY_COLUMNS[1:]},
        ),
        check_specs=[
            dg.AssetCheckSpec(name, asset=key(dataset), blocking=True, description=checks.DESCRIPTIONS[name])
            for name in names
        ],
        automation_condition=refresh_when_inputs_change(),
        freshness_policy=nightly_freshness(),
    )
    def evaluation(
        snapshots: dg.ResourceParam[SnapshotStore],
        reports: dg.ResourceParam[ReportStore],
        actor: dg.ResourceParam[Principal],
    ) -> dg.MaterializeResult:
        heads = {name: snapshots.head(name) for name in (BARS, *predictions)}
        evaluated = evaluate(
            scenario,
            strategy,
            bars=snapshots.read(heads[BARS]),
            predictions=snapshots.read(heads[predictions[0]]) if predictions else None,
            data=_fingerprints(heads, strategy),
        )
        reports.save_replay(evaluated, actor=actor.name)
        provenance = Provenance(code_version=version, inputs=evaluated.inputs)
        fills = snapshots.publish(
            _fills(dataset), fills_table(evaluated.result), provenance=provenance, actor=actor.name
        )
        curve = snapshots.publish(dataset, equity_table(evaluated.result), provenance=provenance, actor=actor.name)
        return evaluation_result(scenario, evaluated, curve, fills)

    return evaluation


def _report(scenario: Scenario, replayed: Sequence[Strategy], models: Sequence[ModelSpec]) -> dg.AssetsDefinition:
    dataset = f"reports/{scenario.name}"
    read = [_dataset(scenario, strategy) for strategy in replayed]
    explained = [f"explanations/{model.name}" for model in models]
    tier = tier_of(models)

    @dg.asset(
        key=key(dataset),
        deps=[key(name) for name in (*read, *explained)],
        description=f"Sealed report of {scenario.name}: {scenario.description}",
        owners=[scenario.owner],
        group_name="evaluation",
        kinds={"html", "json"},
        code_version=code_version(scenario.fingerprint, *REPORT_RULES),
        metadata=asset_metadata(file=scenario.declared_in),
        check_specs=[
            dg.AssetCheckSpec(GATES_KEPT, asset=key(dataset), description="Every gate of the scenario is kept.")
        ],
        automation_condition=refresh_when_inputs_change(),
        freshness_policy=nightly_freshness(),
    )
    def report(
        snapshots: dg.ResourceParam[SnapshotStore],
        reports: dg.ResourceParam[ReportStore],
        approvals: dg.ResourceParam[ApprovalStore],
        blobs: dg.ResourceParam[BlobStore],
        actor: dg.ResourceParam[Principal],
    ) -> dg.MaterializeResult:
        contenders = [_contender(scenario, strategy, snapshots, reports) for strategy in replayed]
        importance = [_explained(scenario, model, contenders, snapshots) for model in models]
        record = build_record(scenario, contenders, importance)
        sealed = seal(record, render(record, scenario, contenders, importance))
        stored = reports.seal(sealed, actor=actor.name)
        # A draft only: a report is sealed each night, and asks for people's time when somebody submits it.
        approvals.draft(
            subject=dataset,
            tier=tier,
            evidence=approval_evidence(stored, record, approvals.rules.of(tier)),
            authors=reports.makers(stored.sha256),
            by=actor,
        )
        return report_result(scenario, record, sealed, contenders, html=blobs.path(stored.html_sha256))

    return report


def _dataset(scenario: Scenario, strategy: Strategy) -> str:
    return f"evaluation/{scenario.name}/{strategy.name}"


def _fills(dataset: str) -> str:
    return f"{dataset}/fills"


def _fingerprints(heads: Mapping[str, Snapshot], strategy: Strategy) -> dict[str, str]:
    """Name the data by fingerprint, and the model that made the predictions.

    Raises:
        Conflict: if the predictions don't name their model.
    """
    data = {name: head.fingerprint for name, head in heads.items()}
    if strategy.model is None:
        return data
    model, predictions = f"models/{strategy.model}", heads[f"predictions/{strategy.model}"]
    if model not in predictions.inputs:
        raise Conflict(f"{predictions.id} does not say which {model} made it. Materialise {predictions.dataset} again.")
    return {**data, model: predictions.inputs[model]}


def _contender(scenario: Scenario, strategy: Strategy, snapshots: SnapshotStore, reports: ReportStore) -> Contender:
    """Read a replay back.

    Raises:
        Conflict: if it was made by another declaration, or its curve and fills are of different replays.
    """
    dataset = _dataset(scenario, strategy)
    curve, fills = snapshots.head(dataset), snapshots.head(_fills(dataset))
    data = {name: value for name, value in curve.inputs.items() if name.split("/")[0] not in _DECIDED}
    if dict(curve.inputs) != inputs_of(scenario, strategy, data) or fills.inputs != curve.inputs:
        raise Conflict(
            f"{curve.id} was made by another version of the scenario, the strategy or the engine than this one. "
            f"Materialise {dataset} again, then the report."
        )
    known = reports.replay(replay_id(curve.inputs))
    return Contender(
        strategy=strategy,
        role="baseline" if strategy.name in scenario.baselines else "candidate",
        replay_id=known.id,
        result=replay_from(snapshots.read(curve), snapshots.read(fills)),
        verdicts=known.verdicts,
        inputs=known.inputs,
    )


_DECIDED = ("scenarios", "strategies", "code")


def _explained(
    scenario: Scenario, model: ModelSpec, contenders: Sequence[Contender], snapshots: SnapshotStore
) -> Explained:
    """Read a model's importances.

    Raises:
        Conflict: if the explanations are of another version of the model than the replayed predictions.
    """
    head = snapshots.head(f"explanations/{model.name}")
    used = {one.inputs[model.dataset] for one in contenders if model.dataset in one.inputs}
    if used != {head.inputs[model.dataset]}:
        raise Conflict(
            f"{head.id} explains another version of {model.name} than the replays used. Materialise "
            f"predictions/{model.name}, explanations/{model.name} and the evaluations again, then the report."
        )
    table = snapshots.read(head)
    rows = pl.DataFrame(pl.from_arrow(table))
    window = rows.filter(pl.col("date").is_between(scenario.window.start, scenario.window.end))
    return Explained(
        model=model.name,
        explanations_fingerprint=head.fingerprint,
        window=tuple(importances(window)),
        test_fold=tuple(importances(rows)),
        additivity_error=additivity_error(table),
    )
