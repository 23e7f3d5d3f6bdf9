"""`mlops principals|tokens|whoami|access`: who there is, who acts, and with what."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_assets.kernel.clock import SystemClock
from mlops_assets.kernel.identity import Role
from mlops_assets.services import ServiceFactory
from mlops_assets.settings import load_settings
from tests.cli.people import sign_in_as
from tests.rest.client import Services, services_in


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """An installation after its first start; commands of this test find it and act as its operator."""
    made = services_in(tmp_path, SystemClock())
    made.directory.bootstrap("local-operator")
    made.operator_file.ensure("local-operator")
    monkeypatch.setenv("MLOPS_HOME", str(made.settings.home))
    monkeypatch.delenv("MLOPS_TOKEN", raising=False)
    return made


@pytest.mark.usefixtures("services")
def test_the_operators_file_says_who_acts(mlops):
    shown = mlops("whoami", "--json").json
    assert (shown["name"], shown["scopes"]) == ("local-operator", ["*"])
    assert shown["roles"] == ["admin", "data_engineer", "mlops", "quant"]
    assert shown["credential"].startswith("token:")
    assert shown["expires_at"] > "2024"
    assert "may" not in shown
    may = mlops("whoami", "--can", "--json").json["may"]
    assert {"principal.manage", "run.launch", "platform.read"} <= set(may)


def test_a_person_is_added_gets_a_token_and_acts_with_it(mlops, services: Services, monkeypatch: pytest.MonkeyPatch):
    added = mlops("principals", "add", "kim", "--role", "compliance", "--reason", "new colleague", "--json").json
    assert (added["name"], added["roles"], added["managed_by"]) == ("kim", ["compliance"], "hand")
    issued = mlops("tokens", "issue", "kim", "--scope", "approval.*", "--days", "5", "--json").json
    monkeypatch.setenv("MLOPS_TOKEN", issued["token"])
    shown = mlops("whoami", "--can", "--json").json
    assert (shown["name"], shown["scopes"]) == ("kim", ["approval.*"])
    assert {action.partition(".")[0] for action in shown["may"]} == {"approval"}
    refused = mlops("principals", "grant", "kim", "admin")
    assert (refused.code, refused.err.split(":")[0]) == (1, "error [forbidden]")
    monkeypatch.delenv("MLOPS_TOKEN")
    assert mlops("tokens", "revoke", issued["id"], "--json").json["state"] == "revoked"
    monkeypatch.setenv("MLOPS_TOKEN", issued["token"])
    assert mlops("whoami").err.startswith("error [unauthenticated]")
    assert services.ledger.verify().is_intact


@pytest.mark.usefixtures("services")
def test_a_secret_is_shown_at_its_issue_alone(mlops):
    secret = mlops("tokens", "issue", "local-operator", "--json").json["token"].split("_", 2)[2]
    for arguments in (("tokens", "list"), ("tokens", "list", "--json"), ("whoami", "--json"), ("audit", "log")):
        assert secret not in mlops(*arguments).out
    said = mlops("tokens", "issue", "local-operator").out
    assert "mlops_" in said
    assert "can't be shown again" in said


@pytest.mark.usefixtures("services")
def test_every_change_of_a_principal_has_its_verb(mlops):
    assert mlops("principals", "add", "kim", "--role", "quant").code == 0
    assert mlops("principals", "grant", "kim", "mlops", "viewer", "--json").json["roles"] == [
        "mlops",
        "quant",
        "viewer",
    ]
    assert mlops("principals", "take", "kim", "quant", "--json").json["roles"] == ["mlops", "viewer"]
    assert mlops("principals", "deactivate", "kim", "--json").json["is_active"] is False
    assert mlops("principals", "reactivate", "kim", "--json").json["is_active"] is True
    assert {row["name"] for row in mlops("principals", "list", "--json").json} == {"dagster", "kim", "local-operator"}
    assert mlops("principals", "take", "local-operator", "admin").err.startswith("error [conflict]")


@pytest.mark.usefixtures("services")
def test_what_is_wrong_is_one_line_with_its_remedy(mlops):
    for arguments, code, words in (
        (("principals", "add", "kim", "--role", "boss"), "unknown_reference", "boss"),
        (("principals", "add", "kim", "--role", "quant", "--kind", "robot"), "unknown_reference", "robot"),
        (("principals", "add", "k m", "--role", "quant"), "invalid_principal", "k m"),
        (("principals", "grant", "local-operater", "quant"), "not_found", "local-operator"),
        (("tokens", "issue", "nobody"), "forbidden", "nobody"),
        (("tokens", "issue", "local-operator", "--days", "400"), "invalid_token", "366"),
        (("tokens", "revoke", "x"), "not_found", "mlops tokens list"),
    ):
        answer = mlops(*arguments)
        assert (answer.code, answer.err.split(":")[0]) == (1, f"error [{code}]"), arguments
        assert words in answer.err
        assert answer.err.count("\n") == 1


def test_a_principals_file_is_applied_and_then_holds(
    mlops, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "principals.yaml"
    file.write_text("principals:\n  - {name: kim, kind: person, roles: [quant]}\n")
    assert mlops("principals", "apply").code == 2
    monkeypatch.setenv("MLOPS_PRINCIPALS_FILE", str(file))
    assert [row["action"] for row in mlops("principals", "apply", "--json").json] == ["principal.add"]
    assert mlops("principals", "apply", "--json").json == []
    refused = mlops("principals", "deactivate", "kim")
    assert (refused.code, str(file) in refused.err) == (1, True)
    sign_in_as(services, monkeypatch, "kim")
    assert mlops("principals", "apply").err.startswith("error [forbidden]")


def test_nobody_acts_without_a_token(mlops, services: Services):
    services.settings.api_token_path.unlink()
    answer = mlops("principals", "add", "kim", "--role", "quant")
    assert answer.err.startswith("error [unauthenticated]")
    assert "MLOPS_TOKEN" in answer.err
    assert mlops("principals", "list").code == 0


def test_the_table_of_who_may_do_what_needs_no_installation(mlops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "nothing"))
    rows = {row["action"]: row["roles"] for row in mlops("access", "--json").json}
    assert rows["principal.manage"] == [Role.ADMIN]
    assert not (tmp_path / "nothing").exists()


def test_a_catalogue_may_bring_its_own_table(mlops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    table = tmp_path / "access.yaml"
    table.write_text("platform.read: {roles: [viewer], description: See everything.}")
    monkeypatch.setenv("MLOPS_CATALOG_PATH", str(tmp_path))
    assert [row["action"] for row in mlops("access", "--json").json] == ["platform.read"]
    table.write_text("platform.read: {roles: [boss], description: See everything.}")
    answer = mlops("access")
    assert (answer.code, answer.err.split(":")[0]) == (1, "error [invalid_declaration]")
    assert str(table) in answer.err


def test_a_first_start_prepares_who_acts_and_another_one_changes_nothing(
    mlops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLOPS_OPERATOR_NAME", "ops@desk")
    services = ServiceFactory(load_settings())
    for _ in range(2):
        services.prepare()
        assert [entry.action for entry in services.ledger.entries()] == ["principal.add"] * 2 + ["token.issue"]
    assert mlops("whoami", "--json").json["name"] == "ops@desk"
