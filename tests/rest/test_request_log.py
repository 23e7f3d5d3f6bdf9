"""Every request leaves one line of JSON, and no line holds what the caller wrote."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from mlops_assets.rest.app import create_app
from tests.rest.client import Api, Services, token_of

CANARY = "canary-7f3a9c"


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def logged(services: Services, log: io.StringIO) -> Api:
    return Api(create_app(services, log=log))


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_a_request_leaves_one_line(logged: Api, log: io.StringIO):
    logged.get("/api/v1/approvals/unknown", headers={"X-Request-ID": "from-the-client-1"})
    (line,) = lines(log)
    assert line.pop("duration_ms") > 0
    assert line == {
        "event": "request",
        "at": "2026-01-05T12:00:00.000+00:00",
        "request_id": "from-the-client-1",
        "method": "GET",
        "route": "/api/v1/approvals/{approval_id}",
        "status": 404,
        "principal": "quincy",
        "remote": "127.0.0.1",
    }


def test_whoever_was_refused_is_named_if_they_are_known(logged: Api, log: io.StringIO):
    logged.as_("vi").post("/api/v1/principals", {})
    logged.as_("nobody").get("/api/v1/approvals")
    logged.get("/nowhere")
    found = [(line["status"], line["principal"], line["route"]) for line in lines(log)]
    assert found == [(403, "vi", "/api/v1/principals"), (401, None, "/api/v1/approvals"), (404, None, None)]


def test_no_line_holds_a_secret_wherever_the_caller_put_it(logged: Api, log: io.StringIO):
    token = token_of("ada")
    ada = logged.as_("ada")
    issued = ada.post("/api/v1/tokens", {"label": CANARY}).json()["bearer"]
    session = logged.post("/api/v1/auth/login", {"username": "ada", "password": issued}).json()["access_token"]
    logged.post("/api/v1/auth/login", {"username": CANARY, "password": CANARY})
    for path in (f"/{CANARY}", f"/api/v1/audit?actor={CANARY}&token={CANARY}", f"/api/v1/approvals/{CANARY}"):
        ada.get(path, headers={"X-Api-Key": CANARY, "Cookie": CANARY, "User-Agent": CANARY})
    ada.ask(CANARY, "/api/v1/audit")
    ada.post("/api/v1/principals", {"name": CANARY, "roles": [CANARY]}, headers={"Idempotency-Key": CANARY})
    ada.get("/health", headers={"X-Request-ID": f"{CANARY} {CANARY}"})
    assert len(lines(log)) == 9
    for secret in (CANARY, token, issued, session):
        assert secret not in log.getvalue()


def test_a_failure_is_logged_by_its_kind_alone(services: Services, log: io.StringIO):
    app = create_app(services, log=log)

    def explode() -> None:
        raise LookupError(CANARY)

    app.get("/explode")(explode)
    answer = Api(app).get("/explode", headers={"X-Request-ID": "request-0001"})
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] == "request-0001"
    assert "request-0001" in answer.json()["detail"]
    assert CANARY not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    (line,) = lines(log)
    assert (line["status"], line["error"], CANARY in log.getvalue()) == (500, "LookupError", False)


@pytest.mark.parametrize("asked", ["", "short", "x" * 65, "has space", "new\\nline", "'; DROP TABLE", "émile-émile"])
def test_an_unsafe_request_id_is_replaced(logged: Api, asked: str):
    given = logged.get("/health", headers={"X-Request-ID": asked.encode()}).headers["x-request-id"]
    assert given != asked
    assert len(given) == 32
    assert given.isalnum()


def test_every_request_gets_its_own_id(logged: Api):
    assert len({logged.get("/health").headers["x-request-id"] for _ in range(20)}) == 20
