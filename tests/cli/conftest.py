"""Running a command in this process, as `mlops` does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlops_assets.cli.app import main


class Answer:
    """What a command answered: its exit code, what it printed and what it complained of."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def mlops(capsys: pytest.CaptureFixture[str]):
    def run(*arguments: str) -> Answer:
        code = main(arguments)
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run
