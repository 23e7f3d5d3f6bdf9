"""The graph of the model lifecycle: `models/<name>`, `predictions/<name>`, `deployments/<name>` and `drift/…`."""

# No `from __future__ import annotations`: Dagster compares the annotation of `context` as a class.

from collections.abc import Sequence
from typing import cast

import dagster as dg
import polars as pl

from mlops_assets.features.knowledge import latest_known
from mlops_assets.features.spec import FeatureView
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.kernel.identity import Principal
from mlops_assets.lifecycle import candidate as training
from mlops_assets.lifecycle import drift, drift_report, plots, predict
from mlops_assets.lifecycle.automation import drift_sensor
from mlops_assets.lifecycle.candidate import Candidate, train_candidate
from mlops_assets.lifecycle.checklist import LookAheadFound, assemble
from mlops_assets.lifecycle.deployment import Deployments
from mlops_assets.lifecycle.evidence import SealedReports, gather, makers_of
from mlops_assets.lifecycle.registry import ModelRegistry
from mlops_assets.lifecycle.results import drift_checks, model_result, probability_check, request_result, with_checks
from mlops_assets.lifecycle.spec import ModelSpec, fields_of
from mlops_assets.lifecycle.tracking import RunKey, TrackedRun, Tracking
from mlops_assets.orchestration.declared import asset_metadata, code_version, key
from mlops_assets.orchestration.results import plot_metadata, snapshot_result
from mlops_assets.orchestration.timing import content_freshness, refresh_when_inputs_change
from mlops_assets.storage.blobs import BlobStore
from mlops_assets.storage.parquet.snapshots import Provenance, Snapshot, SnapshotStore

