"""Nobody gets in without a token, whatever the route."""

from __future__ import annotations

import base64
import os
import stat
import threading
from dataclasses import replace
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


def test_an_empty_token_file_left_by_a_crash_is_replaced(tmp_path: Path):
    path = tmp_path / "api_token"
    path.touch()
    assert len(ensure_token(path)) > 40


@pytest.mark.skipif(os.name == "nt", reason="POSIX file creation")
def test_processes_that_start_together_agree_on_the_token(tmp_path: Path):
    path = tmp_path / "api_token"
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(ensure_token(path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
