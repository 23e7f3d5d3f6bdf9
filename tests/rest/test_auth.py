"""Nobody gets in without a token, whatever the route."""

from __future__ import annotations

import base64
import multiprocessing
import os
import stat
from dataclasses import replace
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from mlops_assets.rest.auth import ensure_token
from tests.rest.client import TOKEN, Api, Services, seal_report

OPEN = {"/health"}


def test_every_route_of_the_document_but_health_asks_for_a_token(api: Api):
    nobody = replace(api, token=None)
    paths = [path for path in api.app.openapi()["paths"] if path not in OPEN]
    assert len(paths) > 12
    for path in paths:
        filled = path.replace("{", "").replace("}", "").replace("version", "1")
        answer = nobody.get(filled)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"].startswith(("Bearer", "Basic"))
        assert "token" in answer.json()["detail"].lower()


@pytest.mark.parametrize("alias", ["/api/v1/ml/features/datasets", "/api/v1/ml/lifecycle/lifecycle/models"])
def test_an_alias_asks_for_a_token_too(api: Api, alias: str):
    assert replace(api, token=None).get(alias).status_code == 401
    assert api.get(alias).status_code == 200


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN[:-1], "토큰", "x" * 100_000])
def test_a_wrong_token_is_refused(api: Api, token: str):
    header = {"Authorization": b"Bearer " + token.encode()}
    assert replace(api, token=None).get("/api/v1/audit", headers=header).status_code == 401


def test_health_needs_no_token(api: Api):
    answer = replace(api, token=None).get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_a_browser_signs_in_to_a_report_with_the_token_as_password(api: Api, services: Services):
    page = f"/reports/{seal_report(services)}"
    nobody = replace(api, token=None)
    asked = nobody.get(page)
    assert asked.status_code == 401
    assert asked.headers["www-authenticate"].startswith("Basic")
    for password, status in ((TOKEN, 200), ("wrong", 401)):
        pair = base64.b64encode(f"anybody:{password}".encode()).decode()
        assert nobody.get(page, headers={"Authorization": f"Basic {pair}"}).status_code == status
    assert nobody.get(page, headers={"Authorization": "Basic %%%"}).status_code == 401
    assert api.get(page).status_code == 200


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
