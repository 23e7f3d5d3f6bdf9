"""A write that is sent again under its key is answered again, and done once."""

from __future__ import annotations

import io
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi import APIRouter, Depends, FastAPI

from mlops_assets.kernel.clock import FixedClock
from mlops_assets.rest.answers import ABANDONED_AFTER, KEPT_FOR, Answers, Turn
from mlops_assets.rest.app import create_app
from mlops_assets.rest.gate import Doors, Gatekeeper, allowed
from mlops_assets.rest.idempotency import Idempotency
from mlops_assets.rest.problems import StillRunning, add_problem_handlers
from mlops_assets.storage.sql.tables import idempotency_key
from tests.rest.client import Api, MovingClock, Services, at_once, services_in, token_of, with_people

KEY = {"Idempotency-Key": "3f1c6c0e-8a55-4f0e-9f5e-2d1f4d9a7c10"}
ERIN = {"name": "erin", "roles": ["viewer"]}


@pytest.fixture
def moving(clock: FixedClock) -> MovingClock:
    return MovingClock(clock.at)


@pytest.fixture
def later(tmp_path: Path, moving: MovingClock) -> Services:
    return with_people(services_in(tmp_path, moving))


def additions(services: Services) -> int:
    return sum(entry.subject == "principals/erin" for entry in services.ledger.entries(action="principal.add"))


def test_the_same_request_is_done_once_and_answered_twice(api: Api, services: Services):
    ada = api.as_("ada")
    first = ada.post("/api/v1/principals", ERIN, headers=KEY)
    second = ada.post("/api/v1/principals", ERIN, headers=KEY)
    assert (first.status_code, second.status_code) == (201, 201)
    assert (first.content, first.headers["content-type"]) == (second.content, second.headers["content-type"])
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert additions(services) == 1


def test_without_a_key_it_is_done_twice(api: Api):
    ada = api.as_("ada")
    assert [ada.post("/api/v1/principals", ERIN).status_code for _ in range(2)] == [201, 409]


def test_a_refusal_is_repeated_too(api: Api, services: Services):
    ada = api.as_("ada")
    path, body = "/api/v1/principals/erin", {"is_active": False}
    refused = ada.ask("PATCH", path, json=body, headers=KEY)
    assert refused.status_code == 404
    ada.post("/api/v1/principals", ERIN)
    again = ada.ask("PATCH", path, json=body, headers=KEY)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (404, "true")
    assert ada.ask("PATCH", path, json=body).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/principals", {"name": "frank", "roles": ["viewer"]}),
        ("PATCH", "/api/v1/principals/erin", {"is_active": False}),
    ],
)
def test_a_key_is_for_one_request(api: Api, method: str, path: str, body: object):
    ada = api.as_("ada")
    ada.post("/api/v1/principals", ERIN, headers=KEY)
    other = ada.ask(method, path, json=body, headers=KEY)
    assert other.status_code == 422
    assert "another request" in other.json()["detail"]


def test_the_query_is_a_part_of_the_request(api: Api):
    carol, path = api.as_("carol"), "/api/v1/tokens/none?reason="
    answers = [carol.ask("DELETE", path + reason, headers=KEY) for reason in ("lost", "lost", "found")]
    assert [answer.status_code for answer in answers] == [404, 404, 422]
    assert "idempotency-replayed" in answers[1].headers


def test_a_key_is_its_principals_own(api: Api):
    body = {"days": 1}
    assert api.as_("carol").post("/api/v1/tokens", body, headers=KEY).status_code == 201
    assert api.as_("quinn").post("/api/v1/tokens", body, headers=KEY).status_code == 201


@pytest.mark.parametrize("key", ["short", "x" * 201, "has space in it", "quote'quote'", "schlüssel-schlüssel", ""])
def test_a_key_has_a_form(api: Api, services: Services, key: str):
    answer = api.as_("ada").post("/api/v1/principals", ERIN, headers={"Idempotency-Key": key.encode()})
    assert answer.status_code == 422
    assert "UUID" in answer.json()["detail"]
    assert additions(services) == 0


