"""Which HTTP status a failure is: rules raise `PlatformError` and never know; every error body is `{"detail": …}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import DBAPIError

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.rest.auth import Unauthenticated

STATUS_BY_CODE: Mapping[str, int] = {
    "unknown_reference": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "checklist_incomplete": 409,
    "body_too_large": 413,
    "invalid_declaration": 422,
    "missing_columns": 422,
    "invalid_request": 422,
    "integrity_violation": 503,
    "store_unavailable": 503,
}
STATUS_OF_OTHERS = 400


class Problem(BaseModel):
    """Why a request was refused and what to do next."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"detail": "dataset 'features/momentun' does not exist. Known: …"}]}
    )

    detail: str | list[dict[str, Any]]


_TITLES = {
    400: "A filter or a reference is unknown",
    401: "No token, or a wrong one",
    403: "This principal may not do that",
    404: "Nothing has that name",
    409: "Duplicate, or not in a state that allows the move",
    413: "The body is too large",
    422: "The request is not valid",
    503: "A store behind the route is down or damaged",
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe error statuses for the OpenAPI document."""
    return {status: {"model": Problem, "description": _TITLES[status]} for status in statuses}


def status_of(error: PlatformError) -> int:
    """Return the status of an error's code, or of the nearest family whose code is known."""
    for family in type(error).__mro__:
        code = getattr(family, "code", None)
        if isinstance(code, str) and code in STATUS_BY_CODE:
            return STATUS_BY_CODE[code]
    return STATUS_OF_OTHERS


def add_problem_handlers(app: FastAPI) -> None:
    """Teach an application to word failures."""

    @app.exception_handler(PlatformError)
    async def platform(_: Request, error: PlatformError) -> JSONResponse:
        headers = {"WWW-Authenticate": error.challenge} if isinstance(error, Unauthenticated) else None
        return JSONResponse({"detail": str(error)}, status_code=status_of(error), headers=headers)

    @app.exception_handler(RequestValidationError)
    async def validation(_: Request, error: RequestValidationError) -> JSONResponse:
        # What was sent is not echoed: it may hold NaN, which no JSON answer can carry, or a secret.
        found = [{"loc": list(one["loc"]), "msg": one["msg"], "type": one["type"]} for one in error.errors()]
        return JSONResponse({"detail": found}, status_code=422)

    @app.exception_handler(DBAPIError)
    async def database(_: Request, error: DBAPIError) -> JSONResponse:
        detail = f"The database does not answer ({type(error.orig).__name__}). Try again; `mlops doctor` says more."
        return JSONResponse({"detail": detail}, status_code=503)
