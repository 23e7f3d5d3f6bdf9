"""What the running Dagster UI knows: asked over its GraphQL, which is what a browser would see too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

_LOCATION = """
query Location {
  workspaceOrError {
    __typename
    ... on PythonError { message }
    ... on Workspace {
      locationEntries {
        name
        loadStatus
        locationOrLoadError { __typename ... on PythonError { message } }
      }
    }
  }
}
"""
_DAEMONS = """
query Daemons {
  instance {
    daemonHealth {
      allDaemonStatuses { daemonType required healthy lastHeartbeatErrors { message } }
    }
  }
}
"""
_GRAPH = """
query Graph {
  assetNodes {
    assetKey { path }
    isMaterializable
    assetMaterializations(limit: 1) { timestamp }
  }
  repositoriesOrError {
    __typename
    ... on PythonError { message }
    ... on RepositoryConnection {
      nodes {
        schedules { name scheduleState { status } }
        sensors { name sensorType sensorState { status } }
      }
    }
  }
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A code location and whether it could be loaded; `problem` is empty where it could."""

    name: str
    is_loaded: bool
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """An asset as the UI lists it."""

    key: str
    is_materializable: bool
    is_materialised: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Everything the UI shows of the code location: assets, and the state of schedules and sensors by name."""

    assets: tuple[Asset, ...]
    schedules: Mapping[str, str]
    sensors: Mapping[str, str]


class DagsterUi:
    """A client of one Dagster webserver."""

    def __init__(self, url: str, client: httpx.Client) -> None:
        self.url, self._client = url, client

    def locations(self) -> list[Location]:
        """Return the code locations of the workspace.

        Raises:
            httpx.HTTPError: while the webserver does not answer.
            ValueError: if it answers that it could not read the workspace.
        """
        workspace = self._ask(_LOCATION)["workspaceOrError"]
        if workspace["__typename"] != "Workspace":
            raise ValueError(str(workspace.get("message", workspace)))
        return [_location(entry) for entry in workspace["locationEntries"]]

    def unhealthy_daemons(self) -> dict[str, str]:
        """Return what is wrong with each required daemon that has no healthy heartbeat."""
        statuses = self._ask(_DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return {
            status["daemonType"]: "; ".join(error["message"].strip() for error in status["lastHeartbeatErrors"])
            or "no heartbeat"
            for status in statuses
            if status["required"] and not status["healthy"]
        }

    def graph(self) -> Graph:
        """Return assets, schedules and sensors."""
        answer = self._ask(_GRAPH)
        repositories = answer["repositoriesOrError"]
        if repositories["__typename"] != "RepositoryConnection":
            raise ValueError(str(repositories.get("message", repositories)))
        nodes: Sequence[Mapping[str, Any]] = repositories["nodes"]
        return Graph(
            assets=tuple(
                Asset(
                    key="/".join(node["assetKey"]["path"]),
                    is_materializable=bool(node["isMaterializable"]),
                    is_materialised=bool(node["assetMaterializations"]),
                )
                for node in answer["assetNodes"]
            ),
            schedules={one["name"]: one["scheduleState"]["status"] for node in nodes for one in node["schedules"]},
            sensors={one["name"]: one["sensorState"]["status"] for node in nodes for one in node["sensors"]},
        )

    def _ask(self, query: str) -> dict[str, Any]:
        response = self._client.post(f"{self.url}/graphql", json={"query": query})
        response.raise_for_status()
        answer = response.json()
        if answer.get("errors"):
            raise ValueError(f"the Dagster UI refused the question: {answer['errors'][0]['message']}")
        return answer["data"]


def _location(entry: Mapping[str, Any]) -> Location:
    loaded = entry["locationOrLoadError"] or {}
    problem = str(loaded.get("message", "")) if loaded.get("__typename") == "PythonError" else ""
    is_loaded = entry["loadStatus"] == "LOADED" and loaded.get("__typename") == "RepositoryLocation"
    return Location(name=entry["name"], is_loaded=is_loaded, problem=problem.strip())
