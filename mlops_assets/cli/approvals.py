"""`mlops approvals`: what waits for a decision, and deciding it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlops_assets.cli.installation import services_of
from mlops_assets.cli.render import AsJson, show_record, show_rows
from mlops_assets.kernel.errors import NotFound

if TYPE_CHECKING:
    from mlops_assets.governance.approvals import Approval
    from mlops_assets.governance.store import ApprovalStore

commands = typer.Typer(help="Requests for approval of models, reports and prompts.", no_args_is_help=True)

RequestId = Annotated[str, typer.Argument(help="The request's id, or its first characters.")]
Note = Annotated[str, typer.Option("--note", help="Why; it goes into the ledger.")]


@commands.command("list")
def list_(
    state: Annotated[str | None, typer.Option(help="in_review, approved or rejected.")] = None, as_json: AsJson = False
) -> None:
    """List the requests, oldest first."""
    from mlops_assets.governance.approvals import State
    from mlops_assets.kernel.errors import UnknownReference

    if state is not None and state not in set(State):
        raise UnknownReference(kind="state", name=state, known=State, asked_by="mlops approvals list", field="--state")
    requests = services_of().approvals.list(state=None if state is None else State(state))
    show_rows("Approvals (UTC)", [_row(request) for request in requests], as_json=as_json, empty="nothing to decide")


@commands.command()
def show(request_id: RequestId, as_json: AsJson = False) -> None:
    """Show one request with its evidence and the decisions so far."""
    request = _find(services_of().approvals, request_id)
    record = {**_row(request), "id": request.id, "evidence": request.evidence, "decisions": request.decisions}
    show_record(f"Approval of {request.subject}", record, as_json=as_json)


@commands.command()
def approve(request_id: RequestId, note: Note = "", as_json: AsJson = False) -> None:
    """Approve a request as the principal of MLOPS_PRINCIPAL_NAME and MLOPS_PRINCIPAL_ROLES."""
    _decide(request_id, "approve", note, as_json=as_json)


@commands.command()
def reject(request_id: RequestId, note: Note = "", as_json: AsJson = False) -> None:
    """Reject a request; one rejection closes it."""
    _decide(request_id, "reject", note, as_json=as_json)


def _decide(request_id: str, verdict: str, note: str, *, as_json: bool) -> None:
    from mlops_assets.governance.approvals import Verdict

    services = services_of()
    request = _find(services.approvals, request_id)
    decided = services.approvals.decide(request.id, approver=services.operator, verdict=Verdict(verdict), note=note)
    show_record(f"Approval of {decided.subject}", _row(decided), as_json=as_json)


def _find(approvals: ApprovalStore, request_id: str) -> Approval:
    """Return the one request whose id begins so."""
    found = [request for request in approvals.list() if request.id.startswith(request_id)]
    if len(found) == 1:
        return found[0]
    remedy = "Give more characters of it." if found else "`mlops approvals list` shows the ids."
    raise NotFound(kind="approval", name=request_id, remedy=remedy)


def _row(request: Approval) -> dict[str, object]:
    return {
        "id": request.id[:12],
        "subject": request.subject,
        "state": request.state,
        "decisions": f"{len(request.decisions)} of {request.quorum}",
        "author": request.author,
        "submitted_at": request.submitted_at,
        "expires_at": request.expires_at,
    }
