"""Nobody gets in without a token and a role that may, whatever the route."""

from __future__ import annotations

import base64
import re
from dataclasses import replace

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import iter_route_contexts

from mlops_assets.rest.gate import Door, Doors, allowed, let_through
from mlops_assets.rest.problems import add_problem_handlers
from tests.rest.client import PEOPLE, TOKEN, Api, Services, seal_report

JSON = {"content-type": "application/json"}
OPEN = {"/health", "/api/v1/auth/login"}
DOCUMENTATION = {"/docs", "/openapi.json"}


def doors(api: Api) -> list[Door]:
    return list(api.app.state.doors)


def filled(template: str) -> str:
    return re.sub(r"{[^}]+}", "1", template)


def test_every_route_stands_for_an_action_of_the_policy_but_health_login_and_documentation(
    api: Api, services: Services
):
    open_ones = {door.template for door in doors(api) if door.action is None}
    assert open_ones == OPEN | (DOCUMENTATION - {"/openapi.json"})
    assert {door.action for door in doors(api)} - {None} <= services.access.actions.keys()
    assert len(doors(api)) > 40


def test_the_gatekeeper_knows_every_route_that_the_application_answers(api: Api):
    known = {(door.template, method) for door in doors(api) for method in door.methods}
    answered = {
        (route.path_format, method)
        for route in iter_route_contexts(api.app.routes)
        for method in route.methods or ()
        if route.path_format not in DOCUMENTATION
    }
    assert answered - known == set()


def test_a_route_that_writes_stands_for_more_than_reading(api: Api):
    writes = [door for door in doors(api) if door.writes and door.template not in OPEN]
    assert len(writes) >= 12
    assert [door.template for door in writes if door.action == "platform.read"] == []


def test_nobody_gets_into_a_route_without_a_token_whatever_they_send(api: Api):
    nobody = replace(api, token=None)
    for door in doors(api):
        if door.action is None:
            continue
        for method in door.methods:
            answer = nobody.ask(method, filled(door.template), content=b"{" * 99, headers=JSON)
            assert answer.status_code == 401, door.template
            assert answer.headers["www-authenticate"].startswith("Basic" if "/reports/" in door.template else "Bearer")
            assert "token" in answer.json()["detail"].lower()


def test_a_role_that_may_not_is_told_who_may(api: Api, services: Services):
    for door in doors(api):
        if door.action is None:
            continue
        for name, role in PEOPLE.items():
            if role in services.access.actions[door.action].roles:
                continue
            for method in door.methods:
                answer = api.as_(name).ask(method, filled(door.template), content=b"{", headers=JSON)
                assert answer.status_code == 403, (door.template, name)
                assert door.action in answer.json()["detail"]
                assert role.value in answer.json()["detail"]


def test_a_token_with_few_scopes_opens_few_doors(api: Api, services: Services):
    carol = services.directory.principal("carol")
    issued = services.tokens.issue("carol", by=carol, scopes=["approval.decide"])
    narrow = replace(api, token=issued.bearer)
    assert narrow.get("/api/v1/approvals").status_code == 403
    refused = narrow.post("/api/v1/approvals/none/revoke", {"evidence_fingerprint": "x", "reason": "x"})
    assert (refused.status_code, "scopes" in refused.json()["detail"]) == (403, True)
    assert narrow.post("/api/v1/approvals/none/approve", {"evidence_fingerprint": "x"}).status_code == 404


def test_a_revoked_token_and_a_deactivated_principal_are_out_at_once(api: Api, services: Services):
    by = services.directory.principal("ada")
    carol = api.as_("carol")
    assert carol.get("/api/v1/approvals").status_code == 200
    services.directory.deactivate("carol", by=by)
    assert carol.get("/api/v1/approvals").status_code == 401
    (token,) = services.tokens.list("mo")
    services.tokens.revoke(token.id, by=by)
    assert api.as_("mo").get("/api/v1/approvals").status_code == 401


def test_a_route_that_writes_and_declares_no_action_stops_the_application(services: Services):
    routes = APIRouter()
    routes.post("/thing")(lambda: None)
    with pytest.raises(ValueError, match="POST /thing writes, and declares no action"):
        Doors(services.access).add(routes)


def test_an_action_that_the_policy_lacks_stops_the_application(services: Services):
    routes = APIRouter()
    routes.post("/thing", dependencies=[Depends(allowed("thing.do"))])(lambda: None)
    with pytest.raises(ValueError, match=r"thing\.do, which .*access\.yaml does not list"):
        Doors(services.access).add(routes)


def test_a_route_without_its_gatekeeper_lets_nobody_in():
    app = FastAPI()
    add_problem_handlers(app)
    app.get("/read", dependencies=[Depends(let_through)])(lambda: 1)
    app.get("/act", dependencies=[Depends(allowed("run.launch"))])(lambda: 1)
    assert Api(app).get("/read").status_code == 401
    assert Api(app).get("/act").status_code == 500


@pytest.mark.parametrize("alias", ["/api/v1/ml/features/datasets", "/api/v1/ml/lifecycle/lifecycle/models"])
def test_an_alias_asks_for_a_token_too(api: Api, alias: str):
    assert replace(api, token=None).get(alias).status_code == 401
    assert api.get(alias).status_code == 200


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN[:-1], "토큰", "x" * 100_000])
def test_a_wrong_token_is_refused(api: Api, token: str):
    header = {"Authorization": b"Bearer " + token.encode()}
    assert replace(api, token=None).get("/api/v1/audit", headers=header).status_code == 401


def test_health_needs_no_token(api: Api):
    answer = replace(api, token=None).get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_a_browser_signs_in_to_a_report_with_the_token_as_password(api: Api, services: Services):
    page = f"/reports/{seal_report(services)}"
    nobody = replace(api, token=None)
    asked = nobody.get(page)
    assert asked.status_code == 401
    assert asked.headers["www-authenticate"].startswith("Basic")
    for password, status in ((TOKEN, 200), ("wrong", 401)):
        pair = base64.b64encode(f"anybody:{password}".encode()).decode()
        assert nobody.get(page, headers={"Authorization": f"Basic {pair}"}).status_code == status
    assert nobody.get(page, headers={"Authorization": "Basic %%%"}).status_code == 401
    assert api.get(page).status_code == 200


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/api/v1/audit?acter=mo", "Did you mean 'actor'?"),
        ("/api/v1/approvals?subject=a&status=approved", "takes no parameter 'status'. Did you mean 'state'?"),
        ("/api/v1/audit/verify?fast=1", "It takes none."),
    ],
)
def test_a_filter_that_a_route_does_not_know_is_refused_and_not_left_out(api: Api, path: str, words: str):
    answer = api.get(path)
    assert (answer.status_code, words in answer.json()["detail"]) == (422, True), answer.text


@pytest.mark.parametrize("path", ["/health?now=1", "/api/v1/features/datasets?_=1", "/api/v1/ml/features/datasets?_=1"])
def test_the_client_in_use_and_probes_may_send_more(api: Api, path: str):
    assert api.get(path).status_code == 200
