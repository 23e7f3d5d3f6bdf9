"""`mlops mirrors` over an installation in a temporary folder."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from mlops_assets.services import ServiceFactory
from mlops_assets.settings import load_settings


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServiceFactory:
    """An installation with one document for the mirrors."""
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    monkeypatch.setenv("MLOPS_LOCALE", "en")
    made = ServiceFactory(load_settings())
    made.database.migrate()
    made.directory.bootstrap(made.settings.operator_name)
    made.operator_file.ensure(made.settings.operator_name)
    with made.database.begin() as connection:
        made.mirror_outbox.put(connection, "serving", "m/staging", 1, {"epoch": 1})
    return made


def test_without_a_mirror_that_is_said(mlops, services: ServiceFactory):
    for command in ("status", "deliver"):
        answer = mlops("mirrors", command)
        assert (answer.code, "set MLOPS_MONGODB_URL or MLOPS_WANDB_MODE" in answer.out) == (0, True)
    answer = mlops("mirrors", "resend", "--target", "mongodb")
    assert (answer.code, answer.err.split(":")[0]) == (1, "error [unknown_reference]")


def test_a_mirror_that_is_down_lags_and_says_why(mlops, services: ServiceFactory, monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        monkeypatch.setenv("MLOPS_MONGODB_URL", f"mongodb://ana:s3cret@127.0.0.1:{port}/")
        answer = mlops("mirrors", "deliver", "--json")
    (turn,) = answer.json
    assert (answer.code, turn["target"], turn["delivered"]) == (1, "mongodb", 0)
    assert "ServerSelectionTimeoutError" in turn["problem"]
    answer = mlops("mirrors", "status", "--json")
    (row,) = answer.json
    assert (answer.code, row["documents"], row["undelivered"]) == (1, 1, 1)
    assert row["last_error"].startswith("MongoDB: ServerSelectionTimeoutError")
    assert 0 <= row["oldest_undelivered_seconds"] < 30
    found = {one["what"]: one for one in mlops("doctor", "--json").json}["mirrors"]
    assert (found["is_well"], found["found"]) == (False, "mirror_unavailable")
    assert found["remedy"].startswith("mongodb lags by 1 documents: MongoDB: ServerSelectionTimeoutError")
    assert "s3cret" not in answer.out + turn["problem"] + found["remedy"]


def test_resending_says_how_much_is_due_again(mlops, services: ServiceFactory, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLOPS_WANDB_MODE", "offline")
    assert mlops("mirrors", "resend", "--target", "wandb-offline", "--json").json == [
        {"target": "wandb-offline", "documents": 0}
    ]
    (row,) = mlops("mirrors", "status", "--json").json
    assert (row["target"], row["documents"], row["undelivered"]) == ("wandb-offline", 0, 0)
