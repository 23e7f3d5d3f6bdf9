"""An activation killed at any point has happened with its entry, or not at all; several at once are one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_assets.features.view_status import ViewStatus
from mlops_assets.storage.sql.database import Database
from tests.faults.activator import VIEW, activate, open_registry, publish


@pytest.fixture
def home(tmp_path: Path) -> Path:
    Database(f"sqlite:///{tmp_path / 'platform.db'}").migrate()
    publish(tmp_path)
    return tmp_path


def command(home: Path, who: str) -> list[str]:
    return [sys.executable, "-m", "tests.faults.activator", str(home), who]


def moves(home: Path) -> list[str]:
    _, _, ledger = open_registry(home)
    assert ledger.verify().is_intact
    return [entry.action for entry in ledger.entries(subject=f"feature_views/{VIEW}")]


@pytest.mark.parametrize("failpoint", ["feature_release.registered", "feature_view.journaled", "feature_view.saved"])
def test_an_activation_killed_before_its_commit_never_happened(home: Path, failpoint: str):
    killed = subprocess.run(command(home, "ann"), env={**os.environ, "MLOPS_FAILPOINT": failpoint}, check=False)
    assert killed.returncode == -signal.SIGKILL
    registry, _, _ = open_registry(home)
    assert registry.state(VIEW).status is ViewStatus.DRAFT
    assert registry.releases(VIEW) == []
    assert moves(home) == []

    activate(home, "bob")
    assert moves(home) == ["feature_release.register", "feature_view.activate"]
    assert [one.actor for one in registry.history(VIEW)] == ["bob", "bob"]


def test_activations_of_several_processes_at_once_are_one_entry(home: Path):
    running = [subprocess.Popen(command(home, f"p{number}")) for number in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert moves(home) == ["feature_release.register", "feature_view.activate"]
    registry, _, _ = open_registry(home)
    assert registry.state(VIEW).status is ViewStatus.ACTIVE
