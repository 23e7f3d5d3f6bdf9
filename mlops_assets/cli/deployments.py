"""`mlops deployments`: who serves and who served, asking to deploy a version, promoting it, and taking it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlops_assets.cli.installation import services_of
from mlops_assets.cli.predict import instant
from mlops_assets.cli.render import AsJson, print_json, show_record, show_rows
from mlops_assets.kernel.errors import NotFound, UnknownReference

if TYPE_CHECKING:
    from mlops_assets.lifecycle.deployment.deployments import Moved
    from mlops_assets.lifecycle.deployment.record import Deployment
    from mlops_assets.lifecycle.deployment.serving_moves import Move, Serving, Slot
    from mlops_assets.services import ServiceFactory

commands = typer.Typer(help="Which version serves, and how it came to.", no_args_is_help=True)

DeploymentId = Annotated[str, typer.Argument(help="The deployment's id, or its first characters.")]
ModelName = Annotated[str, typer.Argument(help="The model's name, like signal_classifier.")]
Environment = Annotated[
    str | None, typer.Option(help="development, staging or production. Default: where the model is declared.")
]
Epoch = Annotated[
    int | None, typer.Option(min=0, help="The move you have seen last (`serving` shows it); refused if another came.")
]
Reason = Annotated[str, typer.Option("--reason", help="Why, in at most 2000 characters; it goes into the ledger.")]


@commands.command("list")
def list_(
    model: Annotated[str | None, typer.Option(help="Only deployments of this model.")] = None,
    environment: Annotated[str | None, typer.Option(help="Only those to this environment.")] = None,
    state: Annotated[str | None, typer.Option(help="Only those in this state, like in_review or champion.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the deployments, oldest first."""
    from mlops_assets.lifecycle.deployment.states import State

    if state is not None and state not in set(State):
        raise UnknownReference(
            kind="state", name=state, known=State, asked_by="mlops deployments list", field="--state"
        )
    services = services_of()
    _require_known(services, model, environment)
    found = services.deployments.list(
        model=model, environment=environment, state=None if state is None else State(state)
    )
    show_rows("Deployments (UTC)", [_row(one) for one in found], as_json=as_json)


@commands.command()
def show(deployment_id: DeploymentId, as_json: AsJson = False) -> None:
    """Show one deployment: its checklist, what is missing, its plan, its approval and its moves."""
    services = services_of()
    one = services.deployments.find(deployment_id)
    evidence = one.evidence_fingerprint or ""
    bound = services.approvals.of_evidence([evidence]).get(evidence)
    record: dict[str, object] = {
        **_row(one),
        "id": one.id,
        "missing": list(one.open_items) or "nothing",
        "evidence_fingerprint": one.evidence_fingerprint,
        "approval": None if bound is None else f"{bound.id[:12]} ({bound.state})",
        "rollout": one.plan.get("rollout"),
        "limits": one.plan.get("limits"),
    }
    lists: dict[str, list[dict[str, object]]] = {
        "checklist": [
            {
                "item": item["name"],
                "status": item["status"],
                "shown_by": item.get("shown_by", "machine"),
                "note": item["note"],
                "rule": item["rule"],
                "evidence": item["evidence"],
            }
            for item in one.checklist
        ],
        "moves": [_move_row(move) for move in services.serving.of([one.id]).get(one.id, ())],
    }
    if as_json:
        show_record("", {**record, **lists}, as_json=True)
        return
    show_record(f"Deployment of {one.subject}", record, as_json=False)
    for name, rows in lists.items():
        show_rows(f"{name.capitalize()} (UTC)", rows, as_json=False, only_json=("evidence",))


