"""`mlops alerts` over an installation in a temporary folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_assets.alerts.alert import Alert, Severity
from mlops_assets.identity.principals import Declared, Kind
from mlops_assets.kernel.identity import Role
from mlops_assets.services import ServiceFactory
from mlops_assets.settings import load_settings
from tests.alerts.worlds import SECRET, Answer, WebReceiver


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServiceFactory:
    """An installation with its first principal; commands of this test find it."""
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    monkeypatch.setenv("MLOPS_LOCALE", "en")
    made = ServiceFactory(load_settings())
    made.database.migrate()
    made.directory.bootstrap(made.settings.operator_name)
    made.operator_file.ensure(made.settings.operator_name)
    return made


def raised(services: ServiceFactory, key: str = "drift:1", severity: Severity = Severity.HIGH) -> str:
    alert = Alert(key=key, kind="drift", severity=severity, subject="drift/m", summary="rsi moved", details={"psi": 1})
    return services.alerts.raise_alert(alert, "dagster").id


def test_alerts_are_listed_and_shown_with_their_state_on_each_channel(mlops, services: ServiceFactory):
    low, high = raised(services, "a", Severity.LOW), raised(services, "b")
    rows = mlops("alerts", "list", "--json").json
    assert [(row["id"], row["severity"], row["channels"]) for row in rows] == [
        (high[:12], "high", {"log": "pending"}),
        (low[:12], "low", {"log": "pending"}),
    ]
    assert [row["id"] for row in mlops("alerts", "list", "--severity", "low", "--json").json] == [low[:12]]
    shown = mlops("alerts", "show", high[:8], "--json").json
    assert (shown["id"], shown["key"], shown["details"]) == (high, "b", {"psi": 1})
    assert "rsi moved" in mlops("alerts", "show", high[:8]).out
    assert "log: pending" in mlops("alerts", "list").out


def test_an_unknown_severity_or_alert_is_one_line(mlops, services: ServiceFactory):
    answer = mlops("alerts", "list", "--severity", "hihg")
    assert (answer.code, answer.err) == (
        1,
        "error [unknown_reference]: mlops alerts list: field '--severity': no severity is called 'hihg'; "
        "did you mean 'high'?\n",
    )
    answer = mlops("alerts", "show", "ff")
    assert (answer.code, answer.err.split(":")[0]) == (1, "error [not_found]")


def test_a_test_goes_through_every_channel_and_says_which_took_it(
    mlops, services: ServiceFactory, monkeypatch: pytest.MonkeyPatch
):
    answer = mlops("alerts", "test", "--json")
    assert answer.code == 0
    assert [(row["channel"], row["state"]) for row in answer.json] == [("log", "delivered")]
    assert "alerts reach this channel" in (services.settings.logs_path / "alerts.jsonl").read_text()
    monkeypatch.setenv("MLOPS_ALERT_WEBHOOK_SECRET", SECRET)
    with WebReceiver([Answer(status=403, body=b"who are you")]) as receiver:
        monkeypatch.setenv("MLOPS_ALERT_WEBHOOK_URL", receiver.url)
        answer = mlops("alerts", "test", "--json")
    assert answer.code == 1
    assert [(row["channel"], row["state"], row["last_error"]) for row in answer.json] == [
        ("log", "delivered", ""),
        ("webhook", "dead", "HTTP 403: who are you"),
    ]
    entries = [(entry.actor, entry.action) for entry in services.ledger.entries(subject="alerts")]
    assert set(entries) == {
        (services.settings.operator_name, f"alert.{verb}") for verb in ("raise", "deliver", "dead_letter")
    }


def test_dead_letters_are_listed_and_made_due_again(mlops, services: ServiceFactory, monkeypatch: pytest.MonkeyPatch):
    assert mlops("alerts", "dead").code == 0
    monkeypatch.setenv("MLOPS_ALERT_WEBHOOK_SECRET", SECRET)
    with WebReceiver([Answer(status=404)]) as receiver:
        monkeypatch.setenv("MLOPS_ALERT_WEBHOOK_URL", receiver.url)
        assert mlops("alerts", "test").code == 1
        answer = mlops("alerts", "dead", "--json")
        assert answer.code == 1
        (letter,) = answer.json
        assert (letter["channel"], letter["attempts"], letter["last_error"]) == ("webhook", 1, "HTTP 404")
        (revived,) = mlops("alerts", "retry", letter["id"], "--json").json
        assert (revived["channel"], revived["state"], revived["attempts"]) == ("webhook", "pending", 0)
        ServiceFactory(load_settings()).alerts.deliver_due(by="dagster")
    assert mlops("alerts", "dead").code == 0
    answer = mlops("alerts", "retry", letter["id"])
    assert (answer.code, answer.err.split(":")[0]) == (1, "error [conflict]")


@pytest.mark.parametrize("arguments", [("test",), ("retry", "ab")])
def test_who_may_not_handle_alerts_sends_nothing(
    mlops, services: ServiceFactory, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
):
    admin = services.directory.principal(services.settings.operator_name)
    services.directory.add(Declared(name="vera", kind=Kind.PERSON, roles=frozenset({Role.VIEWER})), by=admin)
    token = services.tokens.issue("vera", by=admin)
    monkeypatch.setenv("MLOPS_TOKEN", token.bearer)
    answer = mlops("alerts", *arguments)
    assert (answer.code, answer.err.split(":")[0]) == (1, "error [forbidden]")
    assert services.alerts.list() == []
