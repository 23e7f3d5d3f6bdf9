"""Who there is, who is calling, and tokens: over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mlops_assets.identity.access import AccessPolicy
from mlops_assets.identity.attempts import Attempts
from mlops_assets.identity.directory import Directory
from mlops_assets.identity.principals import Declared, Kind, ManagedBy, PrincipalRecord
from mlops_assets.identity.sign_in import Unauthenticated
from mlops_assets.identity.token_store import TokenStore
from mlops_assets.identity.tokens import DEFAULT_DAYS, LONGEST_DAYS, ApiToken
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.cursor import Listing
from mlops_assets.kernel.errors import Forbidden
from mlops_assets.kernel.identity import Gate, Principal, Role

SHOWS_SECRET = "x-shows-secret-once"  # noqa: S105 - a mark of a route, no secret
"""What a route says of itself whose answer holds a secret: it is kept nowhere, not under an idempotency key either."""

_REFUSED = (
    "The sign-in failed. Send your name as `username` and a live API token of yours, not one from an earlier sign-in, "
    "as `password`. `mlops tokens list` shows which live."
)
_PRINCIPALS = Listing(name="principals", position=(str,))
_AT = "2024-05-02T21:31:00Z"
_PRINCIPAL: dict[str, Any] = {
    "name": "quincy",
    "kind": "person",
    "display_name": "Quincy Adams",
    "email": "quincy@desk.example",
    "oidc_subject": None,
    "roles": ["quant"],
    "is_active": True,
    "managed_by": "hand",
    "created_at": _AT,
    "updated_at": _AT,
}
_TOKEN: dict[str, Any] = {
    "id": "3f9a1c0d5e7b2a84",
    "principal": "quincy",
    "scopes": ["platform.read"],
    "label": "notebook",
    "issued_at": _AT,
    "issued_by": "quincy",
    "expires_at": "2024-07-31T21:31:00Z",
    "revoked_at": None,
}
_CALLER: dict[str, Any] = {
    "name": "quincy",
    "roles": ["quant"],
    "scopes": ["*"],
    "credential": "token:3f9a1c0d5e7b2a84",
    "actions": ["platform.read", "run.launch"],
}
_BEARER = "mlops_3f9a1c0d5e7b2a84_shown-once"

Text = Annotated[str, Field(max_length=320)]
Reason = Annotated[str, Field(max_length=2_000)]
Roles = Annotated[list[Annotated[Role, Field(strict=False)]], Field(max_length=len(Role))]
Name = Annotated[str, Path(min_length=1, max_length=200)]
Cursor = Annotated[str | None, Query(max_length=1_000)]
Limit = Annotated[int, Query(ge=1, le=100)]


class Asked(BaseModel):
    """What is sent: every field is known, and of its own type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Login(Asked):
    """A name, and a token of theirs as the password."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"username": "quincy", "password": _BEARER}]})

    username: Annotated[str, Field(min_length=1, max_length=200)]
    password: Annotated[str, Field(min_length=1, max_length=400)]


class Session(BaseModel):
    """A token for some hours. It ends with the token that was the password, and can't sign in itself."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"access_token": _BEARER, "token_type": "bearer", "expires_in": 28800, "principal": "quincy"}]
        }
    )

    access_token: str
    token_type: Literal["bearer"]
    expires_in: int
    principal: str


class Caller(BaseModel):
    """Who is calling, and what they may do with this credential."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CALLER]})

    name: str
    roles: list[str]
    scopes: list[str]
    credential: str
    actions: list[str]


class PrincipalView(BaseModel):
    """A person or a service."""

    model_config = ConfigDict(json_schema_extra={"examples": [_PRINCIPAL]})

    name: str
    kind: Kind
    display_name: str
    email: str
    oidc_subject: str | None
    roles: list[Role]
    is_active: bool
    managed_by: ManagedBy
    created_at: datetime
    updated_at: datetime


class Principals(BaseModel):
    """A page of principals by name; ask again with `cursor=next_cursor` until that is None."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"principals": [_PRINCIPAL], "next_cursor": None}]})

    principals: list[PrincipalView]
    next_cursor: str | None


