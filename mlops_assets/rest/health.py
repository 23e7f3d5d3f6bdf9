"""Whether the API runs and whether what is behind it answers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Literal

import sqlalchemy as sa
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import SQLAlchemyError

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.rest.problems import Problem
from mlops_assets.services import ServiceFactory

API_VERSION = "0.1.0"
READY = "/ready"
LEAST_FREE_BYTES = 100_000_000


class Health(BaseModel):
    """The process answers. Nothing behind it is looked at."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok", "version": "0.1.0"}]})

    status: Literal["ok"]
    version: str


class Readiness(BaseModel):
    """What each store behind the API says; `ok` or its problem."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"status": "ok", "checks": {"database": "ok", "disk": "ok"}}]}
    )

    status: Literal["ok", "unavailable"]
    checks: dict[str, str]


def health_router() -> APIRouter:
    """Return the route that needs no caller."""
    routes = APIRouter(tags=["operation"])

    @routes.get("/health")
    def health() -> Health:
        """Say that the process answers."""
        return Health(status="ok", version=API_VERSION)

    return routes


def readiness_router(services: ServiceFactory) -> APIRouter:
    """Return the route that looks at the stores."""
    routes = APIRouter(tags=["operation"])

    @routes.get(READY, responses={503: {"model": Readiness | Problem}})
    def ready(response: Response) -> Readiness:
        """Say whether the stores answer; 503 when one does not."""
        checks = {name: problem or "ok" for name, problem in store_problems(services).items()}
        is_ready = all(found == "ok" for found in checks.values())
        response.status_code = 200 if is_ready else 503
        return Readiness(status="ok" if is_ready else "unavailable", checks=checks)

    return routes


def readiness_without_sign_in(services: ServiceFactory) -> JSONResponse:
    """Answer /ready while the database, which knows the tokens, is down: which stores fail, to nobody in particular.

    Why they fail is left out: it names files and servers.
    """
    checks = {name: "unavailable" if problem else "ok" for name, problem in store_problems(services).items()}
    return JSONResponse(Readiness(status="unavailable", checks=checks).model_dump(), status_code=503)


def store_problems(services: ServiceFactory) -> dict[str, str]:
    """Ask each store for something small; return its problem, empty when there is none."""
    return {
        "catalogue": _problem(lambda: services.catalogue.count()),
        "database": _problem(lambda: _ask_database(services)),
        "snapshots": _problem(services.snapshots.heads),
        "disk": _problem(lambda: _ask_disk(services)),
    }


def _problem(ask: Callable[[], object]) -> str:
    try:
        ask()
    except SQLAlchemyError as error:
        # Its words hold the statement, and the server's address and user.
        return f"{type(getattr(error, 'orig', None) or error).__name__}: it does not answer; `mlops doctor` says more"
    except (PlatformError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _ask_database(services: ServiceFactory) -> None:
    with services.database.read() as connection:
        connection.execute(sa.text("SELECT count(*) FROM ledger_entry WHERE seq < 2"))


def _ask_disk(services: ServiceFactory) -> None:
    free = shutil.disk_usage(services.settings.home).free
    if free < LEAST_FREE_BYTES:
        raise OSError(f"only {free:,} bytes are free below {services.settings.home}; make room")
