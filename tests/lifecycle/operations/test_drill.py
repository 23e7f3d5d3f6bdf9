"""The rehearsal of a rollback: with the real versions, on a stage where nothing real can move."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.lifecycle.operations.automation import DRILL, drill_check, weekly_drills
from mlops_assets.lifecycle.operations.drill import Drill, DrillResult
from mlops_assets.lifecycle.serving.served_features import ServedFeatures
from mlops_assets.orchestration.declared import key
from mlops_assets.orchestration.results import snapshot_result
from mlops_assets.storage.parquet.snapshots import Provenance
from tests.lifecycle.predicting import MODEL, NOW, World, spec_of, world_in


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = world_in(tmp_path)
    provenance = Provenance(code_version="1", inputs={})
    made.services.snapshots.publish(f"predictions/{MODEL}", made.table(2).to_arrow(), provenance=provenance, actor="t")
    yield made
    made.services.predictions.close()


def drilled(world: World) -> DrillResult:
    """Drill the rollback from the second version to the first."""
    world.move(1)
    world.move(2)
    return world.services.drill.run(spec_of(2))


def test_after_the_rollback_the_version_of_before_answers_the_next_prediction(world: World):
    found = drilled(world)
    assert (found.later, found.earlier, found.answered_by, found.is_one_version) == (2, 1, 1, False)
    assert found.is_passed
    assert found.total_seconds == found.rollback_seconds + found.prediction_seconds < 5


def test_the_champion_of_before_is_drilled_where_there_is_one(world: World):
    world.move(2)
    world.move(1)
    found = world.services.drill.run(spec_of(2))
    assert (found.later, found.earlier, found.answered_by) == (1, 2, 2)


def test_where_nobody_served_before_the_last_two_registered_are_drilled(world: World):
    world.move(1)
    numbers = [one.version for one in world.services.models.list(model=MODEL)]
    found = world.services.drill.run(spec_of(2))
    assert [found.earlier, found.later] == numbers[-2:]


def test_one_version_is_drilled_against_a_copy_of_itself_and_says_so(world: World):
    models = world.services.models

    class OneVersion:
        def list(self, *, model: str):
            return models.list(model=model)[:1]

        load = staticmethod(models.load)

    services = world.services
    drill = Drill(
        models=OneVersion(),  # pyright: ignore[reportArgumentType]
        serving=services.serving,
        features=ServedFeatures(services.features, services.snapshots),
        snapshots=services.snapshots,
        rules=services.approval_rules,
        access=services.access,
        clock=services.clock,
    )
    found = drill.run(spec_of(1))
    assert (found.is_one_version, found.earlier, found.answered_by) == (True, 1, 1)
    assert "a copy of version 1, the only one" in str(found)


def test_nothing_real_moves(world: World):
    drilled(world)
    services = world.services
    before = (services.serving.heads(), [one.seq for one in services.ledger.entries()], services.deployments.list())
    services.drill.run(spec_of(2))
    after = (services.serving.heads(), [one.seq for one in services.ledger.entries()], services.deployments.list())
    assert before == after


def _check(world: World) -> dg.AssetCheckEvaluation:
    world.move(1)
    world.move(2)

    @dg.asset(key=key(f"deployments/{MODEL}"))
    def deployed() -> dg.MaterializeResult:
        return snapshot_result(world.services.snapshots.head(f"predictions/{MODEL}"))

    done = dg.materialize(
        [deployed, drill_check(spec_of(2))],
        resources={"drill": world.services.drill},
        selection=dg.AssetSelection.checks(dg.AssetCheckKey(key(f"deployments/{MODEL}"), DRILL)),
    )
    (evaluation,) = done.get_asset_check_evaluations()
    return evaluation


def test_the_check_records_versions_and_times(world: World):
    evaluation = _check(world)
    assert evaluation.passed
    shown = {name: value.value for name, value in evaluation.metadata.items()}
    assert (shown["from_version"], shown["to_version"], shown["answered_by_version"]) == ("2", 1, 1)
    assert shown["total_seconds"] == pytest.approx(shown["rollback_seconds"] + shown["next_prediction_seconds"])
    assert shown["limit_seconds"] == 5.0


def test_a_version_of_before_that_can_not_be_loaded_any_more_fails_the_drill(world: World):
    world.swap_artifact(1)
    evaluation = _check(world)
    assert not evaluation.passed
    assert "the rollback would fail" in str(evaluation.description)


def test_a_slow_rollback_and_another_version_do_not_pass():
    found = DrillResult(
        later=2,
        earlier=1,
        is_one_version=False,
        answered_by=1,
        rollback_seconds=3.0,
        prediction_seconds=2.5,
        symbol="AAPL",
        as_of=NOW,
    )
    assert not found.is_passed


def test_every_saturday_all_models_are_drilled():
    schedule = weekly_drills([MODEL])
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 6 * * 6", "UTC")
