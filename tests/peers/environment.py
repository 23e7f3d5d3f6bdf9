"""Feast, with which the feature store is compared, in an environment of its own: made when first asked for, then kept.

It is `.peers/feast-<Python version>` in the clone, filled by pip from the hash-locked `requirements-feast.txt`. A stamp
with the lock's SHA-256 is written last, so a half-made environment is made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements-feast.txt"
FOLDER = ROOT / ".peers"
RUNNER = Path(__file__).with_name("feast_runner.py")


def feast_python() -> Path:
    """Return the interpreter that has Feast; processes that ask at the same time wait for the first.

    Raises:
        RuntimeError: if it can't be made; the message has what pip said last.
    """
    environment = FOLDER / f"feast-{sys.version_info.major}.{sys.version_info.minor}"
    python, stamp = environment / "bin" / "python", environment / "lock.sha256"
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / ".lock").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        if not (stamp.exists() and stamp.read_text() == wanted and python.exists()):
            shutil.rmtree(environment, ignore_errors=True)
            installer = _interpreter_with_pip()
            _run([installer, "-m", "venv", "--without-pip", str(environment)])
            options = ["--no-input", "--disable-pip-version-check", "--quiet", "--no-deps", "--require-hashes"]
            _run([installer, "-m", "pip", "--python", str(python), "install", *options, "-r", str(LOCK)])
            stamp.write_text(wanted)
    return python


def run_feast(jobs: Sequence[Mapping[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Run jobs of `feast_runner` in one process and return what it says about each; `folder` is for the question."""
    file = folder / "jobs.json"
    file.write_text(json.dumps(jobs), encoding="utf-8")
    said = _run([str(feast_python()), str(RUNNER), str(file)])
    return json.loads(said.splitlines()[-1])


def _interpreter_with_pip() -> str:
    behind: str = getattr(sys, "_base_executable", sys.executable)
    for executable in (sys.executable, behind):
        if subprocess.run([executable, "-m", "pip", "--version"], check=False, capture_output=True).returncode == 0:
            return executable
    raise RuntimeError(f"{sys.executable} has no pip, nor has {behind}: Feast can't be installed beside it")


def _run(command: list[str]) -> str:
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"} | {"PYTHONPATH": ""}
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout
