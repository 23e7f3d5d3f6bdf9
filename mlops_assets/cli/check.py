"""`mlops check`: every check and test of the project, in order, the tests last."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from mlops_assets.settings import SOURCE_TREE, checking_environment

TAKES_OTHER_ARGUMENTS = {"allow_extra_args": True, "ignore_unknown_options": True}
_RULE = "=" * 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One check: a heading and the command that fails when the answer is no."""

    heading: str
    command: Sequence[str]


def check(context: typer.Context) -> None:
    """Run every check and test; whatever else is given goes to pytest, like `check -k ledger`."""
    failed: list[str] = []
    for step in steps(context.args):
        print(f"{_RULE} {step.heading} {_RULE}", flush=True)  # noqa: T201
        started = time.monotonic()
        if _run(step.command) != 0:
            failed.append(step.heading)
        if step.heading != TESTS:  # after the tests stands their own closing line
            verdict = "FAILED" if step.heading in failed else "ok"
            print(f"{step.heading}: {verdict} ({time.monotonic() - started:.0f} s)\n", flush=True)  # noqa: T201
    if failed:
        print(f"\nFAILED: {', '.join(failed)}", file=sys.stderr, flush=True)  # noqa: T201
        raise typer.Exit(1)


TESTS = "tests (pytest)"


def steps(pytest_arguments: Sequence[str] = ()) -> list[Step]:
    """Return the checks in the order in which they run."""
    python = [sys.executable, "-m"]
    return [
        Step(heading="format (ruff)", command=[*python, "ruff", "format", "--check", "."]),
        Step(heading="lint (ruff)", command=[*python, "ruff", "check", "."]),
        Step(heading="types (basedpyright)", command=[_script("basedpyright"), "--pythonpath", sys.executable]),
        Step(heading="floors (import-linter)", command=[_script("lint-imports")]),
        Step(heading="docs (mlops docs)", command=[*python, "mlops_assets.cli", "docs", "--check"]),
        Step(heading="versions (mlops features check)", command=[*python, "mlops_assets.cli", "features", "check"]),
        Step(heading="definitions (dg)", command=[_script("dg"), "check", "defs"]),
        Step(heading=TESTS, command=[*python, "pytest", *pytest_arguments]),
    ]


def _run(command: Sequence[str]) -> int:
    """Run a check in the clone, with a home of its own: checks neither read nor touch the installation's."""
    with tempfile.TemporaryDirectory(prefix="mlops-check-") as home:
        environment = checking_environment(Path(home))
        return subprocess.run(list(command), cwd=SOURCE_TREE, env=environment, check=False).returncode


def _script(name: str) -> str:
    """Return the path of a command that a package of this environment brought."""
    return str(Path(sysconfig.get_path("scripts")) / name)
