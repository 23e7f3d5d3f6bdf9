"""`mlops principals|tokens|whoami|access`: who there is, their tokens, and who may do what."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_assets.cli.installation import services_of
from mlops_assets.cli.render import AsJson, print_json, show_record, show_rows

if TYPE_CHECKING:
    from datetime import datetime

    from mlops_assets.identity.principals import PrincipalRecord
    from mlops_assets.identity.tokens import ApiToken
    from mlops_assets.services import ServiceFactory

principals = typer.Typer(help="People and services, and their roles.", no_args_is_help=True)
tokens = typer.Typer(help="API tokens: issued once, kept as hashes, ended at once.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The principal's name.")]
Roles = Annotated[list[str], typer.Argument(help="Roles, like quant compliance.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it goes into the ledger.")]

_MANAGE = "principal.manage"


@principals.command("list")
def list_principals(as_json: AsJson = False) -> None:
    """List everybody, also who is deactivated."""
    rows = [_principal_row(one) for one in services_of().directory.list()]
    show_rows("Principals (UTC)", rows, as_json=as_json, only_json=("display_name", "email", "oidc_subject"))


@principals.command("add")
def add_principal(
    name: Name,
    role: Annotated[list[str], typer.Option("--role", help="A role; repeat it for more.")],
    kind: Annotated[str, typer.Option(help="person or service.")] = "person",
    display_name: Annotated[str, typer.Option(help="How people call them.")] = "",
    email: Annotated[str, typer.Option(help="Where alerts about them go.")] = "",
    oidc_subject: Annotated[str | None, typer.Option(help="Whom the OpenID Connect issuer means.")] = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Add a person or a service."""
    from mlops_assets.identity.principals import Declared, Kind, roles_of
    from mlops_assets.kernel.errors import UnknownReference

    asked_by = "mlops principals add"
    if kind not in set(Kind):
        raise UnknownReference(kind="kind", name=kind, known=Kind, asked_by=asked_by, field="--kind")
    services = services_of()
    by = services.acting(_MANAGE)
    declared = Declared(
        name=name,
        kind=Kind(kind),
        roles=roles_of(role, asked_by=asked_by),
        display_name=display_name,
        email=email,
        oidc_subject=oidc_subject,
    )
    _show_principal(services.directory.add(declared, by=by, reason=reason), as_json=as_json)


@principals.command("grant")
def grant_roles(name: Name, roles: Roles, reason: Reason = "", as_json: AsJson = False) -> None:
    """Give somebody roles."""
    from mlops_assets.identity.principals import roles_of

    services = services_of()
    by, asked = services.acting(_MANAGE), roles_of(roles, asked_by="mlops principals grant")
    _show_principal(services.directory.grant(name, asked, by=by, reason=reason), as_json=as_json)


@principals.command("take")
def take_roles(name: Name, roles: Roles, reason: Reason = "", as_json: AsJson = False) -> None:
    """Take roles from somebody."""
    from mlops_assets.identity.principals import roles_of

    services = services_of()
    by, asked = services.acting(_MANAGE), roles_of(roles, asked_by="mlops principals take")
    _show_principal(services.directory.take(name, asked, by=by, reason=reason), as_json=as_json)


@principals.command("deactivate")
def deactivate_principal(name: Name, reason: Reason = "", as_json: AsJson = False) -> None:
    """Let somebody act no more; their tokens are revoked at once."""
    services = services_of()
    by = services.acting(_MANAGE)
    _show_principal(services.directory.deactivate(name, by=by, reason=reason), as_json=as_json)


@principals.command("reactivate")
def reactivate_principal(name: Name, reason: Reason = "", as_json: AsJson = False) -> None:
    """Let somebody act again, with the roles they had; their tokens stay revoked."""
    services = services_of()
    by = services.acting(_MANAGE)
    _show_principal(services.directory.reactivate(name, by=by, reason=reason), as_json=as_json)


@principals.command("apply")
def apply_file(
    file: Annotated[Path | None, typer.Argument(help="A principals file; that of MLOPS_PRINCIPALS_FILE else.")] = None,
    as_json: AsJson = False,
) -> None:
    """Bring the directory to a principals file; who was in it and is gone is deactivated."""
    services = services_of()
    chosen = file or services.settings.principals_file
    if chosen is None:
        raise typer.BadParameter("Name a principals file, or set MLOPS_PRINCIPALS_FILE.")
    steps = services.directory.apply(chosen, by=services.acting(_MANAGE))
    rows: list[dict[str, object]] = [
        {"principal": step.after.name, "action": step.action, "details": dict(step.details)} for step in steps
    ]
    show_rows(f"Applied {chosen}", rows, as_json=as_json, empty="the directory is as the file says")