class NewPrincipal(Asked):
    """A principal to add."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "quincy", "kind": "person", "roles": ["quant"], "reason": "new joiner"}]
        }
    )

    name: Annotated[str, Field(min_length=1, max_length=200)]
    kind: Annotated[Kind, Field(strict=False)] = Kind.PERSON
    roles: Roles
    display_name: Text = ""
    email: Text = ""
    oidc_subject: Text | None = None
    reason: Reason = ""


class PrincipalChange(Asked):
    """All the roles that a principal shall have, or whether they may act: one of the two at a time."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"roles": ["quant", "mlops"], "reason": "moved desk"}]})

    roles: Roles | None = None
    is_active: bool | None = None
    reason: Reason = ""

    @model_validator(mode="after")
    def _one_at_a_time(self) -> Self:
        if (self.roles is None) == (self.is_active is None):
            raise ValueError("send either roles or is_active, so that the change happens as a whole or not at all")
        return self


class Token(BaseModel):
    """What is known of a token; its secret is not."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TOKEN]})

    id: str
    principal: str
    scopes: list[str]
    label: str
    issued_at: datetime
    issued_by: str
    expires_at: datetime
    revoked_at: datetime | None


class Tokens(BaseModel):
    """A page of tokens, oldest first; ask again with `cursor=next_cursor` until that is None."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"tokens": [_TOKEN], "next_cursor": None}]})

    tokens: list[Token]
    next_cursor: str | None


class NewToken(Asked):
    """A token to issue: the caller's own unless another principal is named, with the caller's scopes or fewer."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"scopes": ["platform.read"], "days": 30, "label": "notebook"}]}
    )

    principal: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    scopes: Annotated[list[Annotated[str, Field(max_length=100)]], Field(min_length=1, max_length=50)] | None = None
    days: Annotated[int, Field(ge=1, le=LONGEST_DAYS)] = DEFAULT_DAYS
    label: Annotated[str, Field(max_length=200)] = ""


class NewTokenWithSecret(BaseModel):
    """A new token with its secret, which is shown here and never again."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"token": _TOKEN, "bearer": _BEARER}]})

    token: Token
    bearer: str


def login_router(tokens: TokenStore, clock: Clock) -> APIRouter:
    """Return the one route of people that asks for no bearer token: it gives one."""
    routes = APIRouter(prefix="/auth", tags=["identity"])
    attempts = Attempts(clock)

    @routes.post("/login", openapi_extra={SHOWS_SECRET: True})
    def login(asked: Login, request: Request) -> Session:
        """Sign in with a name and, as the password, an API token; get one for some hours."""
        address = request.client.host if request.client else ""
        attempts.check(address)
        try:
            issued = tokens.open_session(asked.password, name=asked.username)
        except (Unauthenticated, Forbidden):
            attempts.failed(address)
            raise Unauthenticated(_REFUSED) from None
        seconds = (issued.token.expires_at - issued.token.issued_at).total_seconds()
        return Session(
            access_token=issued.bearer,
            token_type="bearer",  # noqa: S106 - its kind
            expires_in=int(seconds),
            principal=issued.token.principal,
        )

    return routes