def test_a_secret_is_shown_once_and_kept_nowhere(api: Api, services: Services):
    ada = api.as_("ada")
    first = ada.post("/api/v1/tokens", {"principal": "carol"}, headers=KEY)
    assert first.status_code == 201
    bearer = first.json()["bearer"]
    second = ada.post("/api/v1/tokens", {"principal": "carol"}, headers=KEY)
    assert (second.status_code, second.headers["idempotency-replayed"]) == (409, "true")
    assert "kept nowhere" in second.json()["detail"]
    assert len(services.tokens.list("carol")) == 2
    services.database.dispose()
    for file in services.settings.home.rglob("*"):
        assert file.is_dir() or bearer.encode() not in file.read_bytes(), file


def test_equal_requests_at_the_same_instant_are_done_once(api: Api, services: Services):
    ada = api.as_("ada")
    answers = at_once(*[lambda: ada.post("/api/v1/principals", ERIN, headers=KEY)] * 4)
    found = Counter(answer.status_code for answer in answers)
    assert found[201] >= 1
    assert found.keys() <= {201, 409}
    for answer in answers:
        if answer.status_code == 409:
            assert ("in progress" in answer.json()["detail"], answer.headers["retry-after"]) == (True, "1")
    assert additions(services) == 1


def test_a_role_that_is_gone_gets_no_old_answer(api: Api, services: Services):
    ada, by = api.as_("ada"), services.directory.principal("local-operator")
    assert ada.post("/api/v1/principals", ERIN, headers=KEY).status_code == 201
    services.directory.take("ada", services.directory.get("ada").roles, by=by)
    assert ada.post("/api/v1/principals", ERIN, headers=KEY).status_code == 403


def test_an_answer_is_forgotten_after_a_day(later: Services, moving: MovingClock):
    ada = Api(create_app(later, log=io.StringIO()), token=token_of("ada"))
    ada.post("/api/v1/principals", ERIN, headers=KEY)
    moving.at += KEPT_FOR - timedelta(seconds=1)
    assert ada.post("/api/v1/principals", ERIN, headers=KEY).status_code == 201
    moving.at += timedelta(seconds=1)
    assert ada.post("/api/v1/principals", ERIN, headers=KEY).status_code == 409
    with later.database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(idempotency_key)) == 1


def test_a_request_that_died_keeps_its_key_for_minutes_only(later: Services, moving: MovingClock):
    answers = Answers(later.database, moving)
    died = answers.begin("ada", "key-of-a-request", "sha")
    assert isinstance(died, Turn)
    moving.at += ABANDONED_AFTER
    second = answers.begin("ada", "key-of-a-request", "sha")
    assert isinstance(second, Turn)
    answers.give_up(died)  # whoever was thought dead and speaks now changes nothing
    with pytest.raises(StillRunning, match="still in progress"):
        answers.begin("ada", "key-of-a-request", "sha")


def test_a_failure_of_the_platform_is_not_kept(services: Services):
    outcomes = iter([RuntimeError("it broke"), "done"])

    def act() -> str:
        outcome = next(outcomes)
        if isinstance(outcome, RuntimeError):
            raise outcome
        return outcome

    routes = APIRouter()
    routes.post("/act", dependencies=[Depends(allowed("run.launch"))])(act)
    doors = Doors(services.access)
    doors.add(routes)
    app = FastAPI()
    add_problem_handlers(app)
    app.include_router(routes)
    app.add_middleware(Idempotency, answers=Answers(services.database, services.clock), limit_bytes=1_000)
    signs_in = services.sign_in.principal_of
    app.add_middleware(Gatekeeper, doors=doors, principal_of=signs_in, access=services.access, without_database={})
    answers = [Api(app).post("/act", headers=KEY) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [500, 200, 200]
    assert answers[2].headers["idempotency-replayed"] == "true"
