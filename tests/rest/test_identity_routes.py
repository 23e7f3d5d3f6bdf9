"""People sign in, see who they are, and get only what is theirs; an admin manages the rest."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.identity.attempts import MOST
from mlops_assets.identity.claims import check_claimed
from mlops_assets.kernel.clock import FixedClock
from mlops_assets.kernel.errors import Forbidden
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.rest.app import create_app
from tests.rest.client import PEOPLE, Api, MovingClock, Services, services_in, token_of, with_people

LOGIN = "/api/v1/auth/login"


def signed_in(api: Api, name: str, password: str) -> Api:
    answer = api.post(LOGIN, {"username": name, "password": password})
    assert answer.status_code == 200, answer.text
    return Api(api.app, token=answer.json()["access_token"])


def test_a_name_and_a_token_give_a_token_for_hours(api: Api, services: Services):
    nobody = Api(api.app, token=None)
    answer = nobody.post(LOGIN, {"username": "carol", "password": token_of("carol")}).json()
    assert (answer["token_type"], answer["expires_in"], answer["principal"]) == ("bearer", 8 * 3600, "carol")
    assert answer["access_token"] != token_of("carol")
    me = Api(api.app, token=answer["access_token"]).get("/api/v1/auth/me").json()
    assert (me["name"], me["roles"], me["scopes"]) == ("carol", ["compliance"], ["*"])
    assert "approval.decide" in me["actions"]
    assert "principal.manage" not in me["actions"]
    (session,) = (token for token in services.tokens.list("carol") if token.label == "login")
    issued = list(services.ledger.entries(action="token.issue", actor="carol"))[-1]
    assert issued.subject == f"tokens/{session.id}"


def test_all_roles_change_together_or_none(api: Api, services: Services):
    ada = api.as_("ada")
    changed = ada.ask("PATCH", "/api/v1/principals/mo", json={"roles": ["quant", "viewer"], "reason": "moved desk"})
    assert changed.json()["roles"] == ["quant", "viewer"]
    told = [one.action for one in services.ledger.entries(subject="principals/mo")]
    assert told == ["principal.add", "principal.take", "principal.grant"]
    services.directory.take("local-operator", [Role.ADMIN], by=services.directory.principal("ada"))
    refused = ada.ask("PATCH", "/api/v1/principals/ada", json={"roles": ["viewer"]})
    assert refused.status_code == 409
    assert services.directory.get("ada").roles == {Role.ADMIN}


def test_the_session_has_the_tokens_scopes_and_ends_with_it(tmp_path: Path, clock: FixedClock):
    moving = MovingClock(clock.at)
    services = with_people(services_in(tmp_path, moving))
    api = Api(create_app(services, log=io.StringIO()), token=None)
    carol = services.directory.principal("carol")
    parent = services.tokens.issue("carol", by=carol, scopes=["platform.read"], days=1)
    session = signed_in(api, "carol", parent.bearer)
    assert session.get("/api/v1/auth/me").json()["scopes"] == ["platform.read"]
    moving.at += timedelta(hours=8)
    assert session.get("/api/v1/auth/me").status_code == 401
    moving.at += timedelta(hours=15)
    last = api.post(LOGIN, {"username": "carol", "password": parent.bearer}).json()
    assert last["expires_in"] == 3600


def test_a_session_cannot_prolong_itself(api: Api):
    session = signed_in(api, "carol", token_of("carol"))
    assert api.post(LOGIN, {"username": "carol", "password": session.token}).status_code == 401


def test_every_failure_to_sign_in_has_the_same_words(api: Api, services: Services):
    by = services.directory.principal("local-operator")
    services.directory.deactivate("mo", by=by)
    (revoked,) = services.tokens.list("max")
    services.tokens.revoke(revoked.id, by=by)
    pairs = [("carol", "wrong"), ("nobody", token_of("carol")), ("quincy", token_of("carol")), ("mo", token_of("mo"))]
    answers = [
        api.post(LOGIN, {"username": name, "password": said}) for name, said in [*pairs, ("max", token_of("max"))]
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].headers["www-authenticate"] == "Bearer"


def test_who_fails_too_often_waits_even_with_the_right_token(api: Api):
    for _ in range(MOST):
        assert api.post(LOGIN, {"username": "carol", "password": "wrong"}).status_code == 401
    refused = api.post(LOGIN, {"username": "carol", "password": token_of("carol")})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"username": "carol"},
        {"username": 5, "password": "x"},
        {"username": "carol", "password": True},
        {"username": "carol", "password": "x", "more": 1},
        {"username": "carol", "password": "x" * 401},
    ],
)
def test_a_sign_in_has_a_form_and_the_refusal_does_not_echo_it(api: Api, body: dict[str, Any]):
    answer = api.post(LOGIN, body)
    assert answer.status_code == 422
    assert "xxx" not in answer.text
    assert "input" not in answer.json()["detail"][0]


def test_an_admin_adds_changes_and_lists_people(api: Api, services: Services):
    ada = api.as_("ada")
    added = ada.post("/api/v1/principals", {"name": "erin", "kind": "person", "roles": ["viewer"], "reason": "joined"})
    assert (added.status_code, added.json()["roles"]) == (201, ["viewer"])
    changed = ada.ask("PATCH", "/api/v1/principals/erin", json={"roles": ["quant", "mlops"]})
    assert (changed.status_code, changed.json()["roles"]) == (200, ["mlops", "quant"])
    gone = ada.ask("PATCH", "/api/v1/principals/erin", json={"is_active": False, "reason": "left"})
    assert gone.json()["is_active"] is False
    found = [(entry.action, entry.actor) for entry in services.ledger.entries(subject="principals/erin")]
    assert found == [
        ("principal.add", "ada"),
        ("principal.take", "ada"),
        ("principal.grant", "ada"),
        ("principal.deactivate", "ada"),
    ]


def test_the_last_admin_stays_one_and_nothing_is_half_done(api: Api, services: Services):
    ada = api.as_("ada")
    operator = sorted(services.directory.get("local-operator").roles - {Role.ADMIN})
    assert ada.ask("PATCH", "/api/v1/principals/local-operator", json={"roles": operator}).status_code == 200
    refused = ada.ask("PATCH", "/api/v1/principals/ada", json={"roles": ["viewer"]})
    assert (refused.status_code, "No active admin" in refused.json()["detail"]) == (409, True)
    assert services.directory.get("ada").roles == {Role.ADMIN}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "carol", "roles": []}, 409),
        ({"name": "Carol", "roles": []}, 409),
        ({"name": "../etc", "roles": []}, 422),
        ({"name": "erin\u0000", "roles": []}, 422),
        ({"name": "\u212aelvin", "roles": []}, 422),
        ({"name": "erin", "roles": ["king"]}, 422),
        ({"name": "erin", "roles": "viewer"}, 422),
        ({"name": "erin", "roles": [], "is_admin": True}, 422),
    ],
)
def test_a_principal_that_cannot_be_is_refused(api: Api, body: dict[str, Any], status: int):
    answer = api.as_("ada").post("/api/v1/principals", body)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]


@pytest.mark.parametrize("body", [{}, {"reason": "x"}, {"roles": [], "is_active": True}, {"roles": None}])
def test_a_change_is_one_thing(api: Api, body: dict[str, Any]):
    assert api.as_("ada").ask("PATCH", "/api/v1/principals/carol", json=body).status_code == 422


def test_people_are_paged_by_name_however_many_join_meanwhile(api: Api):
    ada, seen, cursor = api.as_("ada"), [], None
    for number in range(20):
        page = ada.get("/api/v1/principals", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [one["name"] for one in page["principals"]]
        if (cursor := page["next_cursor"]) is None:
            break
        ada.post("/api/v1/principals", {"name": f"a-{number}", "roles": []})
    assert seen == sorted(seen)
    assert len(seen) == len(set(seen))
    assert set(seen) >= {*PEOPLE, "dagster", "local-operator"}


def test_a_token_is_issued_listed_without_its_secret_and_revoked(api: Api):
    carol = api.as_("carol")
    issued = carol.post("/api/v1/tokens", {"scopes": ["approval.*"], "days": 30, "label": "tablet"})
    assert issued.status_code == 201
    bearer, token = issued.json()["bearer"], issued.json()["token"]
    assert (token["scopes"], token["issued_by"]) == (["approval.*"], "carol")
    tablet = Api(api.app, token=bearer)
    listed = carol.get("/api/v1/tokens")
    assert token in listed.json()["tokens"]
    assert bearer not in listed.text
    assert {one["principal"] for one in listed.json()["tokens"]} == {"carol"}
    assert tablet.get("/api/v1/approvals").status_code == 403
    revoked = carol.ask("DELETE", f"/api/v1/tokens/{token['id']}?reason=lost")
    assert (revoked.status_code, bool(revoked.json()["revoked_at"])) == (200, True)
    assert tablet.get("/api/v1/approvals").status_code == 401


def test_somebody_elses_tokens_are_an_admins_business(api: Api, services: Services):
    (cs,) = services.tokens.list("carol")
    quincy, ada = api.as_("quincy"), api.as_("ada")
    assert quincy.get("/api/v1/tokens?principal=carol").status_code == 403
    assert quincy.post("/api/v1/tokens", {"principal": "carol"}).status_code == 403
    assert quincy.ask("DELETE", f"/api/v1/tokens/{cs.id}").status_code == 403
    assert [one["id"] for one in ada.get("/api/v1/tokens?principal=carol").json()["tokens"]] == [cs.id]
    assert len({one["principal"] for one in ada.get("/api/v1/tokens").json()["tokens"]}) > 3
    assert ada.post("/api/v1/tokens", {"principal": "carol"}).status_code == 201


def test_a_token_never_has_more_than_its_issuer(api: Api, services: Services):
    carol = services.directory.principal("carol")
    narrow = services.tokens.issue("carol", by=carol, scopes=["token.issue", "platform.read"])
    wide = Api(api.app, token=narrow.bearer).post("/api/v1/tokens", {"scopes": ["*"]})
    assert (wide.status_code, "more than carol has" in wide.json()["detail"]) == (403, True)


@pytest.mark.parametrize(
    "body", [{"scopes": []}, {"days": 0}, {"days": 1.5}, {"days": "30"}, {"days": 10**9}, {"x": 1}]
)
def test_a_token_that_cannot_be_is_refused(api: Api, body: dict[str, Any]):
    assert api.as_("ada").post("/api/v1/tokens", body).status_code == 422


def test_a_scope_that_includes_nothing_is_400_and_names_what_is_near(api: Api):
    answer = api.as_("ada").post("/api/v1/tokens", {"scopes": ["platform.reed"]})
    assert (answer.status_code, "platform.read" in answer.json()["detail"]) == (400, True)


def test_whoever_is_named_in_a_body_must_be_who_signed_in():
    caller = Principal(name="carol", roles=frozenset())
    check_claimed(caller, reviewer=None, approved_by="carol")
    with pytest.raises(Forbidden, match="approved_by names 'mo', and the token is carol's"):
        check_claimed(caller, reviewer="carol", approved_by="mo")
