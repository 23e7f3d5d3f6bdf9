"""The doctor lives to tell what it found, however ill the patient."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mlops_assets.cli.app import main
from mlops_assets.kernel.clock import SystemClock
from tests.rest.client import publish, services_in

DAMAGE = {
    "ledger": ["DROP TRIGGER {trigger}", "UPDATE ledger_entry SET details = '{{'"],
    "snapshots": ["UPDATE snapshot SET inputs = '{{'"],
}


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = services_in(tmp_path, SystemClock())
    publish(made, "features/momentum", {"symbol": ["AAPL"], "return_1d": [0.1]})
    monkeypatch.setenv("MLOPS_HOME", str(made.settings.home))
    return made.settings.home / "platform.db"


def damage(path: Path, what: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        triggers = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for statement in DAMAGE[what]:
            for (trigger,) in triggers if "{trigger}" in statement else [("",)]:
                database.execute(statement.format(trigger=trigger))
        database.commit()


@pytest.mark.parametrize("what", DAMAGE)
def test_stored_rows_that_cannot_be_read_are_a_finding(database: Path, what: str, capsys: pytest.CaptureFixture[str]):
    assert main(["doctor", "--json"]) == 0
    capsys.readouterr()
    damage(database, what)
    assert main(["doctor", "--json"]) == 1
    said = capsys.readouterr()
    findings = {one["what"]: one for one in json.loads(said.out)}
    assert what in [name for name, one in findings.items() if not one["is_well"]]
    assert findings[what]["found"]
    assert findings[what]["remedy"]
    assert {"catalogue", "database", "disk", "ui_port"} <= findings.keys()
    assert "Traceback" not in said.err
