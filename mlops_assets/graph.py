"""The whole graph: the catalogue as assets, checks, schedules and sensors, and the stores as resources."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from mlops_assets.alerts.alert import Severity
from mlops_assets.alerts.automation import alert_delivery_sensor, failed_check_sensor
from mlops_assets.catalog.catalogue import Catalogue
from mlops_assets.evaluation.assets import evaluation_definitions, explanation_definitions
from mlops_assets.features.assets import feature_view_definitions, training_set_definitions
from mlops_assets.features.automation import views_sensor
from mlops_assets.governance.automation import approval_sla_sensor
from mlops_assets.kpis.assets import KPIS, kpi_definitions
from mlops_assets.ledger.assets import AUDIT_CHECKPOINT, CHECK, checkpoint_definitions
from mlops_assets.lifecycle.assets import drift_definitions, model_definitions
from mlops_assets.lifecycle.learner import EXPLAINED
from mlops_assets.lifecycle.mirrors.automation import mirror_delivery_sensor
from mlops_assets.lifecycle.operations.automation import deployment_sensors, drill_check, weekly_drills
from mlops_assets.lifecycle.operations.shadow import shadow_definitions
from mlops_assets.lifecycle.retraining.automation import retrain_after_drift_sensor, retraining_definitions
from mlops_assets.lifecycle.tracking.automation import orphans_sensor
from mlops_assets.lifecycle.training.sweep_assets import sweep_definitions
from mlops_assets.market_data.assets import bars_definitions
from mlops_assets.market_data.validation import ErrorBudget
from mlops_assets.orchestration.resources import lazy, of_run
from mlops_assets.orchestration.timing import refresh_sensor
from mlops_assets.prompts.assets import bundle_definitions, prompt_definitions
from mlops_assets.services import ServiceFactory


def build_defs(services: ServiceFactory) -> dg.Definitions:
    """Build the definitions of a catalogue over the given services."""
    return dg.Definitions.merge(
        *catalogue_definitions(services.catalogue, services.error_budget),
        dg.Definitions(
            resources=resources(services), sensors=sensors(services.catalogue), executor=dg.in_process_executor
        ),
    )


def catalogue_definitions(catalogue: Catalogue, error_budget: ErrorBudget) -> list[dg.Definitions]:
    """Return the definitions of every declaration."""
    market = bars_definitions(error_budget)
    views = [feature_view_definitions(view, catalogue.feature_views) for view in catalogue.feature_views.values()]
    models = [part for model in catalogue.models.values() for part in _of_model(catalogue, model.name)]
    evaluations = [
        evaluation_definitions(scenario, catalogue.strategies, catalogue.models)
        for scenario in catalogue.scenarios.values()
    ]
    prompts = [prompt_definitions(versions, catalogue.policies) for versions in catalogue.prompts.values()]
    return [
        market,
        *views,
        *models,
        *evaluations,
        *prompts,
        bundle_definitions(catalogue.prompts),
        kpi_definitions(_measured(catalogue)),
        checkpoint_definitions(after=KPIS),
        dg.Definitions(schedules=[weekly_drills([*catalogue.models])]),
    ]


def sensors(catalogue: Catalogue) -> list[dg.SensorDefinition]:
    """Return the sensors that belong to no declaration."""
    return [
        refresh_sensor(),
        views_sensor(),
        alert_delivery_sensor(),
        approval_sla_sensor(),
        mirror_delivery_sensor(),
        orphans_sensor(),
        *deployment_sensors([*catalogue.models]),
        retrain_after_drift_sensor(catalogue.models),
        failed_check_sensor(AUDIT_CHECKPOINT, CHECK, severity=Severity.CRITICAL),
    ]


def resources(services: ServiceFactory) -> Mapping[str, object]:
    """Return the stores by the names that asset bodies ask for."""
    return {
        "snapshots": lazy(lambda: services.snapshots, "Immutable Parquet snapshots behind the manifest."),
        "blobs": lazy(lambda: services.blobs, "Bytes kept under their own SHA-256."),
        "database": lazy(lambda: services.database, "The platform's SQL database."),
        "journal": lazy(lambda: services.ledger, "The audit ledger."),
        "checkpoints": lazy(lambda: services.checkpoints, "Signed checkpoints of the audit ledger."),
        "clock": lazy(lambda: services.clock, "The clock."),
        "actor": of_run(lambda run: services.run_identity.principal_of(run), "The principal that a run acts as."),
        "calendar": lazy(lambda: services.calendar, "Trading sessions of the exchange."),
        "market": lazy(lambda: services.market, "The source of daily bars."),
        "warehouse": lazy(lambda: services.warehouse, "Rebuilds the DuckDB file of views over the snapshots."),
        "duckdb": services.duckdb,
        "feature_registry": lazy(lambda: services.feature_registry, "Status, releases and certificates of views."),
        "feature_releases": lazy(lambda: services.feature_releases, "The released versions of views."),
        "approvals": lazy(lambda: services.approvals, "Requests for approval and their decisions."),
        "tracking": lazy(lambda: services.tracking, "MLflow runs, one for each asset, partition and root run."),
        "models": lazy(lambda: services.models, "Registered model versions."),
        "trials": lazy(lambda: services.trials, "Every set of parameters that was tried."),
        "evidence": lazy(lambda: services.evidence, "What a version is judged by before it is deployed."),
        "serving": lazy(lambda: services.serving, "Who serves now, and who served when."),
        "guard": lazy(lambda: services.guard, "Ends deployments that pass their limits."),
        "aliases": lazy(lambda: services.aliases, "Champions as MLflow shows them."),
        "drill": lazy(lambda: services.drill, "Rehearses rollbacks on a scratch copy."),
        "deployments": lazy(lambda: services.deployments, "Deployments, and the moves that make a version serve."),
        "retrainings": lazy(lambda: services.retrainings, "Who asked for a model to be trained again, and why."),
        "alerts": lazy(lambda: services.alerts, "Alerts and their outbox."),
        "mirrors": lazy(lambda: services.mirrors, "Copies of the lifecycle's metadata in other systems."),
        "drift_events": lazy(lambda: services.drift_events, "Drift events and their states."),
        "reports": lazy(lambda: services.reports, "Replays, sealed reports and their KPIs."),
        "prompt_store": lazy(lambda: services.prompt_store, "Evaluations of prompts."),
        "provider": lazy(lambda: services.provider, "Who answers prompts; recorded answers by default."),
    }


def _of_model(catalogue: Catalogue, name: str) -> list[dg.Definitions]:
    model = catalogue.models[name]
    monitored = [catalogue.feature_views[view] for view in model.training_set.views]
    return [
        training_set_definitions(model.training_set, catalogue.feature_views),
        model_definitions(model, reports=[scenario.name for scenario in catalogue.scenarios_of(model)]),
        sweep_definitions(model),
        retraining_definitions(model),
        shadow_definitions(model),
        dg.Definitions(asset_checks=[drill_check(model)]),
        *([explanation_definitions(model)] if model.kind in EXPLAINED else []),
        *(drift_definitions(view, model) for view in monitored),
    ]


def _measured(catalogue: Catalogue) -> list[str]:
    """Name the datasets whose refresh makes the KPIs stale: the ends of the graph."""
    return [
        *(f"deployments/{name}" for name in catalogue.models),
        *(f"reports/{name}" for name in catalogue.scenarios),
        "prompt_bundle",
    ]
