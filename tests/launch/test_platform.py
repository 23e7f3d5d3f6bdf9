"""Waiting ends when everything answers, and says what does not."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlops_assets.launch.children import Children
from mlops_assets.launch.dagster_ui import Asset, DagsterUi, Graph
from mlops_assets.launch.instance import AlreadyUp, only_one, prepare_instance
from mlops_assets.launch.platform import (
    NotReady,
    interruptible,
    platform_services,
    readiness_questions,
    wait_until_ready,
)
from mlops_assets.launch.probe import probe_ui
from mlops_assets.settings import load_settings


def ui(
    *,
    loaded: bool = True,
    problem: str = "",
    healthy: bool = True,
    status: str = "RUNNING",
    search: str | None = None,
) -> DagsterUi:
    """Return a client of a webserver that gives these answers."""
    location = (
        {"__typename": "PythonError", "message": problem}
        if problem
        else {"__typename": "RepositoryLocation"}
        if loaded
        else None
    )
    entry = {"name": "mlops", "loadStatus": "LOADED" if loaded else "LOADING", "locationOrLoadError": location}
    daemon = {"daemonType": "SENSOR", "required": True, "healthy": healthy, "lastHeartbeatErrors": []}
    asset = {"assetKey": {"path": ["market", "bars"]}, "isMaterializable": True, "assetMaterializations": [{}]}
    assets = [asset]
    if search is not None:  # an asset that nobody made yet
        assets.append({"assetKey": {"path": [search]}, "isMaterializable": True, "assetMaterializations": []})
    sensor = {"name": "refresh", "sensorType": "STANDARD", "sensorState": {"status": status}}
    schedule = {"name": "daily", "scheduleState": {"status": status}}
    repositories = {"__typename": "RepositoryConnection", "nodes": [{"schedules": [schedule], "sensors": [sensor]}]}
    answers: dict[str, Any] = {
        "Location": {"workspaceOrError": {"__typename": "Workspace", "locationEntries": [entry]}},
        "Daemons": {"instance": {"daemonHealth": {"allDaemonStatuses": [daemon]}}},
        "Graph": {"assetNodes": assets, "repositoriesOrError": repositories},
    }

    def answer(request: httpx.Request) -> httpx.Response:
        query = json.loads(request.content)["query"]
        return httpx.Response(200, json={"data": answers[query.split("{")[0].split()[1]]})

    return DagsterUi("http://ui", httpx.Client(transport=httpx.MockTransport(answer)))


def api(status: int = 200) -> httpx.Client:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, json={"status": "ok"}))
    return httpx.Client(base_url="http://api", transport=transport)


def wait(tmp_path: Path, asked: DagsterUi, client: httpx.Client) -> list[str]:
    ready: list[str] = []
    wait_until_ready(Children({}, tmp_path), readiness_questions(asked, client), ready.append, timeout_seconds=0.0)
    return ready


def test_everything_that_answers_is_named(tmp_path: Path):
    assert wait(tmp_path, ui(), api()) == ["rest-api", "dagster-webserver", "dagster-daemon"]


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        (ui(loaded=False), 200, "still loading mlops"),
        (ui(problem="ImportError: no mlops"), 200, "ImportError: no mlops"),
        (ui(healthy=False), 200, "SENSOR: no heartbeat"),
        (ui(), 503, "/health answers 503"),
    ],
)
def test_what_is_not_ready_is_said(tmp_path: Path, asked: DagsterUi, status: int, said: str):
    with pytest.raises(NotReady, match=said):
        wait(tmp_path, asked, api(status))


def test_a_probe_finds_what_differs_from_the_definitions():
    wrong = {finding.what for finding in probe_ui(ui(status="STOPPED"), {"market/bars": True, "features/x": True})}
    assert wrong == {"code location", "daemons", "assets", "materialised", "schedules", "sensors"}
    by_what = {
        finding.what: finding for finding in probe_ui(ui(status="STOPPED"), {"market/bars": True, "features/x": True})
    }
    assert [what for what, finding in by_what.items() if not finding.is_right] == ["assets", "schedules", "sensors"]
    assert "features/x" in by_what["assets"].found
    assert all(finding.is_right for finding in probe_ui(ui(), {"market/bars": True}))


@pytest.mark.parametrize(("has_to_be_made", "missing"), [(False, []), (True, ["materialised"])])
def test_what_is_made_by_hand_need_not_be_there(has_to_be_made: bool, missing: list[str]):
    expected = {"market/bars": True, "search": has_to_be_made}
    assert [one.what for one in probe_ui(ui(search="search"), expected) if not one.is_right] == missing


def test_the_graph_is_read_as_shown():
    assert ui().graph() == Graph(
        assets=(Asset(key="market/bars", is_materializable=True, is_materialised=True),),
        schedules={"daily": "RUNNING"},
        sensors={"refresh": "RUNNING"},
    )


def test_the_services_listen_on_loopback_at_the_chosen_ports(tmp_path: Path):
    settings = load_settings(home=tmp_path, ui_port=3123, api_port=8123)
    commands = {service.name: list(service.command) for service in platform_services(settings)}
    assert "3123" in commands["dagster-webserver"]
    assert "8123" in commands["rest-api"]
    assert all("127.0.0.1" in commands[name] for name in ("dagster-webserver", "rest-api"))


def test_a_home_is_held_by_one_process_at_a_time(tmp_path: Path):
    with only_one(tmp_path), pytest.raises(AlreadyUp, match="MLOPS_HOME"), only_one(tmp_path):
        pass
    with only_one(tmp_path):
        pass


def test_dagsters_settings_are_brought_up_to_date(tmp_path: Path):
    home = prepare_instance(load_settings(home=tmp_path))
    (home / "dagster.yaml").write_text("telemetry: {enabled: true}")
    prepare_instance(load_settings(home=tmp_path))
    assert "enabled: false" in (home / "dagster.yaml").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_interrupt_also_where_the_shell_ignored_them(number: signal.Signals):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible(), pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            signal.pause()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
