"""What holds of every asset and check of the shipped catalogue."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.graph import build_defs
from mlops_assets.orchestration.staleness import is_by_hand
from mlops_assets.services import ServiceFactory
from mlops_assets.settings import load_settings

MODELS = ("signal_classifier", "regime_classifier", "return_forecast", "allocation_policy")


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    return build_defs(ServiceFactory(load_settings(home=tmp_path_factory.mktemp("home"))))


def test_a_check_outside_its_assets_step_runs_when_the_asset_is_refreshed(definitions: dg.Definitions):
    repository = definitions.get_repository_def()
    in_step = {key for asset in repository.assets_defs_by_key.values() for key in asset.check_keys}
    own_step = set(repository.asset_graph.asset_check_keys) - in_step
    assert own_step, "no check has a step of its own any more"
    for key in own_step:
        assert repository.asset_graph.get(key).automation_condition is not None, f"{key} would not run"


def test_everything_declares_what_a_catalogue_needs(definitions: dg.Definitions):
    graph = definitions.resolve_asset_graph()
    for key in graph.toposorted_asset_keys:
        node = graph.get(key)
        name = key.to_user_string()
        assert node.owners, f"{name} has no owner"
        assert node.group_name not in (None, "default"), f"{name} has no group"
        assert node.description, f"{name} has no description"
        assert node.code_version, f"{name} has no code version"
        assert node.kinds, f"{name} has no kinds"
        assert is_by_hand(node) or node.freshness_policy is not None, f"{name} has no freshness policy"
        references = node.metadata["dagster/code_references"].code_references
        assert Path(references[0].file_path).exists(), f"{name} points at no file"


def test_every_table_says_where_its_columns_come_from(definitions: dg.Definitions):
    graph = definitions.resolve_asset_graph()
    for name in ("features/momentum", "datasets/signal_daily", "predictions/signal_classifier"):
        metadata = graph.get(dg.AssetKey(name.split("/"))).metadata
        columns = {column.name for column in metadata["dagster/column_schema"].columns}
        lineage = metadata["dagster/column_lineage"].deps_by_column
        assert set(lineage) <= columns
        for sources in lineage.values():
            for source in sources:
                upstream = graph.get(source.asset_key).metadata["dagster/column_schema"].columns
                assert source.column_name in {column.name for column in upstream}


def test_the_check_of_the_audit_chain_is_where_its_sensor_looks(definitions: dg.Definitions):
    watched = dg.AssetCheckKey(asset_key=dg.AssetKey(["governance", "audit_checkpoint"]), name="chain_is_intact")
    assert watched in definitions.get_repository_def().asset_graph.asset_check_keys


def test_sensors_and_schedules_run_from_the_start(definitions: dg.Definitions):
    repository = definitions.get_repository_def()
    zones = {one.name: one.execution_timezone for one in repository.schedule_defs}
    assert zones == {
        "daily_bars": "America/New_York",
        "nightly_replay_covid_crash": "America/New_York",
        "hourly_audit_checkpoint": "UTC",
        "rollback_drills": "UTC",
        **{f"retrain_{name}": "UTC" for name in MODELS},
    }
    assert all(one.default_status == dg.DefaultScheduleStatus.RUNNING for one in repository.schedule_defs)
    assert all(one.default_status == dg.DefaultSensorStatus.RUNNING for one in repository.sensor_defs)
    assert {one.name for one in repository.sensor_defs} == {
        "refresh",
        "rebuild_views",
        "alert_delivery",
        "approval_sla",
        "mirror_delivery",
        "deployments_follow_approvals",
        "deployment_limits",
        "alias_reconciler",
        "challengers",
        "chain_is_intact_alert",
        "mlflow_orphans",
        "retrain_after_drift",
        "drift_signal_classifier_momentum_events",
        "drift_regime_classifier_regime_events",
        *(f"drift_{name}_{view}_events" for name in MODELS[2:] for view in ("momentum", "volatility")),
    }
