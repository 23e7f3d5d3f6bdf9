"""However a command fails, it ends in one line with a code; never in a traceback unless one is asked for."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import pytest
from typer.main import get_command

from mlops_assets.cli.app import app, main
from mlops_assets.kernel.clock import SystemClock
from tests.rest.client import Services, services_in


@pytest.fixture
def damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """Stores with a replay whose inputs are no JSON any more."""
    made = services_in(tmp_path, SystemClock())
    monkeypatch.setenv("MLOPS_HOME", str(made.settings.home))
    monkeypatch.delenv("MLOPS_DEBUG", raising=False)
    with closing(sqlite3.connect(made.settings.home / "platform.db")) as database:
        database.execute(
            "INSERT INTO replay (id, scenario, candidate, result_fingerprint, metrics, checks, inputs, created_at, "
            "created_by) VALUES ('r', 's', 'c', 'f', '{}', '[]', '{\n', '2026-01-05 12:00:00.000000', 'dagster')"
        )
        database.commit()
    return made


@pytest.mark.usefixtures("damaged")
def test_a_failure_that_nobody_expected_is_one_line_with_what_to_do(capsys: pytest.CaptureFixture[str]):
    assert main(["kpis"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error [internal_error]: JSONDecodeError: Expecting property name")
    assert "MLOPS_DEBUG=1" in said
    assert said.count("\n") == 1
    assert "Traceback" not in said


@pytest.mark.usefixtures("damaged")
def test_the_traceback_is_there_for_whoever_asks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLOPS_DEBUG", "1")
    with pytest.raises(ValueError, match="Expecting property name"):
        main(["kpis"])


@pytest.mark.usefixtures("damaged")
def test_a_long_message_is_cut(capsys: pytest.CaptureFixture[str]):
    assert main(["audit", "verify", "--export", f"/{'x' * 5000}/ledger.jsonl"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error [internal_error]: OSError: ")
    assert "MLOPS_DEBUG=1" in said
    assert len(said) < 1000


def _parameters(name: str, command: click.Command) -> Iterator[tuple[str, click.Parameter]]:
    yield from ((f"{name} {parameter.name}", parameter) for parameter in command.params)
    for each, nested in command.commands.items() if isinstance(command, click.Group) else ():
        yield from _parameters(f"{name} {each}", nested)


def test_every_argument_and_option_says_what_it_is():
    told = {name: getattr(parameter, "help", None) for name, parameter in _parameters("mlops", get_command(app))}
    assert len(told) > 50
    assert [name for name, words in told.items() if not words] == []
