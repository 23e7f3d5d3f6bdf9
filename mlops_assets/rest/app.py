"""The REST API: the subjects' routes under their prefixes, one way to sign in, one way to fail.

Routes live in the subject's `api.py`, which knows neither this room nor the other subjects: it gets the stores it reads
and returns a router. Here they are mounted, under the canonical prefix and the aliases of the client in use today.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends, FastAPI

from mlops_assets.catalog.catalogue import Catalogue
from mlops_assets.evaluation import api as evaluation
from mlops_assets.features import api as features
from mlops_assets.kpis import api as kpis
from mlops_assets.ledger import api as ledger
from mlops_assets.lifecycle import api as lifecycle
from mlops_assets.rest.auth import Authentication, authenticated
from mlops_assets.rest.health import API_VERSION, health_router, readiness_router
from mlops_assets.rest.limits import BodyLimit, SecurityHeaders
from mlops_assets.rest.pages import pages_router
from mlops_assets.rest.problems import add_problem_handlers, responses
from mlops_assets.services import ServiceFactory
from mlops_assets.settings import load_settings

PREFIXES: Mapping[str, tuple[str, ...]] = {
    "features": ("/api/v1/features", "/api/v1/ml/features"),
    "lifecycle": ("/api/v1/ml/lifecycle", "/api/v1/ml/lifecycle/lifecycle"),
    "evaluation": ("/api/v1/ml/evaluation", "/api/v1/ml/evaluation/evaluation"),
}
"""The canonical prefix of each subject first, then the aliases."""


def from_environment() -> FastAPI:
    """Build the application of this installation; the server calls this."""
    return create_app(ServiceFactory(load_settings()))


def create_app(services: ServiceFactory, authentication: Authentication | None = None) -> FastAPI:
    """Build the application over the given services."""
    settings = services.settings
    app = FastAPI(
        title="mlops_assets",
        version=API_VERSION,
        summary="Features, models, evaluations, prompts and their audit trail.",
        description="Every route but /health and these pages needs `Authorization: Bearer <token>`.",
    )
    app.state.authentication = authentication or Authentication.from_token_file(
        settings.api_token_path, services.operator
    )
    add_problem_handlers(app)
    app.add_middleware(BodyLimit, limit_bytes=settings.body_limit_bytes)
    app.add_middleware(SecurityHeaders)

    app.include_router(health_router())
    app.include_router(readiness_router(services), **_signed(503))
    app.include_router(pages_router(services.reports))
    for subject, routes in _subjects(services).items():
        canonical, *aliases = PREFIXES[subject]
        app.include_router(routes, prefix=canonical, **_signed(404, 422, 503))
        for alias in aliases:
            app.include_router(routes, prefix=alias, include_in_schema=False, **_signed(404, 422, 503))
    for routes in (ledger.router(services.ledger), kpis.router(services.database)):
        app.include_router(routes, prefix="/api/v1", **_signed(422, 503))
    return app


def _subjects(services: ServiceFactory) -> dict[str, APIRouter]:
    catalogue = services.catalogue
    pages = features.DatasetPages(snapshots=services.snapshots, declared=dataset_facts(catalogue))
    experiments = lifecycle.ExperimentPages(tracking=services.tracking, declared=catalogue.models)
    return {
        "features": features.router(pages),
        "lifecycle": lifecycle.router(services.models, services.deployments, experiments, services.blobs),
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


def _signed(*statuses: int) -> dict[str, Any]:
    """Return what a router that needs a caller is mounted with."""
    return {"dependencies": [Depends(authenticated)], "responses": responses(401, *statuses)}
