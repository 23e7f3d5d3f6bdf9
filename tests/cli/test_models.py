"""`mlops models`, `mlops new model` and `mlops reproduce` answer in words and in JSON, and say no with an exit code."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from mlops_assets.kernel.clock import SystemClock
from mlops_assets.kernel.identity import Role
from mlops_assets.settings import PACKAGE
from tests.cli.people import sign_in_as
from tests.lifecycle.registered import MODEL, services_with_versions
from tests.rest.client import Services


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    services = services_with_versions(tmp_path, SystemClock())
    monkeypatch.setenv("MLOPS_HOME", str(services.settings.home))
    sign_in_as(services, monkeypatch, "vera", Role.VIEWER)
    return services


def test_versions_are_listed_with_their_loss_and_which_is_the_latest(services: Services, mlops):
    shown = mlops("models", "list")
    assert shown.code == 0
    assert all(text in shown.out for text in ("signal_classifier@1", "signal_classifier@2", "log_loss", "base_rate"))
    rows = mlops("models", "list", "--model", MODEL, "--json").json
    assert [(row["version"], row["is_latest"]) for row in rows] == [
        ("signal_classifier@1", False),
        ("signal_classifier@2", True),
    ]
    first = services.models.get(MODEL, 1)
    assert rows[0]["on_test"] == first.metrics["test/log_loss"]
    assert rows[0]["artifact_sha256"] == first.artifact_sha256
    assert mlops("models", "list", "--model", "nobody", "--json").json == []


def test_one_screen_says_what_a_reviewer_asks_for(services: Services, mlops):
    shown = mlops("models", "show", f"{MODEL}@1")
    one = services.models.get(MODEL, 1)
    said = one.metadata
    flat = re.sub(r"[│\s]+", " ", shown.out)
    assert shown.code == 0
    for text in (
        one.fingerprint,
        one.artifact_sha256,
        one.training_set_fingerprint,
        "lightgbm-text",
        said["purpose"],
        *said["limitations"],
        *said["assumptions"],
        "momentum 1.",
        "train to valid: 2 sessions",
        "momentum_sign",
        said["walk_forward"][0]["first"],
    ):
        assert str(text) in flat, text
    assert "@2" in mlops("models", "show", MODEL).out
    everything = mlops("models", "show", f"models/{MODEL}@1", "--json").json
    assert everything["metadata"]["declaration"] == dict(said["declaration"])


def test_a_version_that_is_not_there_is_an_error_that_says_what_is(services: Services, mlops):
    assert "signal_classifier" in mlops("models", "show", "signal_clasifier").err
    assert "Registered versions of signal_classifier: 1, 2" in mlops("models", "show", f"{MODEL}@9").err
    assert mlops("models", "show", f"{MODEL}@x").code == 2
    assert mlops("reproduce", f"{MODEL}@9").code == 1


def test_two_versions_are_compared_with_verdicts(services: Services, mlops):
    shown = mlops("models", "compare", MODEL, "1", "2")
    assert shown.code == 0
    assert "log_loss (loss)" in shown.out
    assert "Beside version 1, 90 % interval" in shown.out
    found = mlops("models", "compare", MODEL, "1", "2", "--json").json
    assert set(found["values"]["auc"]) == {"1", "2"}
    assert {one["verdict"] for one in found["differences"]} <= {"better", "worse", "higher", "lower", "not told apart"}
    assert mlops("models", "compare", MODEL, "1", "1").code == 2
    unknown = mlops("models", "compare", MODEL, "1", "7")
    assert (unknown.code, "signal_classifier@7" in unknown.err) == (1, True)


def test_reproducing_a_version_exits_with_yes_and_names_each_part(services: Services, mlops):
    shown = mlops("reproduce", f"{MODEL}@1", "--from-bars")
    assert shown.code == 0
    assert "models/signal_classifier@1 is reproduced bit for bit" in shown.out
    parts = ["training set", "training set built again", "declaration", "code", "environment", "artifact", "metrics"]
    assert all(part in shown.out for part in parts)
    found = mlops("reproduce", MODEL, "--json").json
    assert (found["version"], found["is_exact"]) == ("models/signal_classifier@2", True)


def test_a_version_that_does_not_come_out_again_exits_with_no(services: Services, mlops):
    with services.database.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER model_version_keeps_identity")
        connection.exec_driver_sql("UPDATE model_version SET code_version = 'other' WHERE version = 1")
    shown = mlops("reproduce", f"{MODEL}@1")
    assert shown.code == 1
    assert "is not reproduced" in shown.out
    assert "DIFFERS" in shown.out
    found = mlops("reproduce", f"{MODEL}@1", "--json")
    assert (found.code, found.json["is_exact"]) == (1, False)


def test_nobody_who_is_not_signed_in_sees_a_version(services: Services, mlops, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLOPS_TOKEN", "no-token")
    for arguments in (("models", "list"), ("models", "show", MODEL), ("reproduce", MODEL)):
        answer = mlops(*arguments)
        assert (answer.code, "unauthenticated" in answer.err) == (1, True)


def test_a_new_model_is_started_and_what_is_left_to_write_is_named(tmp_path: Path, mlops, monkeypatch):
    catalogue = shutil.copytree(PACKAGE / "catalog", tmp_path / "catalog")
    monkeypatch.setenv("MLOPS_CATALOG_PATH", str(catalogue))
    started = mlops("new", "model", "dividend_forecast", "--kind", "forecast", "--owner", "team:income")
    assert started.code == 0
    assert "purpose, scope, assumptions.0" in started.out
    assert "owner: team:income" in (catalogue / "models" / "dividend_forecast.yaml").read_text("utf-8")
    again = mlops("new", "model", "dividend_forecast", "--kind", "forecast")
    assert (again.code, "is there already" in again.err) == (1, True)
    assert "did you mean 'forecast'" in mlops("new", "model", "another_one", "--kind", "forcast").err
    left = mlops("new", "model", "another_one", "--kind", "regime", "--json").json["to_write"]
    assert left[:2] == ["description", "purpose"]
