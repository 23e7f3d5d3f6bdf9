"""Whether a running platform shows what it should: its UI and its API, asked from outside."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import httpx

from mlops_assets.launch.dagster_ui import DagsterUi, Graph

_RUNNING = "RUNNING"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    is_right: bool
    found: str


def probe_ui(ui: DagsterUi, expected_assets: Mapping[str, bool]) -> list[Finding]:
    """Compare what the UI shows with the definitions: every asset there and materialised, everything running.

    Args:
        expected_assets: by key, whether it has to be materialised; what is made by hand need not.
    """
    locations = ui.locations()
    graph = ui.graph()
    return [
        Finding(
            what="code location",
            is_right=bool(locations) and all(one.is_loaded and not one.problem for one in locations),
            found=", ".join(f"{one.name} {'loaded' if one.is_loaded else one.problem}" for one in locations),
        ),
        _daemons(ui),
        _assets(graph, expected_assets),
        _materialised(graph, expected_assets),
        _running("schedules", dict(graph.schedules)),
        _running("sensors", dict(graph.sensors)),
    ]


def probe_api(api: httpx.Client) -> list[Finding]:
    """Ask the API's routes with the token, and one of them without, which must be refused."""
    findings = [
        _route(api, "/health", lambda body: body["status"]),
        _route(api, "/ready", lambda body: body["status"]),
        _route(api, "/api/v1/features/datasets", lambda body: f"{body['total']} datasets", needs_rows="datasets"),
        _route(api, "/api/v1/ml/lifecycle/models", lambda body: f"{body['total']} versions", needs_rows="models"),
        _route(
            api, "/api/v1/ml/lifecycle/deployments", lambda body: f"{body['total']} deployments",
            needs_rows="deployments",
        ),
        _route(api, "/api/v1/ml/evaluation/runs", lambda body: f"{body['total']} runs", needs_rows="runs"),
        _route(api, "/api/v1/audit/verify", lambda body: f"{body['entries']} entries, {body['status']}"),
        _route(api, "/api/v1/kpis", lambda body: f"{len(body['kpis'])} KPIs", needs_rows="kpis"),
    ]  # fmt: skip
    anonymous = api.get("/api/v1/audit", headers={"Authorization": ""})
    findings.append(
        Finding(
            what="GET /api/v1/audit without a token",
            is_right=anonymous.status_code == 401,
            found=str(anonymous.status_code),
        )
    )
    return [*findings, _report(api)]


def newest_report(api: httpx.Client) -> str | None:
    """Return the path of the newest report's page; a browser signs in with the token as the password."""
    runs = api.get("/api/v1/ml/evaluation/runs", params={"limit": 1}).json().get("runs", [])
    return api.get(f"/api/v1/ml/evaluation/runs/{runs[0]['id']}/report").json()["html_url"] if runs else None


def _report(api: httpx.Client) -> Finding:
    """Follow the newest run to its report and to the page of it."""
    runs = api.get("/api/v1/ml/evaluation/runs").json().get("runs", [])
    if not runs:
        return Finding(what="report", is_right=False, found="no run")
    report = api.get(f"/api/v1/ml/evaluation/runs/{runs[0]['id']}/report")
    page = api.get(f"/reports/{report.json().get('sha256', '')}")
    is_page = page.status_code == 200 and "sandbox" in page.headers.get("content-security-policy", "")
    return Finding(
        what=f"report of {runs[0]['scenario_name']}",
        is_right=report.status_code == 200 and is_page,
        found=f"{report.status_code}, page {page.status_code} with {len(page.content):,} bytes",
    )


def _daemons(ui: DagsterUi) -> Finding:
    unhealthy = ui.unhealthy_daemons()
    return Finding(
        what="daemons",
        is_right=not unhealthy,
        found=", ".join(f"{name}: {why}" for name, why in unhealthy.items()) or "all healthy",
    )


def _assets(graph: Graph, expected: Collection[str]) -> Finding:
    shown = {asset.key for asset in graph.assets}
    difference = sorted(shown ^ set(expected))
    return Finding(
        what="assets",
        is_right=not difference,
        found=f"{len(shown)} as declared" if not difference else f"differ: {', '.join(difference)}",
    )


def _materialised(graph: Graph, expected: Mapping[str, bool]) -> Finding:
    wanted = [asset for asset in graph.assets if asset.is_materializable and expected.get(asset.key, True)]
    missing = sorted(asset.key for asset in wanted if not asset.is_materialised)
    return Finding(
        what="materialised",
        is_right=bool(wanted) and not missing,
        found=f"missing: {', '.join(missing)}" if missing else f"all {len(wanted)}",
    )


def _running(what: str, states: dict[str, str]) -> Finding:
    stopped = sorted(name for name, state in states.items() if state != _RUNNING)
    return Finding(
        what=what,
        is_right=bool(states) and not stopped,
        found=f"stopped: {', '.join(stopped)}" if stopped else f"{', '.join(sorted(states)) or 'none'}",
    )


def _route(api: httpx.Client, path: str, read: Callable[..., str], needs_rows: str = "") -> Finding:
    response = api.get(path)
    if response.status_code != 200:
        return Finding(
            what=f"GET {path}", is_right=False, found=f"{response.status_code} {response.text[:200]}".strip()
        )
    body = response.json()
    is_right = bool(body.get(needs_rows)) if needs_rows else body.get("status", "ok") in {"ok", "intact"}
    return Finding(what=f"GET {path}", is_right=is_right, found=read(body))
