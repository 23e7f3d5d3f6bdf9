"""Which HTTP status a failure is: rules raise `PlatformError` and never know; every error body is `{"detail": …}`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from asgi_correlation_id import correlation_id
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from starlette.exceptions import HTTPException

from mlops_assets.kernel.errors import Conflict, PlatformError
from mlops_assets.rest.headers import security_headers

STATUS_BY_CODE: Mapping[str, int] = {
    "unknown_reference": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "unknown_symbol": 404,
    "wrong_method": 405,
    "conflict": 409,
    "checklist_incomplete": 409,
    "body_too_large": 413,
    "invalid_declaration": 422,
    "invalid_principal": 422,
    "invalid_token": 422,
    "missing_columns": 422,
    "invalid_request": 422,
    "as_of_in_future": 422,
    "as_of_before_first": 422,
    "wrong_question": 422,
    "not_comparable": 422,
    "too_many_requests": 429,
    "broken_chain": 503,
    "integrity_violation": 503,
    "unsafe_artifact": 503,
    "invalid_checkpoint": 503,
    "store_unavailable": 503,
}
STATUS_OF_OTHERS = 400


class InvalidRequest(PlatformError):
    """A request is not valid, whatever it asks for."""

    code: ClassVar[str] = "invalid_request"


class BodyTooLarge(PlatformError):
    """A body is larger than this installation accepts."""

    code: ClassVar[str] = "body_too_large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"The body is larger than {limit_bytes} bytes, the limit set by MLOPS_BODY_LIMIT_BYTES. Send less."
        )


class WrongMethod(PlatformError):
    """An address answers other methods."""

    code: ClassVar[str] = "wrong_method"

    def __init__(self, allowed: Iterable[str]) -> None:
        self.allowed = ", ".join(sorted(allowed))
        super().__init__(f"This address answers {self.allowed}. Send one of these.")


class StillRunning(Conflict):
    """The first request with this key has no answer yet."""

    retry_after_seconds: ClassVar[int] = 1


class Problem(BaseModel):
    """Why a request was refused and what to do next; a list, where several fields of the request are wrong."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"detail": "dataset 'features/momentun' does not exist. Known: …"}]}
    )

    detail: str | list[dict[str, Any]]


TITLES: Mapping[int, str] = {
    400: "A filter or a reference is unknown",
    401: "No token, or a wrong one",
    403: "This principal may not do that",
    404: "Nothing has that name",
    409: "Duplicate, or not in a state that allows the move",
    413: "The body is too large",
    422: "The request is not valid",
    429: "Too many requests; the header Retry-After says when to try again",
    500: "A fault of the platform; the answer names the request's id, under which its log has more",
    503: "A store behind the route is down or damaged",
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe error statuses for the OpenAPI document."""
    return {status: {"model": Problem, "description": TITLES[status]} for status in statuses}


def status_of(error: PlatformError) -> int:
    """Return the status of an error's code, or of the nearest family whose code is known."""
    for family in type(error).__mro__:
        code = getattr(family, "code", None)
        if isinstance(code, str) and code in STATUS_BY_CODE:
            return STATUS_BY_CODE[code]
    return STATUS_OF_OTHERS


def problem(error: PlatformError | SQLAlchemyError) -> JSONResponse:
    """Word a failure. An error may carry a `challenge` (how to sign in) or `retry_after_seconds`."""
    if isinstance(error, IntegrityError):
        detail = (
            "The database refused the change: something else changed first, or its guards forbid it. Read it again."
        )
        return JSONResponse({"detail": detail}, status_code=409)
    if isinstance(error, SQLAlchemyError):
        kind = type(getattr(error, "orig", None) or error).__name__
        detail = f"The database does not answer ({kind}). Try again; `mlops doctor` says more."
        return JSONResponse({"detail": detail}, status_code=503)
    headers: dict[str, str] = {}
    if isinstance(error, WrongMethod):
        headers["Allow"] = error.allowed
    if challenge := getattr(error, "challenge", None):
        headers["WWW-Authenticate"] = challenge
    if seconds := getattr(error, "retry_after_seconds", None):
        headers["Retry-After"] = str(seconds)
    return JSONResponse({"detail": str(error)}, status_code=status_of(error), headers=headers)


def add_problem_handlers(app: FastAPI) -> None:
    """Teach an application to word failures."""

    @app.exception_handler(PlatformError)
    async def platform(_: Request, error: PlatformError) -> JSONResponse:
        return problem(error)

    @app.exception_handler(SQLAlchemyError)
    async def database(_: Request, error: SQLAlchemyError) -> JSONResponse:
        return problem(error)

    @app.exception_handler(RequestValidationError)
    async def validation(_: Request, error: RequestValidationError) -> JSONResponse:
        # What was sent is not echoed: it may hold NaN, which no JSON answer can carry, or a secret.
        found = [{"loc": list(one["loc"]), "msg": one["msg"], "type": one["type"]} for one in error.errors()]
        return JSONResponse({"detail": found}, status_code=422)

    @app.exception_handler(HTTPException)
    async def framework(_: Request, error: HTTPException) -> JSONResponse:
        detail = "No route has this address. /docs lists them all." if error.status_code == 404 else error.detail
        return JSONResponse({"detail": detail}, status_code=error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, _: Exception) -> JSONResponse:
        # Outside every other layer, so it brings their headers itself. The server logs the traceback.
        request_id = correlation_id.get() or "unknown"
        detail = f"The platform failed on this request, {request_id}. Its log has more; tell whoever runs it that id."
        headers = {"X-Request-ID": request_id, **security_headers(request.url.scheme)}
        return JSONResponse({"detail": detail}, status_code=500, headers=headers)
