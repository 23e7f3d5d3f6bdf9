"""The asset of the checkpoint: it signs what holds, and only that."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.ledger.assets import AUDIT_CHECKPOINT, checkpoint_definitions
from mlops_assets.orchestration.declared import key
from mlops_assets.storage.sql.database import Database
from tests.ledger.test_checkpoints import House


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    return House(database, tmp_path)


def run(house: House) -> dg.ExecuteInProcessResult:
    definitions = dg.Definitions.merge(
        checkpoint_definitions(after="governance/kpis"),
        dg.Definitions(resources={"journal": house.ledger, "checkpoints": house.checkpoints}),
    )
    job = definitions.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(raise_on_error=False)


def facts(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    (made,) = result.asset_materializations_for_node("governance__audit_checkpoint")
    return {name: value.value for name, value in made.metadata.items()}


def is_passed(result: dg.ExecuteInProcessResult) -> bool:
    (check,) = result.get_asset_check_evaluations()
    return check.passed


def test_an_intact_chain_is_signed(house: House):
    house.append(3)
    result = run(house)
    signed = house.checkpoints.latest()
    assert signed is not None
    assert is_passed(result)
    shown = facts(result)
    assert (shown["entries"], shown["checkpoint_seq"], shown["checkpoints"]) == (3, 3, 1)
    assert (shown["key_id"], shown["head_hash"]) == (signed.key_id, signed.head_hash)
    house.append(1)
    assert facts(run(house))["checkpoints"] == 2


def test_a_broken_chain_fails_the_blocking_check_and_is_not_signed(house: House):
    house.append(4)
    run(house)
    house.tamper("DELETE FROM ledger_entry WHERE seq > 2")
    result = run(house)
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert check.blocking
    assert check.metadata["first_bad"].value == 3
    assert "were removed" in str(check.metadata["problem"].value)
    assert [one.seq for one in house.checkpoints.all()] == [4]


def test_an_empty_ledger_holds_and_is_not_signed(house: House):
    assert is_passed(run(house))
    assert house.checkpoints.latest() is None


def test_it_also_runs_every_hour():
    definitions = checkpoint_definitions(after="governance/kpis")
    (schedule,) = definitions.schedules or ()
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("15 * * * *", "UTC")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    (asset,) = definitions.assets or ()
    assert isinstance(asset, dg.AssetsDefinition)
    assert set(asset.automation_conditions_by_key) == {key(AUDIT_CHECKPOINT)}
