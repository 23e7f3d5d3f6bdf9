"""`mlops mirrors`: how far the copies of the lifecycle's metadata are, and bringing them up to date now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlops_assets.cli.installation import services_of
from mlops_assets.cli.render import AsJson, show_rows

if TYPE_CHECKING:
    from datetime import datetime

    from mlops_assets.storage.mirror.outbox import Standing

commands = typer.Typer(help="Copies of the lifecycle's metadata in MongoDB and W&B.", no_args_is_help=True)

Target = Annotated[str, typer.Option("--target", help="Which mirror, as `mlops mirrors status` names it.")]
_ALL_OFF = "none is on; set MLOPS_MONGODB_URL or MLOPS_WANDB_MODE"


@commands.command()
def status(as_json: AsJson = False) -> int:
    """Show how far each mirror is. Exits with 1 if one lags."""
    services = services_of()
    services.acting("platform.read")
    standings, now = services.mirrors.standings(), services.clock.now()
    show_rows("Mirrors (UTC)", [_row(one, now) for one in standings], as_json=as_json, empty=_ALL_OFF)
    return 1 if any(one.undelivered for one in standings) else 0


@commands.command()
def deliver(
    target: Annotated[str | None, typer.Option("--target", help="Only this mirror.")] = None, as_json: AsJson = False
) -> int:
    """Deliver everything now, also what waits after a failure. Exits with 1 unless each mirror took all of it."""
    services = services_of()
    services.acting("mirror.deliver")
    chosen = services.mirrors.chosen(target, asked_by="mlops mirrors deliver")
    turns = [services.mirrors.deliver_now(one) for one in chosen]
    rows = [
        {"target": one.target, "delivered": one.delivered, "refused": one.refused, "problem": one.problem}
        for one in turns
    ]
    show_rows("Delivered", rows, as_json=as_json, empty=_ALL_OFF)
    return 1 if any(one.refused or one.problem for one in turns) else 0


@commands.command()
def resend(target: Target, as_json: AsJson = False) -> None:
    """Make everything due again for one mirror, also what was there before mirrors were.

    The sensor mirror_delivery sends it, or `mlops mirrors deliver` at once. For a mirror that lost its data, that
    somebody edited, or that is new to an old installation.
    """
    services = services_of()
    by = services.acting("mirror.deliver")
    (chosen,) = services.mirrors.chosen(target, asked_by="mlops mirrors resend")
    documents = services.mirror_resend.resend(chosen, by=by)
    show_rows("Due again", [{"target": chosen.name, "documents": documents}], as_json=as_json)


def _row(one: Standing, now: datetime) -> dict[str, object]:
    return {
        "target": one.target,
        "documents": one.documents,
        "undelivered": one.undelivered,
        "oldest_undelivered_seconds": None if one.oldest_at is None else round((now - one.oldest_at).total_seconds()),
        "delivered_at": one.delivered_at,
        "last_error": one.last_error,
    }
