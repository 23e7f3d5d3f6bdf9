"""Approvers at the same instant give one clean outcome, and a decision killed half-way never happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from mlops_assets.governance.transitions import State
from mlops_assets.storage.sql.database import Database
from tests.faults.decider import APPROVERS, ask, decide, open_store

REQUESTS = 25


@pytest.fixture
def home(tmp_path: Path) -> Path:
    Database(f"sqlite:///{tmp_path / 'platform.db'}").migrate()
    return tmp_path


def command(home: Path, who: str) -> list[str]:
    return [sys.executable, "-m", "tests.faults.decider", str(home), who]


@pytest.mark.parametrize("people", [2, 4])
def test_approvers_at_the_same_instant_move_each_request_once(home: Path, people: int):
    ask(home, REQUESTS)
    racing = [
        subprocess.Popen(command(home, who), stdout=subprocess.PIPE, text=True, stderr=subprocess.PIPE)
        for who in APPROVERS[:people]
    ]
    outcomes = [process.communicate() for process in racing]
    assert [process.returncode for process in racing] == [0] * people, outcomes
    store, ledger, _ = open_store(home)
    requests = store.list()
    assert [(one.state, len(one.decisions)) for one in requests] == [(State.APPROVED, 2)] * REQUESTS
    # What the processes were told is what is stored: no verdict lost, none counted that was refused.
    told = Counter(line for out, _ in outcomes for line in out.split())
    assert told == {one.id: 2 for one in requests}
    moves = Counter(
        (entry.subject, entry.action, entry.details["state_before"], entry.details["state_after"])
        for entry in ledger.entries()
    )
    assert set(moves.values()) == {1}
    assert len(moves) == REQUESTS * len(["draft", "submit", "review", "approve", "approve"])
    assert ledger.verify().is_intact


BEFORE_COMMIT = ["approval.decide.inserted", "approval.decide.moved", "approval.decide.before_commit"]


@pytest.mark.parametrize("failpoint", BEFORE_COMMIT)
@pytest.mark.parametrize("is_last", [False, True])
def test_a_decision_killed_before_its_commit_never_happened(home: Path, failpoint: str, is_last: bool):
    ask(home, 1)
    if is_last:
        decide(home, "ana")
    store, ledger, _ = open_store(home)
    (before,), entries = store.list(), len(list(ledger.entries()))
    killed = subprocess.run(command(home, "ben"), env={**os.environ, "MLOPS_FAILPOINT": failpoint}, check=False)
    assert killed.returncode == -signal.SIGKILL
    store, ledger, _ = open_store(home)
    assert store.list() == [before]
    assert (len(list(ledger.entries())), ledger.verify().is_intact) == (entries, True)

    assert decide(home, "ben") == [before.id]
    expected = State.APPROVED if is_last else State.IN_REVIEW
    assert store.get(before.id).state is expected


def test_an_approval_killed_before_its_checkpoint_stands(home: Path):
    ask(home, 1)
    decide(home, "ana")
    dying = {**os.environ, "MLOPS_FAILPOINT": "approval.committed"}
    assert subprocess.run(command(home, "ben"), env=dying, check=False).returncode == -signal.SIGKILL
    store, ledger, _ = open_store(home)
    (approved,) = store.list()
    assert (approved.state, len(approved.decisions)) == (State.APPROVED, 2)
    assert ledger.verify().is_intact
