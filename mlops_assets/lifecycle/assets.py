"""The graph of the model lifecycle: `models/<name>`, `predictions/<name>`, `deployments/<name>` and `drift/…`."""

# No `from __future__ import annotations`: Dagster compares the annotation of `context` as a class.

from collections.abc import Sequence
from dataclasses import asdict

import dagster as dg
import polars as pl

from mlops_assets.features.freezing import newest_of
from mlops_assets.features.knowledge import latest_known
from mlops_assets.features.spec import FeatureView
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.kernel.identity import Principal
from mlops_assets.lifecycle import drift, drift_report, plots
from mlops_assets.lifecycle.automation import drift_sensor
from mlops_assets.lifecycle.deployment.deployments import Deployments
from mlops_assets.lifecycle.deployment.evidence import EvidenceDesk
from mlops_assets.lifecycle.kinds.kind import Format
from mlops_assets.lifecycle.kinds.known import kind_of
from mlops_assets.lifecycle.learner import EXPLAINED
from mlops_assets.lifecycle.registry import ModelRegistry
from mlops_assets.lifecycle.results import drift_checks, model_result, prediction_check, request_result, with_checks
from mlops_assets.lifecycle.spec import ModelSpec, fields_of
from mlops_assets.lifecycle.tracking.dagster_runs import mlflow_metadata, run_key, run_tags
from mlops_assets.lifecycle.tracking.tracked_run import TrackedRun
from mlops_assets.lifecycle.tracking.tracking import Tracking
from mlops_assets.lifecycle.training.candidate import Candidate, train_candidate
from mlops_assets.lifecycle.training.predictions import columns_of, predict
from mlops_assets.lifecycle.training.reproduce import learned_until
from mlops_assets.lifecycle.training.trials import TrialLedger
from mlops_assets.lifecycle.training.version_metadata import code_version_of, version_metadata
from mlops_assets.orchestration.declared import asset_metadata, code_version, key
from mlops_assets.orchestration.results import plot_metadata, snapshot_result
from mlops_assets.orchestration.timing import (
    cadence_freshness,
    content_freshness,
    refresh_on_cadence,
    refresh_when_inputs_change,
)
from mlops_assets.storage.blobs import BlobStore
from mlops_assets.storage.parquet.snapshots import Provenance, Snapshot, SnapshotStore

_PREDICTION_RULES = ("mlops_assets.lifecycle.training.predictions", "mlops_assets.lifecycle.training.folds")
_DRIFT_RULES = ("mlops_assets.lifecycle.drift",)
_DEPLOYMENT_RULES = (
    "mlops_assets.lifecycle.deployment.approval_evidence",
    "mlops_assets.lifecycle.deployment.checklist",
    "mlops_assets.lifecycle.deployment.requests",
    "mlops_assets.lifecycle.deployment.evidence",
)


def model_definitions(spec: ModelSpec, *, reports: Sequence[str]) -> dg.Definitions:
    """Return a model's assets: training, predictions and the request to deploy it.

    Args:
        reports: the scenarios whose report the deployment needs.
    """
    return dg.Definitions(assets=[_model(spec), _predictions(spec), _deployment(spec, reports)])


