"""A failure has its status, a sentence with a remedy, the headers of any answer, and no internals."""

from __future__ import annotations

import base64
import hashlib
import html
import re

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from mlops_assets.identity.sign_in import Unauthenticated
from mlops_assets.kernel.errors import Conflict, Forbidden, NotFound, PlatformError, UnknownReference
from mlops_assets.rest.headers import SECURITY_HEADERS
from mlops_assets.rest.problems import add_problem_handlers, problem
from tests.rest.client import Api, Services


class NobodyKnowsThisOne(Conflict):
    code = "of_a_later_step"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnknownReference(kind="model", name="x", known=["y"], asked_by="a route"), 400),
        (Unauthenticated("Sign in."), 401),
        (Forbidden("Ask somebody else."), 403),
        (NotFound(kind="model", name="x", remedy="Look."), 404),
        (Conflict("Read it again."), 409),
        (NobodyKnowsThisOne("Read it again."), 409),
        (PlatformError("It is wrong."), 400),
        (IntegrityError("INSERT INTO secret", {"token": "secret"}, Exception("secret")), 409),
        (OperationalError("SELECT secret", {}, Exception("secret")), 503),
        (PoolTimeout("secret"), 503),
    ],
)
def test_a_failure_has_the_status_of_its_family(error: PlatformError, status: int):
    answer = problem(error)
    assert answer.status_code == status
    assert b"secret" not in answer.body
    assert bytes(answer.body).startswith(b'{"detail":"')


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/nowhere", 404, "/docs lists them"),
        ("GET", "/api/v1/audit/", 404, "/docs lists them"),
        ("GET", "//api/v1/audit", 404, "/docs lists them"),
        ("GET", "/redoc", 404, "/docs lists them"),
        ("DELETE", "/api/v1/audit", 405, "Send one of these"),
        ("GET", "/api/v1/auth/login", 405, "Send one of these"),
        ("TRACE", "/health", 405, "Send one of these"),
        ("OPTIONS", "/api/v1/principals", 405, "Send one of these"),
    ],
)
def test_a_wrong_address_or_method_is_said(api: Api, method: str, path: str, status: int, words: str):
    answer = api.ask(method, path)
    assert (answer.status_code, words in answer.json()["detail"]) == (status, True)
    assert status != 405 or answer.headers["allow"]


def test_a_methods_refusal_names_all_that_the_address_answers(api: Api):
    assert set(api.ask("DELETE", "/api/v1/principals").headers["allow"].split(", ")) == {"GET", "POST"}


def test_every_answer_has_the_security_headers(api: Api):
    app = api.app

    def explode() -> None:
        raise LookupError

    app.get("/explode")(explode)
    nobody = Api(app, token=None)
    for answer in (
        api.get("/health"),
        api.get("/api/v1/audit"),
        nobody.get("/api/v1/audit"),
        api.get("/nowhere"),
        api.get("/explode"),
        api.post("/api/v1/principals", {}),
        api.as_("ada").post("/api/v1/principals", {}),
        api.as_("ada").ask("POST", "/api/v1/principals", content=b"x" * 1_000_001),
    ):
        assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS
        assert "x-request-id" in answer.headers
        assert "access-control-allow-origin" not in answer.headers
        assert "strict-transport-security" not in answer.headers


def test_a_browser_is_held_to_https_where_it_came_by_it(api: Api):
    for path in ("/health", "/nowhere"):
        assert api.get(f"https://api{path}").headers["strict-transport-security"].startswith("max-age=31536000")


def test_another_origin_is_told_nothing(api: Api):
    asked = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    for method in ("OPTIONS", "GET"):
        answer = api.ask(method, "/api/v1/audit", headers=asked)
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_the_page_of_the_routes_runs_nothing_and_loads_nothing(api: Api):
    page = api.get("/docs")
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert page.status_code == 200
    assert (policy["default-src"], policy["frame-ancestors"]) == ("'none'", "'none'")
    (style,) = re.findall("<style>(.*?)</style>", page.text, re.DOTALL)
    assert policy["style-src"] == f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'"
    assert not re.findall(r"<(?:script|link|img|iframe|form|base)|\son\w+=|(?:src|href)=\"[^#/]", page.text)


def test_the_page_of_the_routes_lists_every_route_and_model(api: Api):
    page, document = html.unescape(api.get("/docs").text), api.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert f"<code>{method.upper()} {path}</code>" in page
            assert operation.get("x-action", "nobody is asked") in page
    names = set(re.findall('<details id="([^"]+)">', page))
    assert names == set(document["components"]["schemas"])
    assert set(re.findall('href="#([^"]+)"', page)) <= names


def test_a_database_that_refuses_is_a_conflict_and_one_that_is_gone_503(services: Services):
    app = FastAPI()
    add_problem_handlers(app)

    def ask(sql: str) -> None:
        with services.database.begin() as connection:
            connection.execute(sa.text(sql))

    app.get("/refused")(lambda: ask("DELETE FROM ledger_entry"))
    app.get("/gone")(lambda: ask("SELECT * FROM nothing"))
    refused, gone = Api(app).get("/refused"), Api(app).get("/gone")
    assert (refused.status_code, gone.status_code) == (409, 503)
    assert "ledger_entry" not in refused.text
    assert "nothing" not in gone.text
