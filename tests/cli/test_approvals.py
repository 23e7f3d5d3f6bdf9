"""`mlops approvals`: the queue, the verbs, and one clear line for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from mlops_assets.kernel.clock import SystemClock
from mlops_assets.kernel.identity import Role
from tests.cli.people import sign_in_as
from tests.rest.client import Services, request_deployment, services_in


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """Stores with one request that waits, seen by a compliance officer."""
    made = services_in(tmp_path, SystemClock())
    monkeypatch.setenv("MLOPS_HOME", str(made.settings.home))
    request_deployment(made)
    sign_in_as(made, monkeypatch, "ann", Role.COMPLIANCE)
    return made


@pytest.mark.usefixtures("services")
def test_the_queue_says_what_is_needed_and_show_says_everything(mlops):
    (waiting,) = mlops("approvals", "queue", "--json").json
    assert (waiting["needed"], waiting["overdue"], waiting["state"]) == ("2 more", False, "submitted")
    shown = mlops("approvals", "show", waiting["id"], "--json").json
    assert [one["part"] for one in shown["evidence"]] == ["registered", "request", "tier_rule"]
    assert shown["evidence_is_intact"] is True
    assert [one["action"] for one in shown["history"]] == ["approval.draft", "approval.submit"]
    assert "quincy (submitter)" in shown["parties"]
    table = mlops("approvals", "show", waiting["id"])
    assert (table.code, table.err) == (0, "")


@pytest.mark.usefixtures("services")
def test_the_list_shows_what_is_closed_only_if_asked_for(mlops):
    (waiting,) = mlops("approvals", "list", "--json").json
    assert mlops("approvals", "reject", waiting["id"], "--note", "no skill").code == 0
    assert mlops("approvals", "list", "--json").json == []
    for asked in (["--all"], ["--state", "rejected"]):
        assert [one["id"] for one in mlops("approvals", "list", *asked, "--json").json] == [waiting["id"]]


def test_review_override_and_revoke_move_the_request(mlops, services: Services, monkeypatch: pytest.MonkeyPatch):
    (waiting,) = mlops("approvals", "queue", "--json").json
    assert mlops("approvals", "review", waiting["id"], "--json").json["state"] == "in_review"
    first = mlops("approvals", "override", waiting["id"], "--reason", "the feed is down", "--json").json
    assert (first["state"], first["override"]) == ("in_review", False)
    sign_in_as(services, monkeypatch, "max", Role.MLOPS)
    second = mlops("approvals", "override", waiting["id"], "--reason", "so it is", "--json").json
    assert (second["state"], second["override"]) == ("approved", True)
    assert mlops("approvals", "revoke", waiting["id"], "--reason", "over", "--json").json["state"] == "revoked"
    assert services.checkpoints.latest() is not None
    assert services.ledger.verify().is_intact


def test_show_says_who_issued_the_token_that_decided(mlops, services: Services, monkeypatch: pytest.MonkeyPatch):
    """An admin who had a hand in the work can issue a token in ann's name: nothing prevents it, and this tells it."""
    (waiting,) = mlops("approvals", "queue", "--json").json
    approved = mlops("approvals", "approve", waiting["id"], "--json")
    assert approved.code == 0
    (token,) = services.tokens.list("ann")
    (decision,) = mlops("approvals", "show", waiting["id"], "--json").json["decisions"]
    assert (decision["credential"], decision["issued_by"]) == (token.credential, ["local-operator"])
    (entry,) = services.ledger.entries(action="approval.approve")
    assert entry.details["credential"] == token.credential
    with services.database.begin() as connection:
        party = {"id": services.approvals.find(waiting["id"]).id}
        connection.execute(sa.text("INSERT INTO approval_party VALUES (:id, 'local-operator', 'launcher')"), party)
    (decision,) = mlops("approvals", "show", waiting["id"], "--json").json["decisions"]
    assert decision["issued_by"] == ["local-operator (launcher)"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("list", "--state", "aproved"), "unknown_reference", "approved"),
        (("show", "zz"), "not_found", "mlops approvals list"),
        (("show", "%"), "not_found", "mlops approvals list"),
        (("submit", "ID"), "forbidden", "approval.submit"),
        (("reject", "ID", "--note", " "), "invalid_request", "Give a note"),
        (("approve", "ID", "--note", "x" * 2_001), "invalid_request", "2000"),
        (("override", "ID", "--reason", ""), "invalid_request", "Give a reason"),
        (("revoke", "ID", "--reason", ""), "invalid_request", "Give a reason"),
        (("list", "--after", "0" * 64), "not_found", "mlops approvals list"),
    ],
    ids=lambda one: one[0] if isinstance(one, tuple) else None,
)
def test_a_mistake_is_one_line_with_what_to_do(
    mlops, services: Services, arguments: tuple[str, ...], code: str, words: str
):
    (request,) = services.approvals.list()
    answer = mlops("approvals", *(request.id if one == "ID" else one for one in arguments))
    assert (answer.code, answer.err.count("\n")) == (1, 1)
    assert answer.err.startswith(f"error [{code}]")
    assert words in answer.err
    assert services.approvals.get(request.id) == request
