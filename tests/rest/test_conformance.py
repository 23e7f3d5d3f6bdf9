"""The document is the truth: requests made from it, by schemathesis, never break a route or surprise its reader."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import hypothesis
import pytest
import schemathesis
from hypothesis.errors import Unsatisfiable
from schemathesis.core.failures import FailureGroup

from mlops_assets.kernel.clock import FixedClock
from mlops_assets.rest.app import CONTRACT
from tests.rest.client import (
    Services,
    api_over,
    publish,
    request_deployment,
    seal_report,
    services_in,
    token_of,
    with_people,
)
from tests.rest.test_alert_routes import bury, tell
from tests.rest.test_approval_routes import ask
from tests.rest.test_routes import DATASET

FEW = hypothesis.settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.filter_too_much, hypothesis.HealthCheck.too_slow],
)

# Valid by the document is not all that the stores ask: a name may be taken, a request closed, a cursor not theirs.
SEMANTIC = [schemathesis.checks.positive_data_acceptance]
TAKES_ANY_PARAMETER = (*CONTRACT, "/health", "/api/v1/auth/login")


def excluded_of(operation: schemathesis.APIOperation) -> list[schemathesis.CheckFunction]:
    """Return what does not hold of a route: those of the client in use take parameters that they don't know."""
    takes_any = operation.path.startswith(TAKES_ANY_PARAMETER)
    return [*SEMANTIC, *([schemathesis.checks.negative_data_rejection] if takes_any else [])]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Services:
    """A platform with something of everything in it."""
    folder: Path = tmp_path_factory.mktemp("platform")
    made = with_people(services_in(folder, FixedClock(at=datetime(2026, 1, 5, 12, tzinfo=UTC))))
    publish(made, "features/momentum", DATASET)
    request_deployment(made)
    made.checkpoints.sign()
    return made


@pytest.fixture(scope="module")
def known(services: Services) -> dict[str, str]:
    """Names of things that are there, by the parameter that names them."""
    approval = ask(services)
    alert = tell(services, "features/momentum")
    bury(services, alert)
    return {
        "approval_id": approval.id,
        "evidence_fingerprint": approval.evidence_fingerprint,
        "alert_id": alert,
        "token_id": services.tokens.list("vi")[0].id,
        "name": "vi",
        "dataset_id": "features.momentum",
        "model_name": "signal_classifier",
        "version": "1",
        "deployment_id": services.deployments.list()[0].id,
        "run_id": "r-2",
        "sha256": seal_report(services),
    }


@pytest.fixture(scope="module")
def operations(services: Services) -> list[schemathesis.APIOperation]:
    schema = schemathesis.openapi.from_asgi("/openapi.json", api_over(services).app)
    for methods in schema.raw_schema["paths"].values():
        for operation in methods.values():
            operation.pop("security", None)  # who asks is the test's business
    return [found.ok() for found in schema.get_all_operations()]


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
@pytest.mark.parametrize("caller", ["ada", "carol", "mo"])
def test_every_route_answers_as_the_document_says(
    operations: list[schemathesis.APIOperation], caller: str, mode: schemathesis.GenerationMode
):
    drive(operations, caller, mode, {})


@pytest.mark.parametrize("caller", ["ada", "carol", "mo"])
def test_every_route_answers_so_about_what_is_there(
    operations: list[schemathesis.APIOperation], known: dict[str, str], caller: str
):
    about = [one for one in operations if "{" in one.path]
    drive(about, caller, schemathesis.GenerationMode.POSITIVE, known)


def drive(
    operations: list[schemathesis.APIOperation],
    caller: str,
    mode: schemathesis.GenerationMode,
    known: dict[str, str],
) -> None:
    """Make requests to every operation, with known names where there are any, and compare answers with the document."""
    bearer = {"Authorization": f"Bearer {token_of(caller)}"}
    failures: dict[str, str] = {}
    for operation in operations:

        @FEW
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def ask_it(case: schemathesis.Case) -> None:
            for place in (case.path_parameters, case.body):
                if isinstance(place, dict):
                    place.update({name: known[name] for name in place if name in known})
            case.call_and_validate(headers=bearer, excluded_checks=excluded_of(case.operation))

        try:
            with suppress(Unsatisfiable):  # nothing of a route without parameters can be wrong
                ask_it()
        except FailureGroup as failure:
            failures[operation.label] = "\n".join(map(str, failure.exceptions))
    assert not failures, "\n\n".join(f"{label}: {failure}" for label, failure in failures.items())