@tokens.command("issue")
def issue_token(
    name: Name,
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="What it is for, like approval.*; all you may, if left out.")
    ] = None,
    days: Annotated[int, typer.Option(help="How many days it lives, 366 at most.")] = 90,
    label: Annotated[str, typer.Option(help="What it is for, in words.")] = "",
    as_json: AsJson = False,
) -> None:
    """Issue a token for yourself, or as an admin for anybody. It is shown now and never again."""
    services = services_of()
    issued = services.tokens.issue(name, by=services.operator, scopes=scope, days=days, label=label)
    record = _token_row(issued.token, services.clock.now())
    if as_json:
        print_json({**record, "token": issued.bearer})
        return
    show_record(f"Token of {name} (UTC)", record, as_json=False)
    typer.echo(f"\n{issued.bearer}\n\nKeep it now: it is not stored and can't be shown again.")


@tokens.command("list")
def list_tokens(
    name: Annotated[str | None, typer.Argument(help="Only those of this principal.")] = None, as_json: AsJson = False
) -> None:
    """List tokens and how they stand; the secrets are nowhere."""
    services = services_of()
    if name is not None:
        services.directory.get(name)
    rows = [_token_row(one, services.clock.now()) for one in services.tokens.list(name)]
    show_rows("Tokens (UTC)", rows, as_json=as_json)


@tokens.command("revoke")
def revoke_token(
    token_id: Annotated[str, typer.Argument(help="The token's id.")], reason: Reason = "", as_json: AsJson = False
) -> None:
    """End a token at once, and the sign-ins made with it: one of yours, or as an admin anybody's."""
    services = services_of()
    ended = services.tokens.revoke(token_id, by=services.operator, reason=reason)
    show_record("Revoked (UTC)", _token_row(ended, services.clock.now()), as_json=as_json)


def whoami(
    can: Annotated[bool, typer.Option("--can", help="Also list what you may do.")] = False, as_json: AsJson = False
) -> None:
    """Say who acts on this command line: the token of MLOPS_TOKEN, else that of the home's file api_token."""
    services = services_of()
    principal = services.operator
    record: dict[str, object] = {
        "name": principal.name,
        "roles": sorted(principal.roles),
        "scopes": sorted(principal.scopes),
        "credential": principal.credential,
        "expires_at": _expiry(services, principal.credential),
    }
    if can:
        record["may"] = list(services.access.allowed_to(principal))
    show_record("You are (UTC)", record, as_json=as_json)


def access(as_json: AsJson = False) -> None:
    """Show who may do what: the roles of each action."""
    from mlops_assets.services import ServiceFactory
    from mlops_assets.settings import load_settings

    rows: list[dict[str, object]] = [
        {"action": action, "roles": sorted(rule.roles), "description": rule.description}
        for action, rule in ServiceFactory(load_settings()).access.actions.items()
    ]
    show_rows("Who may do what", rows, as_json=as_json)


def _expiry(services: ServiceFactory, credential: str) -> datetime | None:
    kind, _, token_id = credential.partition(":")
    return services.tokens.get(token_id).expires_at if kind == "token" else None


def _show_principal(record: PrincipalRecord, *, as_json: bool) -> None:
    show_record(record.name, _principal_row(record), as_json=as_json)


def _principal_row(one: PrincipalRecord) -> dict[str, object]:
    return {
        "name": one.name,
        "kind": one.kind.value,
        "roles": sorted(one.roles),
        "is_active": one.is_active,
        "managed_by": one.managed_by.value,
        "updated_at": one.updated_at,
        "display_name": one.display_name,
        "email": one.email,
        "oidc_subject": one.oidc_subject,
    }


def _token_row(token: ApiToken, at: datetime) -> dict[str, object]:
    return {
        "id": token.id,
        "principal": token.principal,
        "scopes": sorted(token.scopes),
        "label": token.label,
        "state": "live" if token.is_live(at) else "revoked" if token.revoked_at else "expired",
        "issued_by": token.issued_by,
        "issued_at": token.issued_at,
        "expires_at": token.expires_at,
    }


GROUPS: Mapping[str, typer.Typer] = {"principals": principals, "tokens": tokens}
