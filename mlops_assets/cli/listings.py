"""`mlops drift|report|kpis`: what the stores and the catalogue hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_assets.cli.installation import services_of
from mlops_assets.cli.render import AsJson, show_record, show_rows
from mlops_assets.kernel.errors import NotFound, UnknownReference

if TYPE_CHECKING:
    from mlops_assets.lifecycle.drift_events import DriftEvent, DriftEvents

drift = typer.Typer(help="Drift events: what is beyond its limit, and who dealt with it.", no_args_is_help=True)
report = typer.Typer(help="Sealed reports.", no_args_is_help=True)

EventId = Annotated[str, typer.Argument(help="The event's id, or its first characters.")]
Note = Annotated[str, typer.Option("--note", help="Why; it goes into the ledger.")]

GROUPS: Mapping[str, typer.Typer] = {
    "drift": drift,
    "report": report,
}


@drift.command("list")
def list_drift(
    subject: Annotated[str | None, typer.Option(help="Only events of this drift dataset.")] = None,
    as_json: AsJson = False,
) -> None:
    """List drift events, oldest first."""
    rows = [_event_row(event, as_json=as_json) for event in services_of().drift_events.list(subject=subject)]
    show_rows("Drift events (UTC)", rows, as_json=as_json, only_json=("message",))


@drift.command("acknowledge")
def acknowledge_drift(event_id: EventId, note: Note, as_json: AsJson = False) -> None:
    """Say that you look after an open event."""
    services = services_of()
    by = services.acting("drift.handle")
    event = _find_event(services.drift_events, event_id)
    after = services.drift_events.acknowledge(event.id, actor=by.name, note=note)
    show_record(f"Drift event {after.metric_name}", _event_row(after, as_json=as_json), as_json=as_json)


@drift.command("resolve")
def resolve_drift(event_id: EventId, note: Note, as_json: AsJson = False) -> None:
    """Close an event; drift in a later snapshot opens another."""
    services = services_of()
    by = services.acting("drift.handle")
    event = _find_event(services.drift_events, event_id)
    after = services.drift_events.resolve(event.id, actor=by.name, note=note)
    show_record(f"Drift event {after.metric_name}", _event_row(after, as_json=as_json), as_json=as_json)


def _find_event(events: DriftEvents, event_id: str) -> DriftEvent:
    """Return the one event whose id begins so."""
    found = [event for event in events.list() if event.id.startswith(event_id)]
    if len(found) == 1:
        return found[0]
    remedy = "Give more characters of it." if found else "`mlops drift list` shows the ids."
    raise NotFound(kind="drift event", name=event_id, remedy=remedy)


def _event_row(event: DriftEvent, *, as_json: bool) -> dict[str, object]:
    """Return what is shown of an event; for people, what was not measured is said in words."""
    is_blank = event.metric_value is None and not as_json
    return {
        "id": event.id[:12],
        "detected_at": event.detected_at,
        "subject": event.subject,
        "metric_name": event.metric_name,
        "metric_value": "not measured" if is_blank else event.metric_value,
        "threshold": "-" if is_blank else event.threshold,
        "severity": event.severity,
        "status": event.status,
        "message": event.message,
    }


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