def drift_definitions(view: FeatureView, model: ModelSpec) -> dg.Definitions:
    """Return the asset that watches the features that a model takes from a view, and the sensor that opens events."""
    dataset = model.drift_dataset(view.name)
    features = [one.column for one in model.training_set.features if one.view == view.name]
    watched = {"features": features, "monitoring": fields_of(model.monitoring)}
    version = code_version(fingerprint(watched), *_DRIFT_RULES)
    lineage = {name: [(view.dataset, feature) for feature in features] for name in ("value", "threshold", "verdict")}

    @dg.asset(
        key=key(dataset),
        deps=[key(view.dataset), key(model.dataset)],
        description=(
            f"How far the last {model.monitoring.window_sessions} sessions of {view.name} are from those that "
            f"the newest {model.name} was trained on, beside the largest distance that is usual in that history."
        ),
        owners=[model.owner],
        group_name="monitoring",
        kinds={"evidently", "parquet"},
        code_version=version,
        metadata=asset_metadata(file=model.declared_in, columns=drift.COLUMNS, lineage=lineage),
        check_specs=[
            dg.AssetCheckSpec(
                "features_are_measured", asset=key(dataset), description="Every feature could be compared."
            ),
            dg.AssetCheckSpec("drift_is_usual", asset=key(dataset), description="No distance is beyond its limit."),
        ],
        automation_condition=refresh_when_inputs_change(),
        freshness_policy=content_freshness(),
    )
    def drift_check(
        snapshots: dg.ResourceParam[SnapshotStore],
        blobs: dg.ResourceParam[BlobStore],
        models: dg.ResourceParam[ModelRegistry],
        actor: dg.ResourceParam[Principal],
    ) -> dg.MaterializeResult:
        source, trained = snapshots.head(view.dataset), models.latest(model.name)
        rows, train_until = latest_known(snapshots.frame(source)), learned_until(trained, snapshots)
        result = drift.measure(rows, features, train_until=train_until, monitoring=model.monitoring)
        provenance = Provenance(
            code_version=version, inputs={view.dataset: source.fingerprint, model.dataset: trained.fingerprint}
        )
        published = snapshots.publish(dataset, drift.as_table(result), provenance=provenance, actor=actor.name)
        html = drift_report.evidently_html(result, rows, train_until=train_until)
        drawn = {} if html is None else {"evidently": dg.MetadataValue.path(blobs.path(blobs.put(html)))}
        return with_checks(
            snapshot_result(published, distances=plot_metadata(drift_report.drift_plot(result)), **drawn),
            drift_checks(result),
        )

    return dg.Definitions(assets=[drift_check], sensors=[drift_sensor(dataset)])


def _model(spec: ModelSpec) -> dg.AssetsDefinition:
    version = code_version_of(spec)

    @dg.asset(
        key=key(spec.dataset),
        deps=[key(spec.training_set.dataset)],
        description=spec.description,
        owners=[spec.owner],
        group_name="models",
        kinds={*kind_of(spec.kind).libraries, "mlflow"},
        tags={"version": spec.version, "tier": str(spec.tier), "model_kind": spec.kind},
        code_version=version,
        metadata=asset_metadata(file=spec.declared_in),
        freshness_policy=cadence_freshness(spec.retraining.within),
        check_specs=[
            dg.AssetCheckSpec(
                "folds_lie_apart",
                asset=key(spec.dataset),
                blocking=True,
                description="Every label of a fold was known, and the embargo over, before the next fold begins; "
                "so it is in each period of the walk-forward.",
            ),
            dg.AssetCheckSpec(
                "beats_its_baselines",
                asset=key(spec.dataset),
                description=f"{kind_of(spec.kind).loss_name} on the test fold is below every naive baseline's, "
                "beyond chance.",
            ),
        ],
        automation_condition=refresh_on_cadence(),
    )
    def model(
        context: dg.AssetExecutionContext,
        snapshots: dg.ResourceParam[SnapshotStore],
        tracking: dg.ResourceParam[Tracking],
        models: dg.ResourceParam[ModelRegistry],
        trials: dg.ResourceParam[TrialLedger],
        actor: dg.ResourceParam[Principal],
    ) -> dg.MaterializeResult:
        source = newest_of(spec.training_set, snapshots)
        trained = train_candidate(snapshots.read(source), spec, progress=context.log.info)
        metadata = version_metadata(trained, source, code_version=version, trials=trials.count(spec.name))
        tags = run_tags(
            context,
            tracking,
            asset=spec.dataset,
            description=spec.description,
            code_version=version,
            declaration=f"{spec.version} {spec.fingerprint}",
            actor=actor.name,
        )
        with tracking.run(run_key(context, spec.dataset), experiment=spec.dataset, tags=tags) as run:
            _track(run, trained, source)
            run.log_json(metadata, "metadata.json")
            registered = models.register(
                model=spec.name,
                kind=spec.kind,
                content=trained.fitted.content,
                training_set_fingerprint=source.fingerprint,
                code_version=version,
                run_id=run.id,
                metadata=metadata,
                metrics=trained.metrics(),
                actor=actor.name,
            )
        return model_result(trained, registered, run=mlflow_metadata(tracking, run.id))

    return model


