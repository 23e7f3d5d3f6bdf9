"""`mlops approvals`: what waits for a decision, what it is bound to, and deciding it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_assets.cli.installation import services_of
from mlops_assets.cli.render import AsJson, show_record, show_rows
from mlops_assets.kernel.errors import UnknownReference

if TYPE_CHECKING:
    from mlops_assets.governance.reading import Waiting
    from mlops_assets.governance.spec import Approval, Verdict
    from mlops_assets.services import ServiceFactory

commands = typer.Typer(help="Requests for approval of models, reports and prompts.", no_args_is_help=True)

RequestId = Annotated[str, typer.Argument(help="The request's id, or its first characters.")]
Note = Annotated[str, typer.Option("--note", help="Why, in at most 2000 characters; it goes into the ledger.")]
Why = Annotated[str, typer.Option("--note", help="Why not, in at most 2000 characters; it goes into the ledger.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, in at most 2000 characters; it goes into the ledger.")]


@commands.command()
def queue(as_json: AsJson = False) -> None:
    """Show what waits for a decision: what is overdue first, then what is due first."""
    services = services_of()
    services.acting("platform.read")
    rows = [_waiting_row(one) for one in services.approvals.queue()]
    show_rows("Approvals that wait (UTC)", rows, as_json=as_json, empty="nothing to decide")


@commands.command("list")
def list_(
    state: Annotated[
        str | None,
        typer.Option(help="draft, submitted, in_review, approved, rejected, expired or revoked."),
    ] = None,
    with_closed: Annotated[
        bool, typer.Option("--all", help="With what is rejected, expired or revoked.", show_default=False)
    ] = False,
    subject: Annotated[str | None, typer.Option(help="Only requests for this, such as reports/covid_crash.")] = None,
    after: Annotated[str | None, typer.Option(help="Only requests behind the one with this id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many at most.")] = 200,
    as_json: AsJson = False,
) -> None:
    """List requests, oldest first: drafts, what waits and what is approved; what is closed only if asked for.

    Every night's report voids the draft of the night before, so that most of all requests are closed drafts.
    """
    from mlops_assets.governance.transitions import State

    if state is not None and state not in set(State):
        raise UnknownReference(kind="state", name=state, known=State, asked_by="mlops approvals list", field="--state")
    services = services_of()
    services.acting("platform.read")
    found = services.approvals.list(
        state=None if state is None else State(state),
        is_live=None if with_closed or state is not None else True,
        subject=subject,
        after=None if after is None else services.approvals.find(after).id,
        limit=limit,
    )
    show_rows("Approvals (UTC)", [_row(request) for request in found], as_json=as_json, empty="none")


@commands.command()
def show(request_id: RequestId, as_json: AsJson = False) -> None:
    """Show one request: what it is bound to, who made it, what was decided, what moved, and its history."""
    services = services_of()
    services.acting("platform.read")
    request = services.approvals.find(request_id)
    record: dict[str, object] = {
        **_row(request),
        "id": request.id,
        "round": request.round,
        "evidence_fingerprint": request.evidence_fingerprint,
        "evidence_is_intact": request.is_intact,
        "parties": [f"{one.principal} ({one.duty})" for one in request.parties],
        "closed_reason": request.closed_reason,
        "moved": list(request.moved),
        "decided_at": request.decided_at,
    }
    lists: dict[str, list[dict[str, object]]] = {
        "evidence": [
            {"part": one.name, "kind": one.kind, "fingerprint": one.fingerprint, "note": one.note}
            for one in request.evidence.parts
        ],
        "decisions": [
            {
                "approver": one.approver,
                "verdict": one.verdict,
                "capacity": one.capacity,
                "at": one.at,
                "note": one.note,
                **_credential(services, request, one.credential),
            }
            for one in request.decisions
        ],
        "overrides": [
            {
                "principal": one.principal,
                "at": one.at,
                "reason": one.reason,
                **_credential(services, request, one.credential),
            }
            for one in request.overrides
        ],
        "history": _history(services, request),
    }
    title = f"Approval of {request.subject}"
    if as_json:
        show_record(title, {**record, **lists}, as_json=True)
        return
    show_record(title, record, as_json=False)
    for name, rows in lists.items():
        show_rows(name.capitalize(), rows, as_json=False)


@commands.command()
def submit(request_id: RequestId, as_json: AsJson = False) -> None:
    """Submit a draft: from now on it waits for verdicts, and who submitted it gives none."""
    services = services_of()
    request = services.approvals.find(request_id)
    _show(services.approvals.submit(request.id, by=services.operator), as_json=as_json)


@commands.command()
def review(request_id: RequestId, as_json: AsJson = False) -> None:
    """Say that you are looking at a request; a first verdict says so as well."""
    services = services_of()
    request = services.approvals.find(request_id)
    _show(services.approvals.start_review(request.id, by=services.operator), as_json=as_json)


@commands.command()
def approve(request_id: RequestId, note: Note = "", as_json: AsJson = False) -> None:
    """Approve a request that you did not author, launch or submit."""
    from mlops_assets.governance.spec import Verdict

    _decide(request_id, Verdict.APPROVE, note, as_json=as_json)


@commands.command()
def reject(request_id: RequestId, note: Why, as_json: AsJson = False) -> None:
    """Reject a request; one rejection closes it."""
    from mlops_assets.governance.spec import Verdict

    _decide(request_id, Verdict.REJECT, note, as_json=as_json)


@commands.command()
def revoke(request_id: RequestId, reason: Reason, as_json: AsJson = False) -> None:
    """Withdraw a request, or take an approval back."""
    services = services_of()
    request = services.approvals.find(request_id)
    _show(services.approvals.revoke(request.id, by=services.operator, reason=reason), as_json=as_json)


@commands.command()
def override(request_id: RequestId, reason: Reason, as_json: AsJson = False) -> None:
    """Take part in an emergency override: two people, for a short time, counted as a violation."""
    services = services_of()
    request = services.approvals.find(request_id)
    _show(services.approvals.override(request.id, by=services.operator, reason=reason), as_json=as_json)


def _decide(request_id: str, verdict: Verdict, note: str, *, as_json: bool) -> None:
    services = services_of()
    request = services.approvals.find(request_id)
    decided = services.approvals.decide(request.id, by=services.operator, verdict=verdict, note=note)
    _show(decided, as_json=as_json)


def _show(request: Approval, *, as_json: bool) -> None:
    show_record(f"Approval of {request.subject}", _row(request), as_json=as_json)


def _row(request: Approval) -> dict[str, object]:
    from mlops_assets.governance.spec import Verdict

    yeas = sum(one.verdict is Verdict.APPROVE for one in request.decisions)
    return {
        "id": request.id[:12],
        "subject": request.subject,
        "state": request.state,
        "override": request.is_override,
        "tier": request.tier,
        "approvals": f"{yeas} of {request.quorum}",
        "required_role": request.required_role,
        "submitted_by": request.submitted_by,
        "submitted_at": request.submitted_at,
        "due_at": request.due_at,
        "expires_at": request.expires_at,
    }


def _waiting_row(waiting: Waiting) -> dict[str, object]:
    request = waiting.approval
    return {
        "id": request.id[:12],
        "subject": request.subject,
        "tier": request.tier,
        "state": request.state,
        "age": _span(waiting.age),
        "due_at": waiting.due_at,
        "overdue": waiting.is_overdue,
        "needed": waiting.needed,
        "submitted_by": request.submitted_by,
    }


def _credential(services: ServiceFactory, request: Approval, credential: str) -> dict[str, object]:
    """Say how somebody proved who they are, and who issued that: a party who did could have decided in their name."""
    issuers = [
        f"{name} ({', '.join(duties)})" if (duties := request.duties_of(name)) else name
        for name in services.tokens.issuers_of(credential)
    ]
    return {"credential": credential, "issued_by": issuers}


def _history(services: ServiceFactory, request: Approval) -> list[dict[str, object]]:
    """Return what the ledger says of a request, oldest first."""
    return [
        {"seq": one.seq, "at": one.at, "actor": one.actor, "action": one.action, "reason": one.reason}
        for one in services.ledger.entries(subject=request.subject)
        if one.details.get("approval") == request.id
    ]


def _span(age: timedelta) -> str:
    hours, rest = divmod(int(age.total_seconds()), 3_600)
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {rest // 60} min"