def router(directory: Directory, tokens: TokenStore, access: AccessPolicy, allowed: Gate) -> APIRouter:
    """Return the routes of the caller, the principals and their tokens."""
    routes = APIRouter(tags=["identity"])
    reader = Depends(allowed("platform.read"))
    admin = Depends(allowed("principal.manage"))
    issuer = Depends(allowed("token.issue"))

    @routes.get("/auth/me")
    def show_caller(caller: Principal = reader) -> Caller:
        """Say who is calling and what they may do."""
        return Caller(
            name=caller.name,
            roles=sorted(caller.roles),
            scopes=sorted(caller.scopes),
            credential=caller.credential,
            actions=list(access.allowed_to(caller)),
        )

    @routes.get("/principals")
    def list_principals(caller: Principal = admin, cursor: Cursor = None, limit: Limit = 50) -> Principals:
        """List people and services by name."""
        position = _PRINCIPALS.after(cursor)
        found = [one for one in directory.list() if position is None or (one.name,) > position]
        more = _PRINCIPALS.cursor((found[limit - 1].name,)) if len(found) > limit else None
        return Principals(principals=[_principal(one) for one in found[:limit]], next_cursor=more)

    @routes.post("/principals", status_code=201)
    def add_principal(asked: NewPrincipal, caller: Principal = admin) -> PrincipalView:
        """Add a person or a service."""
        declared = Declared(
            name=asked.name,
            kind=asked.kind,
            roles=frozenset(asked.roles),
            display_name=asked.display_name,
            email=asked.email,
            oidc_subject=asked.oidc_subject,
        )
        return _principal(directory.add(declared, by=caller, reason=asked.reason))

    @routes.patch("/principals/{name}")
    def change_principal(name: Name, asked: PrincipalChange, caller: Principal = admin) -> PrincipalView:
        """Give and take roles until they are those, or let a principal act or act no more."""
        if asked.is_active is None:
            return _principal(directory.set_roles(name, asked.roles or (), by=caller, reason=asked.reason))
        move = directory.reactivate if asked.is_active else directory.deactivate
        return _principal(move(name, by=caller, reason=asked.reason))

    @routes.get("/tokens")
    def list_tokens(
        caller: Principal = issuer,
        principal: Annotated[str | None, Query(max_length=200)] = None,
        cursor: Cursor = None,
        limit: Limit = 50,
    ) -> Tokens:
        """List the caller's tokens; an admin lists anybody's, and without a name everybody's."""
        whose = principal
        if whose is None and not access.allows(caller, "principal.manage"):
            whose = caller.name
        if whose != caller.name:
            access.require(caller, "principal.manage")
        listing = Listing(name="tokens", position=(str, str), filters={"principal": whose})
        position = listing.after(cursor)
        found = [one for one in tokens.list(whose) if position is None or _place(one) > position]
        more = listing.cursor(_place(found[limit - 1])) if len(found) > limit else None
        return Tokens(tokens=[_token(one) for one in found[:limit]], next_cursor=more)

    @routes.post("/tokens", status_code=201, responses={400: {}}, openapi_extra={SHOWS_SECRET: True})
    def issue_token(asked: NewToken, caller: Principal = issuer) -> NewTokenWithSecret:
        """Issue a token; its secret is in this answer and nowhere else."""
        scopes: Sequence[str] | None = asked.scopes
        issued = tokens.issue(
            asked.principal or caller.name, by=caller, scopes=scopes, days=asked.days, label=asked.label
        )
        return NewTokenWithSecret(token=_token(issued.token), bearer=issued.bearer)

    @routes.delete("/tokens/{token_id}")
    def revoke_token(
        token_id: Annotated[str, Path(min_length=1, max_length=32)],
        caller: Principal = issuer,
        reason: Annotated[str, Query(max_length=500)] = "",
    ) -> Token:
        """End a token at once, and the sessions opened with it; one that has ended stays as it is."""
        return _token(tokens.revoke(token_id, by=caller, reason=reason))

    return routes


def _principal(record: PrincipalRecord) -> PrincipalView:
    return PrincipalView(
        name=record.name,
        kind=record.kind,
        display_name=record.display_name,
        email=record.email,
        oidc_subject=record.oidc_subject,
        roles=sorted(record.roles),
        is_active=record.is_active,
        managed_by=record.managed_by,
        created_at=record.created_at,
        updated_at=record.updated_at,
    )


def _token(token: ApiToken) -> Token:
    return Token(
        id=token.id,
        principal=token.principal,
        scopes=sorted(token.scopes),
        label=token.label,
        issued_at=token.issued_at,
        issued_by=token.issued_by,
        expires_at=token.expires_at,
        revoked_at=token.revoked_at,
    )


def _place(token: ApiToken) -> tuple[str, str]:
    return token.issued_at.isoformat(timespec="microseconds"), token.id