def _predictions(spec: ModelSpec) -> dg.AssetsDefinition:
    version = code_version(
        fingerprint({"kind": spec.kind, "learner": asdict(spec.learner)}),
        *_PREDICTION_RULES,
        *kind_of(spec.kind).rule_modules,
    )
    sources = [(spec.training_set.dataset, feature) for feature in spec.features]

    @dg.asset(
        key=key(spec.predictions),
        deps=[key(spec.dataset), key(spec.training_set.dataset)],
        description=f"What {spec.name} says of every row of {spec.training_set.dataset}, live rows included.",
        owners=[spec.owner],
        group_name="models",
        kinds={*kind_of(spec.kind).libraries, "parquet"},
        code_version=version,
        metadata=asset_metadata(
            file=spec.declared_in,
            columns=columns_of(spec),
            lineage={column.name: sources for column in kind_of(spec.kind).columns},
        ),
        check_specs=[
            dg.AssetCheckSpec(
                "predictions_are_valid",
                asset=key(spec.predictions),
                blocking=True,
                description="The model said something possible, once, for each symbol and date.",
            )
        ],
        automation_condition=refresh_when_inputs_change(),
        freshness_policy=content_freshness(),
    )
    def predictions(
        snapshots: dg.ResourceParam[SnapshotStore],
        models: dg.ResourceParam[ModelRegistry],
        actor: dg.ResourceParam[Principal],
    ) -> dg.MaterializeResult:
        source, trained = snapshots.head(spec.training_set.dataset), models.latest(spec.name)
        rows = snapshots.read(source)
        said = predict(rows, models.load(trained), spec, model_version=trained.version)
        inputs = {spec.training_set.dataset: source.fingerprint, spec.dataset: trained.fingerprint}
        provenance = Provenance(code_version=version, inputs=inputs)
        published = snapshots.publish(spec.predictions, said, provenance=provenance, actor=actor.name)
        frame = pl.DataFrame(pl.from_arrow(said))
        return with_checks(
            snapshot_result(
                published,
                model_version=trained.version,
                rows_without_features=rows.num_rows - said.num_rows,
                spread=plot_metadata(plots.spread_plot(frame, spec)),
            ),
            [prediction_check(frame, spec)],
        )

    return predictions


def _deployment(spec: ModelSpec, scenarios: Sequence[str]) -> dg.AssetsDefinition:
    dataset, target = f"deployments/{spec.name}", spec.deployment
    needed = [
        spec.dataset,
        spec.predictions,
        *([f"explanations/{spec.name}"] if spec.kind in EXPLAINED else []),
        *(spec.drift_dataset(view) for view in spec.training_set.views),
        *(f"reports/{scenario}" for scenario in scenarios),
    ]

    @dg.asset(
        key=key(dataset),
        deps=[key(one) for one in needed],
        description=(
            f"Request to deploy the latest {spec.name} to {target.environment}: its checklist, filled from evidence, "
            f"and once that is complete the approval that it waits for, by the rule of tier {spec.tier}."
        ),
        owners=[spec.owner],
        group_name="deployments",
        kinds={"sql"},
        code_version=code_version(spec.fingerprint, *_DEPLOYMENT_RULES),
        metadata=asset_metadata(file=spec.declared_in),
        check_specs=[
            dg.AssetCheckSpec(
                "checklist_is_complete",
                asset=key(dataset),
                description=f"Everything that {target.environment} asks for is shown.",
            )
        ],
        automation_condition=refresh_when_inputs_change(),
        freshness_policy=content_freshness(),
    )
    def deployment_request(
        evidence: dg.ResourceParam[EvidenceDesk],
        deployments: dg.ResourceParam[Deployments],
        actor: dg.ResourceParam[Principal],
    ) -> dg.MaterializeResult:
        asked = evidence.gather(spec.name)
        return request_result(deployments.request(asked, by=actor), asked.checklist)

    return deployment_request


def _track(run: TrackedRun, trained: Candidate, source: Snapshot) -> None:
    run.log_training_set(source)
    run.log_parameters(trained.fitted.parameters)
    run.log_metrics(trained.metrics())
    if trained.fitted.format is Format.LIGHTGBM_TEXT:
        run.log_lightgbm(trained.fitted.content.decode())
    else:
        run.log_model(trained.fitted.content, trained.fitted.format.file_name)
