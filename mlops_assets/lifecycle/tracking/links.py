"""Where people look: the pages of a run in MLflow's UI and of what made it in Dagster's."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Addresses of both UIs; None for one that nobody told us."""

    tracking_uri: str
    mlflow_ui: str | None = None
    dagster_ui: str | None = None

    def mlflow_run(self, run_id: str) -> str | None:
        """Return the page of an MLflow run, or None if no UI is known."""
        base = self.mlflow_ui or (self.tracking_uri if _is_http(self.tracking_uri) else None)
        return None if base is None else f"{_without_credentials(base)}/#/runs/{run_id}"

    def dagster_run(self, run_id: str) -> str | None:
        return None if self.dagster_ui is None else f"{self.dagster_ui.rstrip('/')}/runs/{run_id}"

    def dagster_asset(self, asset: str, partition: str = "") -> str | None:
        if self.dagster_ui is None:
            return None
        page = f"{self.dagster_ui.rstrip('/')}/assets/{quote(asset)}"
        return f"{page}?view=partitions&partition={quote(partition, safe='')}" if partition else page

    @property
    def how_to_open(self) -> str:
        """The command that shows the runs. A database's address is not repeated: it may hold a password."""
        is_file = self.tracking_uri.startswith("sqlite:")
        uri = self.tracking_uri if is_file else "$MLOPS_MLFLOW_TRACKING_URI"
        return f'mlflow ui --backend-store-uri "{uri}"'


def _is_http(uri: str) -> bool:
    return urlsplit(uri).scheme in ("http", "https")


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
