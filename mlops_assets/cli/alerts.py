"""`mlops alerts`: what was alerted, where it stands on each channel, and sending again what failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_assets.cli.installation import services_of
from mlops_assets.cli.render import AsJson, show_record, show_rows

if TYPE_CHECKING:
    from mlops_assets.alerts.delivery import Delivery
    from mlops_assets.alerts.service import KnownAlert

commands = typer.Typer(help="Alerts and where they stand on each channel.", no_args_is_help=True)

AlertId = Annotated[str, typer.Argument(help="The alert's id, or its first characters.")]
Limit = Annotated[int, typer.Option(min=1, max=1_000, help="How many at most.")]


@commands.command("list")
def list_(
    severity: Annotated[str | None, typer.Option(help="low, medium, high or critical.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only alerts about this.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List the newest alerts, newest first."""
    from mlops_assets.alerts.alert import Severity
    from mlops_assets.kernel.errors import UnknownReference

    known = list(Severity)
    if severity is not None and severity not in known:
        raise UnknownReference(
            kind="severity", name=severity, known=known, asked_by="mlops alerts list", field="--severity"
        )
    wanted = None if severity is None else Severity(severity)
    services = services_of()
    services.acting("platform.read")
    found = services.alerts.list(severity=wanted, subject=subject, limit=limit)
    show_rows("Alerts (UTC)", [_row(one) for one in found], as_json=as_json, only_json=("summary",))


@commands.command()
def show(alert_id: AlertId, as_json: AsJson = False) -> None:
    """Show one alert with its details and every delivery."""
    services = services_of()
    services.acting("platform.read")
    known = services.alerts.find(alert_id)
    record = {
        **_row(known),
        "id": known.id,
        "key": known.alert.key,
        "details": known.alert.details,
        "last_seen_at": known.last_seen_at,
        "ledger_seq": known.ledger_seq,
    }
    show_record(f"Alert about {known.alert.subject}", record, as_json=as_json)
    if not as_json:
        show_rows("Deliveries (UTC)", [_delivery(one) for one in known.deliveries], as_json=False)


@commands.command("test")
def send_test(as_json: AsJson = False) -> int:
    """Send a test alert through every channel now and say what happened. Exits with 1 unless each took it."""
    services = services_of()
    by = services.acting("alert.handle").name
    outcome = services.alerts.test(by=by)
    show_rows("Test alert", [_delivery(one) for one in outcome.deliveries], as_json=as_json)
    return 0 if outcome.is_delivered else 1


@commands.command()
def dead(as_json: AsJson = False) -> int:
    """List the dead letters: what a channel never took. Exits with 1 if there are any."""
    services = services_of()
    services.acting("platform.read")
    letters = services.alerts.dead()
    rows = [
        {"id": known.id[:12], "subject": known.alert.subject, **_delivery(one)}
        for known in letters
        for one in known.dead_letters
    ]
    show_rows("Dead letters (UTC)", rows, as_json=as_json, empty="every alert reached its channels, or still may")
    return 1 if rows else 0


@commands.command()
def retry(alert_id: AlertId, as_json: AsJson = False) -> None:
    """Make the dead letters of an alert due again; the sensor alert_delivery sends them."""
    services = services_of()
    by = services.acting("alert.handle").name
    revived: Sequence[Delivery] = services.alerts.retry(services.alerts.find(alert_id).id, by=by)
    show_rows("Due again", [_delivery(one) for one in revived], as_json=as_json)


def _row(known: KnownAlert) -> dict[str, object]:
    return {
        "id": known.id[:12],
        "severity": known.alert.severity.value,
        "kind": known.alert.kind,
        "subject": known.alert.subject,
        "summary": known.alert.summary,
        "occurrences": known.occurrences,
        "raised_at": known.raised_at,
        "channels": {one.channel: one.state.value for one in known.deliveries},
    }


def _delivery(one: Delivery) -> dict[str, object]:
    return {
        "channel": one.channel,
        "state": one.state.value,
        "attempts": one.attempts,
        "next_attempt_at": one.next_attempt_at if one.is_undecided else None,
        "delivered_at": one.delivered_at,
        "last_error": one.last_error,
    }
