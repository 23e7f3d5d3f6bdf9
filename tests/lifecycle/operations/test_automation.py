"""The sensors of deployments: each says what it did, and, evaluated twice, does nothing twice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import dagster as dg

from mlops_assets.lifecycle.deployment.serving_store import ServingStore
from mlops_assets.lifecycle.deployment.states import State
from mlops_assets.lifecycle.operations.aliases import Aliases, alias_of
from mlops_assets.lifecycle.operations.automation import alias_sensor, approvals_sensor, deployment_sensors
from mlops_assets.lifecycle.tracking.tracking import Tracking
from mlops_assets.storage.sql.database import Database
from tests.lifecycle.deployment_worlds import Floor
from tests.lifecycle.serving_worlds import ENVIRONMENT, MODEL, register, serve, slot
from tests.lifecycle.worlds import SERVICE, Stores, stores


def said(sensor: dg.SensorDefinition, resources: Mapping[str, object]) -> str:
    with dg.DagsterInstance.ephemeral() as instance:
        result = sensor(dg.build_sensor_context(instance=instance, resources=dict(resources)))
    assert isinstance(result, dg.SensorResult)
    assert result.skip_reason is not None
    return result.skip_reason.skip_message or ""


def test_all_run_from_the_start_every_minute():
    for sensor in deployment_sensors([MODEL]):
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
        assert sensor.minimum_interval_seconds == 60


def test_deployments_follow_their_approvals(database: Database):
    floor = Floor(database)
    requested = floor.ask(1)
    resources = {"deployments": floor.deployments, "actor": floor.dagster}
    assert said(approvals_sensor(), resources) == "no approval changed"
    floor.decide(requested.approval)
    assert said(approvals_sensor(), resources) == "deployments/signal_classifier@1/staging is approved"
    assert floor.state(requested.deployment) is State.APPROVED
    assert said(approvals_sensor(), resources) == "no approval changed"


def _aliases(kept: Stores, tracking: Tracking) -> Aliases:
    return Aliases(kept.database, kept.ledger, tracking, kept.models, ServingStore(kept.database), kept.alerts)


def test_aliases_are_put_right_and_a_dead_mlflow_is_named(tmp_path: Path):
    kept = stores(tmp_path)
    register(kept, 1)
    serve(kept, slot(1))
    down = Tracking(kept.database, uri="http://127.0.0.1:9", artifacts=tmp_path)
    found = said(alias_sensor(), {"aliases": _aliases(kept, down), "actor": SERVICE})
    assert found.startswith("nothing was compared: MLflow does not answer")
    resources = {"aliases": _aliases(kept, kept.tracking), "actor": SERVICE}
    assert said(alias_sensor(), resources) == "champion_staging of signal_classifier named no version, now version 1"
    assert said(alias_sensor(), resources) == "every alias names its champion"
    kept.tracking.client().delete_registered_model_alias(MODEL, alias_of(ENVIRONMENT))
    assert "named no version, now version 1" in said(alias_sensor(), resources)
    assert len(kept.alerts.list()) == 1
