"""The OpenAPI document says of every route what it answers, with an example, and how it fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from mlops_assets.rest.gate import WRITES
from tests.rest.client import Api

GAPS = (
    "/api/v1/ml/lifecycle/experiments/{name}",
    "/api/v1/ml/lifecycle/models/{model_name}/{version}",
    "/api/v1/features/datasets",
    "/api/v1/features/datasets/{dataset_id}",
    "/api/v1/ml/lifecycle/deployments",
    "/api/v1/ml/lifecycle/deployments/{deployment_id}",
)
GOVERNANCE = {
    "GET /api/v1/audit",
    "GET /api/v1/audit/verify",
    "GET /api/v1/audit/checkpoints",
    "POST /api/v1/audit/checkpoints",
    "GET /api/v1/approvals",
    "GET /api/v1/approvals/queue",
    "GET /api/v1/approvals/{approval_id}",
    *(
        f"POST /api/v1/approvals/{{approval_id}}/{verb}"
        for verb in ("submit", "review", "approve", "reject", "revoke", "override")
    ),
    "GET /api/v1/alerts",
    "POST /api/v1/alerts/{alert_id}/retry",
    "POST /api/v1/auth/login",
    "GET /api/v1/auth/me",
    "GET /api/v1/principals",
    "POST /api/v1/principals",
    "PATCH /api/v1/principals/{name}",
    "GET /api/v1/tokens",
    "POST /api/v1/tokens",
    "DELETE /api/v1/tokens/{token_id}",
}
OPEN = {"/health", "/api/v1/auth/login"}


@pytest.fixture
def document(api: Api) -> dict[str, Any]:
    return api.app.openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_the_named_routes_are_there(document: dict[str, Any]):
    assert set(GAPS) <= document["paths"].keys()
    assert {f"{method} {path}" for method, path, _ in operations(document)} >= GOVERNANCE


def test_every_answer_and_every_body_has_a_model_with_an_example_that_is_valid(document: dict[str, Any]):
    schemas = document["components"]["schemas"]
    names: set[str] = set()
    for _, path, operation in operations(document):
        contents = [answer.get("content", {}) for status, answer in operation["responses"].items() if status < "300"]
        contents += [operation["requestBody"]["content"]] if "requestBody" in operation else []
        for content in contents:
            assert content, path
            if "application/json" in content:
                names.add(content["application/json"]["schema"]["$ref"].rsplit("/", 1)[-1])
    assert len(names) > 25
    for name in names:
        assert schemas[name].get("examples"), f"{name} has no example"
        for example in schemas[name]["examples"]:
            jsonschema.validate(example, {**schemas[name], "components": document["components"]})


def test_every_route_says_how_it_refuses(document: dict[str, Any]):
    for method, path, operation in operations(document):
        statuses = set(operation["responses"])
        expected = {"422", "500"}
        expected |= set() if path in OPEN else {"401", "403", "503"}
        expected |= {"404"} if "{" in path else set()
        expected |= {"409", "413"} if method in WRITES else set()
        assert statuses >= expected, (method, path)
        for status in statuses - {"200", "201"}:
            schema = operation["responses"][status]["content"]["application/json"]["schema"]
            assert "Problem" in str(schema), (method, path, status)


def test_the_sign_in_says_how_it_refuses(document: dict[str, Any]):
    assert {"401", "413", "422", "429", "503"} <= document["paths"]["/api/v1/auth/login"]["post"]["responses"].keys()


def test_every_guarded_route_says_which_action_it_stands_for_and_how_to_sign_in(document: dict[str, Any]):
    for _, path, operation in operations(document):
        if path not in OPEN:
            assert "." in operation["x-action"], path
            assert operation["security"], path


def test_every_guarded_write_takes_an_idempotency_key(document: dict[str, Any]):
    for method, path, operation in operations(document):
        taken = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "header"}
        assert ("Idempotency-Key" in taken) == (method in WRITES and path not in OPEN), path


def test_the_document_is_the_same_when_asked_twice(api: Api):
    assert api.app.openapi() == api.app.openapi()
    assert api.get("/openapi.json").json() == api.app.openapi()
