"""`mlops features|deployments|drift|report|kpis`: what the stores and the catalogue hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from mlops_assets.cli.installation import services_of
from mlops_assets.cli.render import AsJson, show_record, show_rows
from mlops_assets.kernel.errors import UnknownReference

features = typer.Typer(help="Feature views of the catalogue.", no_args_is_help=True)
deployments = typer.Typer(help="Deployment requests.", no_args_is_help=True)
drift = typer.Typer(help="Drift events.", no_args_is_help=True)
report = typer.Typer(help="Sealed reports.", no_args_is_help=True)

GROUPS: Mapping[str, typer.Typer] = {
    "features": features,
    "deployments": deployments,
    "drift": drift,
    "report": report,
}


@features.command("list")
def list_features(as_json: AsJson = False) -> None:
    """List the feature views with what is published of them."""
    services = services_of()
    heads = {head.dataset: head for head in services.snapshots.heads()}
    rows: list[dict[str, object]] = []
    for view in services.catalogue.feature_views.values():
        head = heads.get(view.dataset)
        rows.append(
            {
                "name": view.name,
                "version": view.version,
                "owner": view.owner,
                "columns": len(view.columns),
                "snapshot": None if head is None else head.version,
                "rows": None if head is None else head.row_count,
                "description": view.description,
            }
        )
    show_rows("Feature views", rows, as_json=as_json, only_json=("description",))


@features.command("show")
def show_feature(name: Annotated[str, typer.Argument(help="The view's name.")], as_json: AsJson = False) -> None:
    """Show one feature view: its columns, units and formulas."""
    services = services_of()
    views = services.catalogue.feature_views
    if name not in views:
        raise UnknownReference(kind="feature view", name=name, known=views, asked_by="mlops features show")
    view = views[name]
    head = services.snapshots.find_head(view.dataset)
    record = {
        "name": view.name,
        "version": view.version,
        "owner": view.owner,
        "description": view.description,
        "declared_in": str(view.declared_in),
        "fingerprint": view.fingerprint,
        "inputs": list(view.inputs),
        "warm_up_bars": view.warm_up_bars,
        "snapshot": None if head is None else head.version,
        "snapshot_fingerprint": None if head is None else head.fingerprint,
    }
    columns = [
        {"column": one.name, "type": one.type, "unit": one.unit, "formula": one.formula, "description": one.description}
        for one in view.columns
    ]
    if as_json:
        show_record("", {**record, "columns": columns}, as_json=True)
        return
    show_record(f"Feature view {name}", record, as_json=False)
    show_rows("Columns", columns, as_json=False)


@deployments.command("list")
def list_deployments(
    model: Annotated[str | None, typer.Option(help="Only deployments of this model.")] = None, as_json: AsJson = False
) -> None:
    """List the deployment requests, oldest first."""
    rows: list[dict[str, object]] = [
        {
            "id": one.id[:12],
            "model": one.model,
            "version": one.model_version,
            "environment": one.environment,
            "status": one.status,
            "checklist": f"{sum(item['status'] == 'passed' for item in one.checklist)} of {len(one.checklist)}",
            "created_by": one.created_by,
            "created_at": one.created_at,
        }
        for one in services_of().deployments.list(model=model)
    ]
    show_rows("Deployments (UTC)", rows, as_json=as_json)


@drift.command("list")
def list_drift(
    subject: Annotated[str | None, typer.Option(help="Only events of this drift dataset.")] = None,
    as_json: AsJson = False,
) -> None:
    """List drift events, oldest first."""
    rows: list[dict[str, object]] = [
        {
            "detected_at": event.detected_at,
            "subject": event.subject,
            "metric_name": event.metric_name,
            "metric_value": event.metric_value,
            "threshold": event.threshold,
            "severity": event.severity,
            "status": event.status,
            "message": event.message,
        }
        for event in services_of().drift_events.list(subject=subject)
    ]
    show_rows("Drift events (UTC)", rows, as_json=as_json, only_json=("message",))


@report.command("show")
def show_report(
    name: Annotated[str, typer.Argument(help="The scenario's name, like covid_crash.")], as_json: AsJson = False
) -> None:
    """Show the newest sealed report of a scenario: its identity and its numbers."""
    services = services_of()
    if name not in services.catalogue.scenarios:
        raise UnknownReference(
            kind="scenario", name=name, known=services.catalogue.scenarios, asked_by="mlops report show"
        )
    found = services.reports.latest(name)
    record = {
        "name": found.name,
        "sha256": found.sha256,
        "html_file": str(services.blobs.path(found.html_sha256)),
        "html_url": f"http://{services.settings.host}:{services.settings.api_port}/reports/{found.sha256}",
        "created_at": found.created_at,
        "created_by": found.created_by,
    }
    kpis = [
        {"key": one.key, "value": one.value, "unit": one.unit} for one in services.reports.kpis(found.sha256).values()
    ]
    if as_json:
        show_record("", {**record, "inputs": found.inputs, "kpis": kpis}, as_json=True)
        return
    show_record(f"Report {name}", record, as_json=False)
    show_rows("Numbers", kpis, as_json=False)


def kpis(as_json: AsJson = False) -> None:
    """Compute the KPIs of the desk's MLOps now."""
    from mlops_assets.kpis.facts import gather_facts
    from mlops_assets.kpis.measures import measure

    rows: list[dict[str, object]] = [
        {
            "name": kpi.name,
            "value": kpi.value,
            "unit": kpi.unit,
            "target": kpi.target,
            "is_met": kpi.is_met,
            "owner": kpi.owner,
            "definition": kpi.definition,
        }
        for kpi in measure(gather_facts(services_of().database))
    ]
    show_rows("KPIs", rows, as_json=as_json, only_json=("definition",))
