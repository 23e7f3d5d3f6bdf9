"""The file api_token is made once, whoever asks first, and only its owner reads it."""

from __future__ import annotations

import multiprocessing
import os
import stat
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from mlops_assets.identity.operator import ensure_token


def test_the_token_file_is_made_once_and_only_its_owner_reads_it(tmp_path: Path):
    path = tmp_path / "home" / "api_token"
    token = ensure_token(path)
    assert ensure_token(path) == token
    assert len(token) > 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_token_file_left_by_a_crash_is_replaced(tmp_path: Path, content: str):
    path = tmp_path / "api_token"
    path.write_text(content)
    assert len(ensure_token(path)) > 40


def tokens_of(folder: Path, barrier: Barrier, answers: Queue[list[str]]) -> None:
    """Ask for the token of every home in `folder`, each at the same moment as the other processes."""
    found: list[str] = []
    for home in sorted(folder.iterdir()):
        barrier.wait(timeout=60)
        found.append(ensure_token(home / "api_token"))
    answers.put(found)


@pytest.mark.skipif(os.name == "nt", reason="POSIX file creation")
@pytest.mark.parametrize("is_left_empty", [False, True], ids=["new", "left_empty_by_a_crash"])
def test_processes_that_start_together_agree_on_the_token(tmp_path: Path, is_left_empty: bool):
    for number in range(150):
        home = tmp_path / f"{number:03d}"
        home.mkdir()
        if is_left_empty:
            (home / "api_token").touch()
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(4), context.Queue()
    processes = [context.Process(target=tokens_of, args=(tmp_path, barrier, answers)) for _ in range(4)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    stored = [(home / "api_token").read_text().strip() for home in sorted(tmp_path.iterdir())]
    assert found == [stored] * 4
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "api_token"] == []
