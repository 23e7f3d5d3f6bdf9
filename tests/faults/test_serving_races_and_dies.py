"""Many processes promote and roll back at once, and are killed: there is one champion at every instant, or none yet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from mlops_assets.lifecycle.deployment.serving_moves import Action, Slot
from mlops_assets.lifecycle.deployment.states import RUNNING, State
from mlops_assets.storage.sql.database import Database
from tests.faults.promoter import open_floor
from tests.lifecycle.deployment_worlds import MODEL, STAGING

PROCESSES, ROUNDS = 4, 6
KILLED_BEFORE_COMMIT = ["serving.move.begun", "serving.move.inserted", "serving.move.before_commit"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    Database(f"sqlite:///{tmp_path / 'platform.db'}").migrate()
    return tmp_path


def command(home: Path, first: int, rounds: int) -> list[str]:
    return [sys.executable, "-m", "tests.faults.promoter", str(home), str(first), str(rounds)]


def test_there_is_one_champion_at_every_instant_whoever_races(home: Path):
    floor = open_floor(home)
    floor.champion(1)
    racing = [
        subprocess.Popen(
            command(home, 100 * (1 + number), ROUNDS), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for number in range(PROCESSES)
    ]
    outcomes = [process.communicate() for process in racing]
    assert [process.returncode for process in racing] == [0] * PROCESSES, outcomes

    log = floor.serving.history(MODEL, STAGING)
    assert [move.after.epoch for move in log] == list(range(1, len(log) + 1))
    champions = [move.after.champion for move in log]
    assert all(isinstance(one, Slot) for one in champions)
    # Each move took over from the champion of the move before: none was lost, none happened twice.
    for before, move in zip(champions, log[1:], strict=False):
        assert before != move.after.champion
        if move.action is Action.ROLL_BACK:
            assert before is not None
            assert move.deployment_id == before.deployment_id
    told = [line for out, _ in outcomes for line in out.splitlines()]
    succeeded = Counter(line for line in told if line != "refused")
    assert succeeded == Counter(
        f"{move.after.epoch} {one.deployment_id}" for move in log[1:] if (one := move.after.champion)
    )
    assert len(succeeded) >= ROUNDS
    running = [one.id for one in floor.deployments.list() if one.state in RUNNING]
    assert running == [champions[-1].deployment_id if champions[-1] else ""]
    assert floor.ledger.verify().is_intact


def test_of_those_who_promote_the_same_from_the_same_epoch_one_succeeds(home: Path):
    floor = open_floor(home)
    floor.champion(1)
    one = floor.approved(2)
    racer = (
        "import sys; from pathlib import Path; from mlops_assets.kernel.errors import Conflict\n"
        "from tests.faults.promoter import open_floor\n"
        "floor = open_floor(Path(sys.argv[1])); one = floor.deployments.get(sys.argv[2])\n"
        "try: floor.promote(one, epoch=1); print('won')\n"
        "except Conflict as error: print(error)\n"
    )
    racing = [
        subprocess.Popen([sys.executable, "-c", racer, str(home), one.id], stdout=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    said = [process.communicate()[0].strip() for process in racing]
    assert said.count("won") == 1
    assert floor.now().epoch == 2
    assert floor.state(one) is State.CHAMPION


@pytest.mark.parametrize("failpoint", KILLED_BEFORE_COMMIT)
def test_a_promotion_killed_before_its_commit_never_happened(home: Path, failpoint: str):
    floor = open_floor(home)
    floor.champion(1)
    before, states = floor.now(), floor.states()
    dying = {**os.environ, "MLOPS_FAILPOINT": failpoint}
    assert subprocess.run(command(home, 2, 1), env=dying, check=False).returncode == -signal.SIGKILL
    assert floor.now() == before
    assert floor.states() == {**states, 2: [State.APPROVED]}
    assert list(floor.ledger.entries(action="deployment.promote"))[1:] == []
    assert floor.ledger.verify().is_intact
    (waiting,) = floor.deployments.list(state=State.APPROVED)
    assert floor.promote(waiting).serving.epoch == 2


def test_a_promotion_killed_before_its_alias_followed_stands(home: Path):
    floor = open_floor(home)
    floor.champion(1)
    dying = {**os.environ, "MLOPS_FAILPOINT": "serving.move.committed"}
    assert subprocess.run(command(home, 2, 1), env=dying, check=False).returncode == -signal.SIGKILL
    now = floor.now()
    assert (now.epoch, now.champion and now.champion.version) == (2, 2)
    assert floor.states() == {1: [State.SUPERSEDED], 2: [State.CHAMPION]}
    assert floor.ledger.verify().is_intact
