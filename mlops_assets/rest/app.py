"""The REST API: the subjects' routes under their prefixes, one way to sign in, one way to fail.

Routes live in the subject's `api.py`, which knows neither this room nor the other subjects: it gets the stores it reads
and returns a router. Here they are mounted, under the canonical prefix and the aliases of the client in use today.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TextIO

from asgi_correlation_id import CorrelationIdMiddleware
from fastapi import APIRouter, Depends, FastAPI

from mlops_assets.alerts import api as alerts
from mlops_assets.catalog.catalogue import Catalogue
from mlops_assets.evaluation import api as evaluation
from mlops_assets.features import api as features
from mlops_assets.governance import api as approvals
from mlops_assets.identity import api as identity
from mlops_assets.kpis import api as kpis
from mlops_assets.ledger import api as ledger
from mlops_assets.lifecycle import api as lifecycle
from mlops_assets.lifecycle.serving import api as predictions
from mlops_assets.lifecycle.serving.deployment_health import DeploymentHealth
from mlops_assets.lifecycle.tracking import api as experiments
from mlops_assets.rest.answers import Answers
from mlops_assets.rest.document import describe_everywhere
from mlops_assets.rest.explorer import DOCUMENT, explorer_router
from mlops_assets.rest.gate import Doors, Entrance, Gatekeeper, allowed, let_through
from mlops_assets.rest.headers import SecurityHeaders
from mlops_assets.rest.health import (
    API_VERSION,
    READY,
    health_router,
    readiness_router,
    readiness_without_sign_in,
)
from mlops_assets.rest.idempotency import Idempotency
from mlops_assets.rest.limits import WellFormed
from mlops_assets.rest.pages import pages_router
from mlops_assets.rest.problems import add_problem_handlers
from mlops_assets.rest.request_log import RequestLog, safe_request_id
from mlops_assets.services import ServiceFactory
from mlops_assets.settings import load_settings

API = "/api/v1"
PREFIXES: Mapping[str, tuple[str, ...]] = {
    "features": ("/api/v1/features", "/api/v1/ml/features"),
    "lifecycle": ("/api/v1/ml/lifecycle", "/api/v1/ml/lifecycle/lifecycle"),
    "evaluation": ("/api/v1/ml/evaluation", "/api/v1/ml/evaluation/evaluation"),
}
"""The canonical prefix of each subject first, then the aliases."""

CONTRACT = frozenset(prefix for prefixes in PREFIXES.values() for prefix in prefixes)


def from_environment() -> FastAPI:
    """Build the application of this installation; the server calls this."""
    return create_app(ServiceFactory(load_settings()))


def create_app(services: ServiceFactory, *, log: TextIO | None = None) -> FastAPI:
    """Build the application over the given services; its request log goes to `log`, by default the standard output."""
    app = FastAPI(
        title="mlops_assets",
        version=API_VERSION,
        summary="Features, models, evaluations, prompts and their audit trail.",
        description="Every route but /health, the login and these pages needs `Authorization: Bearer <token>`.",
        openapi_url=DOCUMENT,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lambda _: _while_up(services),
    )
    doors = Doors(services.access)
    _mount_everything(app, doors, services)
    add_problem_handlers(app)
    describe_everywhere(app, doors)
    app.state.doors = doors

    limit_bytes = services.settings.body_limit_bytes
    # The last one added is the outermost.
    app.add_middleware(Idempotency, answers=Answers(services.database, services.clock), limit_bytes=limit_bytes)
    app.add_middleware(WellFormed, limit_bytes=limit_bytes)
    app.add_middleware(
        Gatekeeper,
        doors=doors,
        principal_of=services.sign_in.principal_of,
        access=services.access,
        without_database={READY: lambda: readiness_without_sign_in(services)},
    )
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestLog, clock=services.clock, stream=log or sys.stdout)
    app.add_middleware(CorrelationIdMiddleware, validator=None, transformer=safe_request_id)
    return app


@asynccontextmanager
async def _while_up(services: ServiceFactory) -> AsyncIterator[None]:
    """Make ready whoever serves, and at the end write what was counted: a signal ends the process without `atexit`."""
    services.predictions.warm_all()
    yield
    services.predictions.flush()


def _mount_everything(app: FastAPI, doors: Doors, services: ServiceFactory) -> None:
    def mount(routes: APIRouter, *prefixes: str, entrance: Entrance = Entrance.BEARER) -> None:
        """Mount a router under its canonical prefix and its aliases, which the document leaves out."""
        guards = [] if entrance is Entrance.OPEN else [Depends(let_through)]
        for prefix in prefixes:
            # The client in use may send parameters that its routes never had, and so may what asks for /health.
            takes_any = entrance is Entrance.OPEN or prefix in CONTRACT
            doors.add(routes, prefix, entrance=entrance, takes_any_parameter=takes_any)
            is_canonical = prefix == prefixes[0]
            app.include_router(routes, prefix=prefix, dependencies=guards, include_in_schema=is_canonical)

    mount(explorer_router(lambda: app.openapi()), "", entrance=Entrance.OPEN)
    mount(health_router(), "", entrance=Entrance.OPEN)
    mount(readiness_router(services), "")
    mount(pages_router(services.reports), "", entrance=Entrance.BROWSER)
    for subject, routes in _subjects(services).items():
        mount(routes, *PREFIXES[subject])
    runs = experiments.ExperimentPages(tracking=services.tracking, declared=services.catalogue.models)
    mount(experiments.router(runs), *PREFIXES["lifecycle"])
    mount(predictions.router(services.predictions, allowed), *PREFIXES["lifecycle"])
    mount(identity.login_router(services.tokens, services.clock), API, entrance=Entrance.OPEN)
    mount(identity.router(services.directory, services.tokens, services.access, allowed), API)
    mount(ledger.router(services.ledger, services.checkpoints, allowed), API)
    mount(approvals.router(services.approvals, allowed), API)
    mount(alerts.router(services.alerts, allowed), API)
    mount(kpis.router(services.database), API)


def _subjects(services: ServiceFactory) -> dict[str, APIRouter]:
    catalogue = services.catalogue
    pages = features.DatasetPages(snapshots=services.snapshots, declared=dataset_facts(catalogue))
    health = DeploymentHealth(store=services.health, clock=services.clock)
    return {
        "features": features.router(pages),
        "lifecycle": lifecycle.router(
            services.models,
            services.deployments,
            services.blobs,
            health,
            services.serving,
            services.approvals,
        ),
        "evaluation": evaluation.router(services.reports, services.models),
    }


def dataset_facts(catalogue: Catalogue) -> dict[str, features.DatasetFacts]:
    """Return what the catalogue says of each dataset that a declaration stands behind."""
    facts = {
        "market/bars": features.DatasetFacts(
            description="Validated daily bars, one row a symbol and session.", owner="team:data", tags=("market",)
        )
    }
    for view in catalogue.feature_views.values():
        facts[view.dataset] = features.DatasetFacts(description=view.description, owner=view.owner, tags=view.tags)
    for model in catalogue.models.values():
        training_set = model.training_set
        facts[training_set.dataset] = features.DatasetFacts(
            description=training_set.description, owner=training_set.owner, tags=("training_set",)
        )
        for kind, words in (("predictions", "Probabilities"), ("explanations", "SHAP values")):
            facts[f"{kind}/{model.name}"] = features.DatasetFacts(
                description=f"{words} of the model {model.name}. {model.description}", owner=model.owner, tags=(kind,)
            )
    for scenario in catalogue.scenarios.values():
        for name in scenario.replayed:
            facts[f"evaluation/{scenario.name}/{name}"] = features.DatasetFacts(
                description=f"Daily account of {name} in {scenario.name}. {scenario.description}",
                owner=scenario.owner,
                tags=("evaluation",),
            )
    return facts
