"""`mlops check` runs every check, the tests last, and fails when one of them does."""

from __future__ import annotations

import pytest

from mlops_assets.cli import check


def test_the_tests_are_last_and_get_the_other_arguments():
    steps = check.steps(["-k", "ledger"])
    assert [step.heading.split(" ")[0] for step in steps] == [
        "format",
        "lint",
        "types",
        "floors",
        "docs",
        "versions",
        "definitions",
        "tests",
    ]
    assert steps[-1].command[-2:] == ["-k", "ledger"]


def test_every_command_is_of_this_environment():
    import sys
    import sysconfig

    for step in check.steps():
        assert step.command[0].startswith((sys.executable, sysconfig.get_path("scripts")))


@pytest.mark.parametrize("name", ["basedpyright", "lint-imports", "dg"])
def test_the_tools_are_installed(name: str):
    from pathlib import Path

    (command,) = [step.command[0] for step in check.steps() if Path(step.command[0]).name == name]
    assert Path(command).exists()
