"""A reading killed between restatements and bars loses no row, and the next reading tells the same history."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mlops_assets.market_data.knowledge import read_knowledge
from tests.faults.reader import read_bars

FIRST_AT = datetime(2020, 1, 7, 23, tzinfo=UTC)
FIRST = "date,adjusted_close\n2020-01-02,100.00\n2020-01-03,101.00\n2020-01-06,102.00\n2020-01-07,103.00\n"
CORRECTED = FIRST.replace("101.00", "109.00")
HALVED = "date,adjusted_close\n2020-01-02,50.00\n2020-01-03,54.50\n2020-01-06,51.00\n2020-01-07,51.50\n"


def write(home: Path, content: str) -> None:
    (home / "bars").mkdir(exist_ok=True)
    (home / "bars" / "AAA.csv").write_text(content)


def read_and_die(home: Path, at: datetime) -> int:
    command = [sys.executable, "-m", "tests.faults.reader", str(home), at.isoformat()]
    env = {**os.environ, "MLOPS_FAILPOINT": "bars.restated"}
    return subprocess.run(command, env=env, check=False, capture_output=True).returncode


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_killed_reading_leaves_what_was_known_and_the_next_tells_it_all(tmp_path: Path, is_killed: bool):
    write(tmp_path, FIRST)
    store = read_bars(tmp_path, FIRST_AT)
    first = store.head("market/bars")
    for number, content in enumerate([CORRECTED, HALVED], start=1):
        write(tmp_path, content)
        if is_killed:
            before = read_knowledge(store).rows
            assert read_and_die(tmp_path, FIRST_AT + timedelta(hours=number)) == -signal.SIGKILL
            assert store.head("market/restatements").version > (1 if number == 1 else 2)
            assert read_knowledge(store).rows.equals(before)
        read_bars(tmp_path, FIRST_AT + timedelta(hours=number, minutes=1))
    assert store.read(first)["adjusted_close"].to_pylist() == [100.0, 101.0, 102.0, 103.0]
    # Halved once, although a killed reading had halved the superseded row before.
    rows = read_knowledge(store).rows.filter(adjusted_close=54.5).height, read_knowledge(store).rows["adjusted_close"]
    assert rows[0] == 1
    assert rows[1].to_list() == pytest.approx([50.0, 50.5, 54.5, 51.0, 51.5], rel=1e-3)
