"""Who gets through which route: every route stands for an action, and the gatekeeper asks before anything is read.

A route declares its action by depending on `allowed("approval.decide")`; one that only reads and declares none stands
for `platform.read`. A route that writes and declares none stops the application from being built.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from mlops_assets.identity.access import AccessPolicy
from mlops_assets.identity.api import SHOWS_SECRET
from mlops_assets.identity.sign_in import Unauthenticated
from mlops_assets.kernel.errors import PlatformError, near_misses
from mlops_assets.kernel.identity import Principal
from mlops_assets.rest.problems import InvalidRequest, WrongMethod, problem

# No `from __future__ import annotations`: FastAPI can't resolve the text of an annotation on a callable object.

READ = "platform.read"
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_bearer = HTTPBearer(
    auto_error=False, description="An API token, or an OpenID Connect token of the issuer that is set."
)
_HOW = "Send the header `Authorization: Bearer <token>`; `mlops tokens issue` makes a token."
_HOW_IN_A_BROWSER = "Sign in with any user name and, as the password, an API token."
_BASIC = 'Basic realm="mlops_assets", charset="UTF-8"'


class Entrance(Enum):
    """How callers come to a router: with a bearer token, with a browser, or without being asked."""

    BEARER = "bearer"
    BROWSER = "browser"
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A route's address and methods, and the action it stands for; None only where nobody is asked.

    `parameters` are the names that its query may have; None takes any, for clients that send more than is used.
    """

    template: str
    pattern: re.Pattern[str]
    methods: frozenset[str]
    action: str | None
    entrance: Entrance
    route: APIRoute
    parameters: frozenset[str] | None

    @property
    def shows_secret(self) -> bool:
        return bool((self.route.openapi_extra or {}).get(SHOWS_SECRET))

    @property
    def writes(self) -> bool:
        return bool(self.methods & WRITES)


class Allowed:
    """The dependency of a route that stands for an action: hands on the caller whom the gatekeeper let through."""

    def __init__(self, action: str) -> None:
        self.action = action

    def __call__(
        self, request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
    ) -> Principal:
        if getattr(request.state, "action", None) != self.action:
            raise RuntimeError(f"the gatekeeper did not ask for {self.action}")
        return request.state.principal


@cache
def allowed(action: str) -> Allowed:
    """Return what a route depends on to stand for an action."""
    return Allowed(action)


def let_through(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]) -> Principal:
    """Return the caller of any guarded route; no router is mounted without this.

    Raises:
        Unauthenticated: if the gatekeeper has not seen the request.
    """
    if (caller := getattr(request.state, "principal", None)) is None:
        raise Unauthenticated(_HOW)
    return caller


class Doors:
    """Every route of the application with what it stands for, in the order in which they are tried."""

    def __init__(self, access: AccessPolicy) -> None:
        self._access = access
        self._doors: list[Door] = []

    def __iter__(self) -> Iterator[Door]:
        return iter(self._doors)

    def add(
        self,
        routes: APIRouter,
        prefix: str = "",
        *,
        entrance: Entrance = Entrance.BEARER,
        takes_any_parameter: bool = False,
    ) -> None:
        """Enter the routes of a router that is mounted under `prefix`.

        Raises:
            ValueError: if a route writes and declares no action, declares several, or one that the policy lacks.
        """
        for route in routes.routes:
            if isinstance(route, APIRoute):
                door = _door(route, prefix, entrance, takes_any_parameter=takes_any_parameter)
                if door.action is not None and door.action not in self._access.actions:
                    raise ValueError(
                        f"{door.template} stands for {door.action}, which {self._access.file} does not list"
                    )
                self._doors.append(door)

    def find(self, method: str, path: str) -> Door | None:
        """Return the door that a request comes to; None leads to the application's 404.

        Raises:
            WrongMethod: if the address has doors for other methods only.
        """
        there = [one for one in self._doors if one.pattern.match(path)]
        found = next((one for one in there if method in one.methods), None)
        if found is None and there:
            raise WrongMethod({method for one in there for method in one.methods})
        return found


class Gatekeeper:
    """Asks every caller who they are and whether they may, before the body is read, and notes the answers."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        doors: Doors,
        principal_of: Callable[[str], Principal],
        access: AccessPolicy,
        without_database: Mapping[str, Callable[[], Response]],
    ) -> None:
        """Keep the parts; `without_database` answers, by address, what can be said while nobody can sign in."""
        self._app, self._doors, self._principal_of, self._access = app, doors, principal_of, access
        self._without_database = without_database

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                await self._look(scope)
            except PlatformError as error:
                await problem(error)(scope, receive, send)
                return
            except SQLAlchemyError as error:
                answer = self._without_database.get(scope["path"])
                response = problem(error) if answer is None else await run_in_threadpool(answer)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _look(self, scope: Scope) -> None:
        if (door := self._doors.find(scope["method"], scope["path"])) is None:
            return
        state = scope.setdefault("state", {})
        state["door"] = door
        if door.action is not None:
            state["principal"] = await run_in_threadpool(self._caller, door, Headers(scope=scope))
            self._access.require(state["principal"], door.action)
            state["action"] = door.action
        _check_query(door, scope["query_string"])

    def _caller(self, door: Door, headers: Headers) -> Principal:
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if door.entrance is Entrance.BROWSER:
            token = _password(value) if scheme.lower() == "basic" else value
            try:
                return self._principal_of(token)
            except Unauthenticated as error:
                raise Unauthenticated(_HOW_IN_A_BROWSER, challenge=_BASIC) from error
        if scheme.lower() != "bearer" or not value.strip():
            raise Unauthenticated(_HOW)
        return self._principal_of(value.strip())


def _door(route: APIRoute, prefix: str, entrance: Entrance, *, takes_any_parameter: bool) -> Door:
    pattern, template, _ = compile_path(prefix + route.path)
    methods = frozenset(route.methods or ())
    actions = {one.action for one in _demands(route.dependant)}
    where = f"{'/'.join(sorted(methods))} {template}"
    if len(actions) > 1:
        raise ValueError(f"{where} stands for several actions: {', '.join(sorted(actions))}")
    if entrance is not Entrance.OPEN and not actions:
        if methods & WRITES:
            raise ValueError(f"{where} writes, and declares no action: let it depend on `allowed(…)`")
        actions = {READ}
    return Door(
        template=template,
        pattern=pattern,
        methods=methods,
        action=next(iter(actions), None),
        entrance=entrance,
        route=route,
        parameters=None if takes_any_parameter else frozenset(_query_names(route.dependant)),
    )


def _check_query(door: Door, query: bytes) -> None:
    """Refuse a filter that the route does not know: left out unseen, it would show more than was asked for."""
    if door.parameters is None:
        return
    for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name not in door.parameters:
            near = near_misses(name, door.parameters)
            known = (
                f"Did you mean {near[0]!r}?" if near else f"It takes {', '.join(sorted(door.parameters)) or 'none'}."
            )
            raise InvalidRequest(f"{door.template} takes no parameter {name[:100]!r}. {known}")


def _query_names(dependant: Dependant) -> Iterator[str]:
    yield from (one.alias for one in dependant.query_params)
    for one in dependant.dependencies:
        yield from _query_names(one)


def _demands(dependant: Dependant) -> Iterator[Allowed]:
    for one in dependant.dependencies:
        if isinstance(one.call, Allowed):
            yield one.call
        yield from _demands(one)


def _password(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