@commands.command()
def serving(
    model: Annotated[str | None, typer.Argument(help="The model's name; without it, every model.")] = None,
    at: Annotated[
        str | None,
        typer.Option(help="Who served then, like 2026-01-05T14:30Z; a date counts to its end in UTC. Default: now."),
    ] = None,
    environment: Annotated[str | None, typer.Option(help="Only this environment.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show which version serves now, or which one served at an instant."""
    services = services_of()
    _require_known(services, model, environment)
    heads = [
        one for one in services.serving.heads() if model in (None, one.model) and environment in (None, one.environment)
    ]
    if at is not None:
        heads = [services.serving.at(one.model, one.environment, instant(at, option="--at")) for one in heads]
    title = "Serving now" if at is None else f"Serving at {at}"
    show_rows(title, [_serving_row(one) for one in heads], as_json=as_json, empty="nobody serves")


@commands.command()
def history(model: ModelName, environment: Environment = None, as_json: AsJson = False) -> None:
    """Show every move of a model in an environment, oldest first."""
    services = services_of()
    place = _environment(services, model, environment)
    rows = [_move_row(move) for move in services.serving.history(model, place)]
    show_rows(f"Who served {model} in {place} (UTC)", rows, as_json=as_json)


@commands.command()
def request(
    model: ModelName,
    version: Annotated[int | None, typer.Option(min=1, help="The version. Default: the latest.")] = None,
    environment: Environment = None,
    as_json: AsJson = False,
) -> None:
    """Ask to deploy a version: its checklist is gathered now, and has to be complete; then people are asked.

    An older version is asked for again with --version. Other requests for that environment that do not run yet end.
    """
    services = services_of()
    by = services.acting("deployment.request")
    asked = services.evidence.gather(model, version, environment)
    requested = services.deployments.request(asked, by=by, must_be_complete=True)
    approval = requested.approval
    record = {
        **_row(requested.deployment),
        "approval": None if approval is None else approval.id[:12],
        "approval_state": None if approval is None else approval.state,
        "people_needed": None if approval is None else approval.quorum,
        "required_role": None if approval is None else approval.required_role,
    }
    show_record(f"Deployment of {requested.deployment.subject}", record, as_json=as_json)


@commands.command()
def attest(
    version: Annotated[str, typer.Argument(help="The version, like signal_classifier@3.")],
    item: Annotated[str, typer.Argument(help="independent_validation, limits_reviewed or fallback_named.")],
    statement: Annotated[str, typer.Option("--statement", help="What you attest, in your words; it is kept.")],
    as_json: AsJson = False,
) -> None:
    """Attest what no machine can show of a version that you had no hand in."""
    model, _, number = version.partition("@")
    if not number.isdecimal():
        raise NotFound(kind="model version", name=version, remedy="Write it like signal_classifier@3.")
    services = services_of()
    by = services.acting("model.attest")
    made = services.evidence.attest(model, int(number), item, by=by, statement=statement)
    record = {
        "version": version,
        "item": made.item,
        "principal": made.principal,
        "statement": made.statement,
        "at": made.at,
        "ledger_seq": made.ledger_seq,
    }
    show_record(f"Attestation of {version}", record, as_json=as_json)


@commands.command()
def promote(
    deployment_id: DeploymentId,
    reason: Reason,
    to: Annotated[str, typer.Option(help="shadow, canary or champion.")],
    epoch: Epoch = None,
    as_json: AsJson = False,
) -> None:
    """Let an approved version run as shadow or canary beside the champion, or in its place.

    Its evidence is gathered again: if it is not what was approved, the deployment goes back to its beginning. The steps
    of its plan can't be skipped, nor left early, while there is a champion to compare with.
    """
    from mlops_assets.lifecycle.deployment.states import State

    steps = (State.SHADOW, State.CANARY, State.CHAMPION)
    if to not in steps:
        raise UnknownReference(kind="step", name=to, known=steps, asked_by="mlops deployments promote", field="--to")
    services = services_of()
    by = services.acting("deployment.promote")
    one = services.deployments.find(deployment_id)
    moved = services.deployments.promote(one.id, to=State(to), by=by, reason=reason, epoch=epoch)
    _show_moved(moved, as_json=as_json)


@commands.command()
def rollback(
    model: ModelName, reason: Reason, environment: Environment = None, epoch: Epoch = None, as_json: AsJson = False
) -> None:
    """Let the version that served before serve again, at once: one person, no approval.

    It holds from the next prediction on. A version that was itself rolled back or retired is passed over; a challenger
    goes on. A review is opened that somebody else decides within a day.
    """
    services = services_of()
    by = services.acting("deployment.rollback")
    place = _environment(services, model, environment)
    _show_moved(services.deployments.rollback(model, place, by=by, reason=reason, epoch=epoch), as_json=as_json)


@commands.command()
def stop(
    model: ModelName, reason: Reason, environment: Environment = None, epoch: Epoch = None, as_json: AsJson = False
) -> None:
    """End the shadow or canary that runs beside the champion, at once: one person, no approval.

    If it answered for a slice, a review is opened that somebody else decides within a day.
    """
    services = services_of()
    by = services.acting("deployment.rollback")
    place = _environment(services, model, environment)
    _show_moved(services.deployments.stop(model, place, by=by, reason=reason, epoch=epoch), as_json=as_json)


@commands.command()
def retire(
    model: ModelName, reason: Reason, environment: Environment = None, epoch: Epoch = None, as_json: AsJson = False
) -> None:
    """End the champion with nothing in its place, and the challenger beside it: from then on nobody answers."""
    services = services_of()
    by = services.acting("deployment.retire")
    place = _environment(services, model, environment)
    _show_moved(services.deployments.retire(model, place, by=by, reason=reason, epoch=epoch), as_json=as_json)


@commands.command()
def guard(as_json: AsJson = False) -> None:
    """Hold everything that runs against its limits now, as the sensor does each minute, and end what passes them.

    The exit code is 1 where a champion passes a limit and goes on serving, because nobody served before it.
    """
    from mlops_assets.lifecycle.operations.guarding import Outcome

    services = services_of()
    seen = services.guard.guard_once(by=services.acting("deployment.rollback"))
    rows = [
        {
            "model": one.model,
            "version": one.version,
            "environment": one.environment,
            "role": "champion" if one.is_champion else "challenger",
            "outcome": one.outcome,
            "limits": [str(finding) for finding in one.findings],
        }
        for one in seen
    ]
    show_rows("Held against their limits", rows, as_json=as_json, empty="nothing runs")
    if any(one.outcome is Outcome.KEEPS_SERVING for one in seen):
        raise typer.Exit(1)


@commands.command()
def drill(model: ModelName, as_json: AsJson = False) -> None:
    """Rehearse a rollback on a scratch copy and show how long it takes; nothing real moves.

    The exit code is 1 where the version of before did not answer in time.
    """
    services = services_of()
    found = services.drill.run(services.evidence.spec_of(model))
    record = {
        "from_version": f"copy of {found.earlier}" if found.is_one_version else found.later,
        "to_version": found.earlier,
        "answered_by_version": found.answered_by,
        "rollback_seconds": round(found.rollback_seconds, 4),
        "next_prediction_seconds": round(found.prediction_seconds, 4),
        "total_seconds": round(found.total_seconds, 4),
        "is_passed": found.is_passed,
        "symbol": found.symbol,
        "as_of": found.as_of,
    }
    show_record(f"Rehearsed rollback of {model}", record, as_json=as_json)
    if not found.is_passed:
        raise typer.Exit(1)


def _environment(services: ServiceFactory, model: str, environment: str | None) -> str:
    """Return the environment that is meant; one that does not exist, or a model that is not declared, is refused."""
    return services.evidence.plan_of(model, environment).environment


def _require_known(services: ServiceFactory, model: str | None, environment: str | None) -> None:
    """Refuse a name that nothing can be listed of, rather than to say that there is nothing."""
    from mlops_assets.lifecycle.deployment.evidence import known_environment

    if model is not None:
        services.evidence.spec_of(model)
    if environment is not None:
        known_environment(environment)


def _show_moved(moved: Moved, *, as_json: bool) -> None:
    record: dict[str, object] = {
        **_row(moved.deployment),
        "epoch": moved.serving.epoch,
        "serving": moved.serving.words,
        "review": None if moved.review is None else moved.review.id[:12],
        "review_due_at": None if moved.review is None else moved.review.due_at,
        "alias": moved.unprojected or "follows",
    }
    if as_json:
        print_json({**record, "serving": moved.serving.as_json()})
    else:
        show_record(f"Deployment of {moved.deployment.subject}", record, as_json=False)


def _row(one: Deployment) -> dict[str, object]:
    return {
        "id": one.id[:12],
        "model": one.model,
        "version": one.model_version,
        "environment": one.environment,
        "state": one.state,
        "status": one.status,
        "tier": one.tier,
        "checklist": f"{len(one.checklist) - len(one.open_items)} of {len(one.checklist)}",
        "created_by": one.created_by,
        "created_at": one.created_at,
        "updated_at": one.updated_at,
    }


def _serving_row(one: Serving) -> dict[str, object]:
    return {
        "model": one.model,
        "environment": one.environment,
        "epoch": one.epoch,
        "champion": _version(one.champion),
        "champion_deployment": None if one.champion is None else one.champion.deployment_id[:12],
        "challenger": _version(one.challenger),
        "challenger_deployment": None if one.challenger is None else one.challenger.deployment_id[:12],
        "mode": one.mode,
        "slice": one.slice,
    }


def _move_row(move: Move) -> dict[str, object]:
    return {
        "epoch": move.after.epoch,
        "at": move.at,
        "action": move.action,
        "deployment": move.deployment_id[:12],
        "champion": _version(move.after.champion),
        "challenger": _version(move.after.challenger),
        "actor": move.actor,
        "reason": move.reason,
        "ledger_seq": move.ledger_seq,
    }


def _version(slot: Slot | None) -> int | None:
    return None if slot is None else slot.version