_PREDICTION_RULES = ("mlops_assets.lifecycle.predict", "mlops_assets.lifecycle.train")
_DRIFT_RULES = ("mlops_assets.lifecycle.drift",)
_DEPLOYMENT_RULES = (
    "mlops_assets.lifecycle.approval_evidence",
    "mlops_assets.lifecycle.checklist",
    "mlops_assets.lifecycle.deployment",
    "mlops_assets.lifecycle.evidence",
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
    train_until = model.training_set.folds.train_until
    watched = {
        "features": features,
        "train_until": train_until.isoformat(),
        "monitoring": fields_of(model.monitoring),
    }
    version = code_version(fingerprint(watched), *_DRIFT_RULES)
    lineage = {name: [(view.dataset, feature) for feature in features] for name in ("value", "threshold", "verdict")}

    @dg.asset(
        key=key(dataset),
        deps=[key(view.dataset)],
        description=(
            f"How far the last {model.monitoring.window_sessions} sessions of {view.name} are from those that "
            f"{model.name} was trained on, beside the largest distance that is usual in that history."
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
        actor: dg.ResourceParam[Principal],
    ) -> dg.MaterializeResult:
        source = snapshots.head(view.dataset)
        rows = latest_known(snapshots.frame(source))
        result = drift.measure(rows, features, train_until=train_until, monitoring=model.monitoring)
        provenance = Provenance(code_version=version, inputs={view.dataset: source.fingerprint})
        published = snapshots.publish(dataset, drift.as_table(result), provenance=provenance, actor=actor.name)
        html = drift_report.evidently_html(result, rows, train_until=train_until)
        drawn = {} if html is None else {"evidently": dg.MetadataValue.path(blobs.path(blobs.put(html)))}
        return with_checks(
            snapshot_result(published, distances=plot_metadata(drift_report.drift_plot(result)), **drawn),
            drift_checks(result),
        )

    return dg.Definitions(assets=[drift_check], sensors=[drift_sensor(dataset)])


def _model(spec: ModelSpec) -> dg.AssetsDefinition:
    version = code_version(spec.fingerprint, *training.RULE_MODULES)

    @dg.asset(
        key=key(spec.dataset),
        deps=[key(spec.training_set.dataset)],
        description=spec.description,
        owners=[spec.owner],
        group_name="models",
        kinds={"lightgbm", "mlflow"},
        tags={"version": spec.version, "tier": str(spec.tier)},
        code_version=version,
        metadata=asset_metadata(file=spec.declared_in),
        freshness_policy=content_freshness(),
        check_specs=[
            dg.AssetCheckSpec(
                "folds_lie_apart",
                asset=key(spec.dataset),
                blocking=True,
                description="Every label of a fold was known, and the embargo over, before the next fold begins.",
            ),
            dg.AssetCheckSpec(
                "beats_its_baselines",
                asset=key(spec.dataset),
                description="Log loss on the test fold is below every naive baseline's, beyond chance.",
            ),
        ],
        automation_condition=refresh_when_inputs_change(),
    )
    def model(
        context: dg.AssetExecutionContext,
        snapshots: dg.ResourceParam[SnapshotStore],
        tracking: dg.ResourceParam[Tracking],
        models: dg.ResourceParam[ModelRegistry],
        actor: dg.ResourceParam[Principal],
    ) -> dg.MaterializeResult:
        source = snapshots.head(spec.training_set.dataset)
        trained = train_candidate(snapshots.read(source), spec)
        metadata = trained.metadata(spec, training_set_fingerprint=source.fingerprint, code_version=version)
        root = context.run.root_run_id or context.run.run_id
        tags = _run_tags(context, spec, source, version)
        with tracking.run(RunKey(asset=spec.dataset, root_run_id=root), experiment=spec.dataset, tags=tags) as run:
            _track(run, trained, source)
            run.log_json(metadata, "metadata.json")
            registered = models.register(
                model=spec.name,
                kind=spec.kind,
                text=trained.fit.text,
                training_set_fingerprint=source.fingerprint,
                code_version=version,
                run_id=run.id,
                metadata=metadata,
                metrics=trained.metrics(),
                actor=actor.name,
            )
        return model_result(spec, trained, registered, run_id=run.id)

    return model


def _predictions(spec: ModelSpec) -> dg.AssetsDefinition:
    version = code_version(fingerprint(fields_of(spec.buckets)), *_PREDICTION_RULES)
    sources = [(spec.training_set.dataset, feature) for feature in spec.features]

    @dg.asset(
        key=key(spec.predictions),
        deps=[key(spec.dataset), key(spec.training_set.dataset)],
        description=f"What {spec.name} says of every row of {spec.training_set.dataset}, live rows included.",
        owners=[spec.owner],
        group_name="models",
        kinds={"lightgbm", "parquet"},
        code_version=version,
        metadata=asset_metadata(
            file=spec.declared_in, columns=predict.COLUMNS, lineage={"probability": sources, "bucket": sources}
        ),
        check_specs=[
            dg.AssetCheckSpec(
                "probabilities_are_valid",
                asset=key(spec.predictions),
                blocking=True,
                description="One probability from 0 to 1 for each symbol and date.",
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
        said = predict.predict(
            rows,
            text=models.load_text(trained),
            features=spec.features,
            buckets=spec.buckets,
            model_version=trained.version,
        )
        inputs = {spec.training_set.dataset: source.fingerprint, spec.dataset: trained.fingerprint}
        provenance = Provenance(code_version=version, inputs=inputs)
        published = snapshots.publish(spec.predictions, said, provenance=provenance, actor=actor.name)
        frame = pl.DataFrame(pl.from_arrow(said))
        probability = frame.get_column("probability").to_numpy()
        return with_checks(
            snapshot_result(
                published,
                model_version=trained.version,
                rows_without_features=rows.num_rows - said.num_rows,
                rows_by_bucket=dict(frame.group_by("bucket").len().sort("bucket").iter_rows()),
                spread=plot_metadata(plots.probability_plot(probability, spec.buckets)),
            ),
            [probability_check(frame)],
        )

    return predictions


def _deployment(spec: ModelSpec, scenarios: Sequence[str]) -> dg.AssetsDefinition:
    dataset, target = f"deployments/{spec.name}", spec.deployment
    needed = [
        spec.dataset,
        spec.predictions,
        f"explanations/{spec.name}",
        *(spec.drift_dataset(view) for view in spec.training_set.views),
        *(f"reports/{scenario}" for scenario in scenarios),
    ]

    @dg.asset(
        key=key(dataset),
        deps=[key(one) for one in needed],
        description=(
            f"Request to deploy the latest {spec.name} to {target.environment}: its checklist, filled from evidence, "
            f"and the approval that it waits for, by the rule of tier {spec.tier}."
        ),
        owners=[spec.owner],
        group_name="deployments",
        kinds={"sql"},
        code_version=code_version(spec.fingerprint, *_DEPLOYMENT_RULES),
        metadata=asset_metadata(file=spec.declared_in),
        automation_condition=refresh_when_inputs_change(),
        freshness_policy=content_freshness(),
    )
    def deployment_request(
        context: dg.AssetExecutionContext,
        snapshots: dg.ResourceParam[SnapshotStore],
        models: dg.ResourceParam[ModelRegistry],
        reports: dg.ResourceParam[SealedReports],
        deployments: dg.ResourceParam[Deployments],
        actor: dg.ResourceParam[Principal],
    ) -> dg.MaterializeResult:
        version = models.latest(spec.name)
        found = gather(
            spec,
            version,
            scenarios=scenarios,
            look_ahead={view: _look_ahead(context.instance, view) for view in spec.training_set.views},
            snapshots=snapshots,
            reports=reports,
        )
        checklist = assemble(found)
        requested = deployments.request(
            version=version,
            target=target,
            tier=spec.tier,
            checklist=checklist,
            makers=makers_of(version, scenarios=scenarios, reports=reports),
            by=actor,
        )
        return request_result(requested, checklist)

    return deployment_request


def _run_tags(context: dg.AssetExecutionContext, spec: ModelSpec, source: Snapshot, version: str) -> dict[str, str]:
    return {
        "dagster.run_id": context.run.run_id,
        "dagster.root_run_id": context.run.root_run_id or context.run.run_id,
        "dagster.asset": spec.dataset,
        "mlops.attempt": str(context.retry_number),
        "mlops.code_version": version,
        "mlops.declaration": f"{spec.version} {spec.fingerprint}",
        "mlops.training_set_fingerprint": source.fingerprint,
    }


def _track(run: TrackedRun, trained: Candidate, source: Snapshot) -> None:
    run.log_dataset(source.dataset, source.fingerprint)
    run.log_parameters({**trained.fit.parameters, "rounds": trained.fit.rounds})
    run.log_metrics(trained.metrics())
    run.log_lightgbm(trained.fit.text)


def _look_ahead(instance: dg.DagsterInstance, view: str) -> LookAheadFound | None:
    """Return what the look-ahead check found on the view's latest materialisation, or None if it has not run on it."""
    asset = key(f"features/{view}")
    record = instance.get_latest_asset_check_evaluation_record(dg.AssetCheckKey(asset, "look_ahead"))
    evaluation = record.event.asset_check_evaluation if record and record.event else None
    latest = instance.fetch_materializations(asset, limit=1).records
    if evaluation is None or evaluation.target_materialization_data is None or not latest:
        return None
    published = latest[0].asset_materialization
    if evaluation.target_materialization_data.storage_id != latest[0].storage_id or published is None:
        return None
    return LookAheadFound(
        is_passed=evaluation.passed,
        snapshot_fingerprint=str(published.metadata["fingerprint"].value),
        cuts=tuple(cast("list[str]", evaluation.metadata["cuts"].value)),
        rows_compared=cast("int", evaluation.metadata["rows_compared"].value),
    )
