"""Commands answer from the stores: a table for people, JSON for programs, an exit code for scripts."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_assets.kernel.clock import SystemClock
from mlops_assets.kernel.identity import Role
from tests.cli.people import sign_in_as
from tests.rest.client import Services, publish, request_deployment, seal_report, services_in


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """Stores with a table, a report and a deployment that waits; commands of this test find them."""
    made = services_in(tmp_path, SystemClock())  # as the commands do: a request expires
    monkeypatch.setenv("MLOPS_HOME", str(made.settings.home))
    publish(made, "features/momentum", {"symbol": ["AAPL"], "return_1d": [0.1]})
    seal_report(made)
    request_deployment(made)
    sign_in_as(made, monkeypatch, "ann", Role.COMPLIANCE)
    return made


LISTINGS = [
    ("features", "list"),
    ("features", "show", "momentum"),
    ("audit", "log"),
    ("audit", "verify"),
    ("approvals", "list"),
    ("deployments", "list"),
    ("prompts", "list"),
    ("drift", "list"),
    ("report", "show", "covid_crash"),
    ("kpis",),
]


@pytest.mark.parametrize("arguments", LISTINGS, ids=" ".join)
@pytest.mark.usefixtures("services")
def test_every_listing_has_a_table_and_json(mlops, arguments: tuple[str, ...]):
    table = mlops(*arguments)
    assert (table.code, table.err) == (0, "")
    assert table.out
    assert mlops(*arguments, "--json").json is not None


@pytest.mark.usefixtures("services")
def test_a_broken_ledger_is_an_exit_code(mlops, tmp_path: Path):
    export = tmp_path / "ledger.jsonl"
    assert mlops("audit", "export", str(export)).code == 0
    assert mlops("audit", "verify", "--export", str(export)).code == 0
    lines = export.read_text().splitlines()
    export.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    answer = mlops("audit", "verify", "--export", str(export), "--json")
    assert (answer.code, answer.json["status"], answer.json["first_bad"]) == (1, "broken", 2)


@pytest.mark.usefixtures("services")
def test_a_name_that_is_not_declared_is_one_line_with_the_near_miss(mlops):
    answer = mlops("features", "show", "momentun")
    assert answer.code == 1
    assert answer.err.startswith("error [unknown_reference]: ")
    assert "'momentum'" in answer.err
    assert answer.err.count("\n") == 1
    assert "Traceback" not in answer.err


def test_an_approval_needs_two_others_than_its_author(mlops, services: Services, monkeypatch: pytest.MonkeyPatch):
    (request,) = mlops("approvals", "list", "--json").json
    short = request["id"][:6]
    for name, decisions, state in (("ann", "1 of 2", "in_review"), ("bob", "2 of 2", "approved")):
        sign_in_as(services, monkeypatch, name, Role.MLOPS)
        decided = mlops("approvals", "approve", short, "--note", "looked at it", "--json").json
        assert (decided["approvals"], decided["state"]) == (decisions, state)
    again = mlops("approvals", "approve", short)
    assert (again.code, again.err.split(":")[0]) == (1, "error [conflict]")
    shown = mlops("approvals", "show", short, "--json").json
    assert [one["approver"] for one in shown["decisions"]] == ["ann", "bob"]
    assert services.ledger.verify().is_intact


def test_the_author_of_a_request_cannot_approve_it(mlops, services: Services, monkeypatch: pytest.MonkeyPatch):
    sign_in_as(services, monkeypatch, "quincy", Role.COMPLIANCE)
    (request,) = mlops("approvals", "list", "--json").json
    answer = mlops("approvals", "approve", request["id"])
    assert (answer.code, answer.err.split(":")[0]) == (1, "error [forbidden]")


def test_without_stores_the_answer_is_how_to_make_them(mlops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "nothing"))
    answer = mlops("kpis")
    assert (answer.code, answer.err.split(":")[0]) == (1, "error [store_unavailable]")
    assert "mlops_assets up" in answer.err
    assert not (tmp_path / "nothing").exists()


@pytest.mark.usefixtures("services")
def test_the_doctor_finds_a_damaged_file(mlops, services: Services):
    assert mlops("doctor", "--json").code == 0
    (path,) = services.snapshots.paths(services.snapshots.head("features/momentum"))
    path.chmod(0o644)
    path.write_bytes(b"not what was published")
    answer = mlops("doctor", "--json")
    (finding,) = [one for one in answer.json if not one["is_well"]]
    assert (answer.code, finding["what"]) == (1, "snapshots")
    assert "SHA-256" in finding["remedy"]


def test_a_wrong_setting_is_one_line(mlops, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLOPS_UI_PORT", "many")
    answer = mlops("kpis")
    assert (answer.code, answer.err.split(":")[0]) == (1, "error [invalid_settings]")


def test_what_is_not_understood_has_its_own_exit_code(mlops):
    assert mlops("kpiss").code == 2
    assert mlops("audit", "log", "--limit", "-1").code == 2
