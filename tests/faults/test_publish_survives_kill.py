"""A publish killed at any point leaves the previous version readable, the chain intact and nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_assets.storage.sql.database import Database
from tests.faults.publisher import DATASET, open_stores, publish

BEFORE_COMMIT = ["snapshot.written", "file.synced", "file.renamed", "snapshot.linked", "snapshot.recorded"]
AFTER_COMMIT = ["snapshot.committed"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    Database(f"sqlite:///{tmp_path / 'platform.db'}").migrate()
    publish(tmp_path, 1)
    return tmp_path


def publish_and_die(home: Path, value: int, failpoint: str) -> int:
    command = [sys.executable, "-m", "tests.faults.publisher", str(home), str(value)]
    return subprocess.run(command, env={**os.environ, "MLOPS_FAILPOINT": failpoint}, check=False).returncode


def files_of(home: Path) -> set[str]:
    return {path.name for path in (home / "snapshots" / DATASET).iterdir() if path.name != ".lock"}


@pytest.mark.parametrize("failpoint", BEFORE_COMMIT)
def test_a_publish_killed_before_its_commit_never_happened(home: Path, failpoint: str):
    assert publish_and_die(home, 2, failpoint) == -signal.SIGKILL
    store, ledger = open_stores(home)
    head = store.head(DATASET)
    assert head.version == 1
    assert store.read(head)["value"].unique().to_pylist() == [0, 1]
    assert (ledger.verify().entries, ledger.verify().is_intact) == (1, True)
    assert len(files_of(home)) > 1, "the kill came too early to leave anything behind"

    assert publish(home, 3).version == 2
    referenced = {Path(file.path).name for one in store.history(DATASET) for file in one.files}
    assert files_of(home) == referenced


@pytest.mark.parametrize("failpoint", BEFORE_COMMIT)
def test_the_next_run_cleans_up_even_if_it_has_nothing_new_to_publish(home: Path, failpoint: str):
    publish_and_die(home, 2, failpoint)
    assert publish(home, 1).version == 1
    store, _ = open_stores(home)
    assert files_of(home) == {Path(file.path).name for file in store.head(DATASET).files}


@pytest.mark.parametrize("failpoint", AFTER_COMMIT)
def test_a_publish_killed_after_its_commit_has_happened(home: Path, failpoint: str):
    assert publish_and_die(home, 2, failpoint) == -signal.SIGKILL
    store, ledger = open_stores(home)
    assert store.read(store.head(DATASET))["value"].unique().to_pylist() == [0, 2]
    assert ledger.verify().entries == 2
    assert publish(home, 2).version == 2


def test_two_processes_publishing_at_once_lose_nothing(home: Path):
    command = [sys.executable, "-m", "tests.faults.publisher", str(home)]
    processes = [subprocess.Popen([*command, str(value)], stderr=subprocess.PIPE) for value in range(10, 14)]
    refused = [process.communicate()[1].count(b"Conflict: ") for process in processes]
    published = [process.returncode == 0 for process in processes]
    store, ledger = open_stores(home)
    assert [process.returncode == 0 or count == 1 for process, count in zip(processes, refused, strict=True)] == [
        True
    ] * 4
    assert len(store.history(DATASET)) == 1 + sum(published)
    assert ledger.verify().entries == 1 + sum(published)
    assert all(store.read(one).num_rows == 2_000 for one in store.history(DATASET))
