"""A process of its own that makes the whole graph in one home and prints its fingerprints as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import dagster as dg
import sqlalchemy as sa

from mlops_assets.graph import build_defs
from mlops_assets.orchestration.refresh import Refresh, materialise_stale
from mlops_assets.services import ServiceFactory
from mlops_assets.settings import load_settings
from mlops_assets.storage.sql.tables import deployment, model_version, prompt_evaluation, replay, report


def services_of(home: Path) -> ServiceFactory:
    services = ServiceFactory(load_settings(home=home))
    services.prepare()
    return services


def refresh(services: ServiceFactory, instance: dg.DagsterInstance) -> Refresh:
    return materialise_stale(build_defs(services), instance, lambda progress: None)


def fingerprints(services: ServiceFactory) -> dict[str, object]:
    """Return what must not depend on when, where or by which process it was made."""
    columns = {
        "models": (model_version.c.fingerprint, model_version.c.artifact_sha256),
        "replays": (replay.c.id, replay.c.result_fingerprint),
        "reports": (report.c.sha256, report.c.html_sha256),
        "deployments": (deployment.c.evidence_fingerprint,),
        "prompts": (prompt_evaluation.c.outputs_fingerprint,),
    }
    with services.database.read() as connection:
        found: dict[str, object] = {
            name: sorted([list(row) for row in connection.execute(sa.select(*selected))])
            for name, selected in columns.items()
        }
    found["snapshots"] = {head.dataset: head.fingerprint for head in services.snapshots.heads()}
    return found


if __name__ == "__main__":
    made = services_of(Path(sys.argv[1]))
    with dg.DagsterInstance.ephemeral() as ephemeral:
        outcome = refresh(made, ephemeral)
    if not outcome.is_complete:
        sys.exit(str(outcome.failures))
    print(json.dumps(fingerprints(made)))  # noqa: T201 - the result of this program
