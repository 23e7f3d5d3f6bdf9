"""A challenger beside its champion, order by order: the asset, its check and the sensor that asks for it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import sqlalchemy as sa

from mlops_assets.kernel.errors import MissingColumns
from mlops_assets.lifecycle.deployment.serving_moves import Mode
from mlops_assets.lifecycle.operations.automation import challengers_sensor
from mlops_assets.lifecycle.operations.comparison import SINCE_START, TEST_FOLD, is_of, newest_running
from mlops_assets.lifecycle.operations.limits import NoLimits
from mlops_assets.lifecycle.operations.shadow import CHECK, shadow_definitions
from mlops_assets.lifecycle.operations.slices import position
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.storage.parquet.snapshots import Provenance
from mlops_assets.storage.sql.tables import deployment, model_version
from tests.lifecycle.predicting import ENVIRONMENT, MODEL, NOW, SYMBOLS, World, slot, spec_of, world_in
from tests.lifecycle.worlds import SERVICE

WIDE = {
    "max_order_difference": 1.0,
    "max_drawdown": 0.9,
    "max_weight": 0.2,
    "max_orders_a_session": 3,
    "max_error_rate": 0.02,
    "max_p99_ms": 250.0,
}


BUY_ABOVE = {13: (1, 0.4553), 14: (2, 0.4639)}
"""By version, whose artifact it has, and from which probability on it buys: about half of the rows."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = world_in(tmp_path)
    with made.services.database.begin() as connection:
        for number, (source, border) in BUY_ABOVE.items():
            known = made.versions[source]
            said = copy.deepcopy(known.metadata)
            said["declaration"]["learner"]["buckets"] |= {"sell": 0.2, "strong_sell": 0.1, "buy": border}
            version = replace(known, version=number, fingerprint=str(number) * 32, metadata=said)
            row = {name: getattr(version, name) for name in ModelVersion.__dataclass_fields__}
            connection.execute(sa.insert(model_version).values(row))
    yield made
    made.services.predictions.close()


def plan(world: World, limits: Mapping[str, float] = WIDE) -> None:
    """The rows of both versions' deployments, with their limits."""
    with world.services.database.begin() as connection:
        for number in BUY_ABOVE:
            row = {
                "id": slot(number).deployment_id,
                "model": MODEL,
                "model_version": number,
                "environment": ENVIRONMENT,
                "tier": 2,
                "state": "registered",
                "evidence_fingerprint": None,
                "checklist": [],
                "plan": {"limits": dict(limits)} if limits else {},
                "epoch": 0,
                "created_at": NOW,
                "updated_at": NOW,
                "created_by": "mia",
            }
            connection.execute(sa.insert(deployment).values(row))


def run(world: World, *, raise_on_error: bool = True) -> dg.ExecuteInProcessResult:
    services = world.services
    return dg.materialize(
        [*(shadow_definitions(spec_of(2)).assets or ())],
        resources={
            "snapshots": services.snapshots,
            "models": services.models,
            "deployments": services.deployments,
            "serving": services.serving,
            "actor": SERVICE,
        },
        raise_on_error=raise_on_error,
    )


def shown(done: dg.ExecuteInProcessResult) -> dict[str, object]:
    (event,) = done.asset_materializations_for_node(f"shadow__{MODEL}")
    return {name: value.value for name, value in event.metadata.items()}


def canary(world: World, *, ago: timedelta) -> None:
    """Version 14 runs beside version 13 for a while."""
    world.clock.at = NOW - ago
    world.move(13)
    world.move(13, challenger=14, mode=Mode.SHADOW)
    world.clock.at = NOW
    world.move(13, challenger=14, mode=Mode.CANARY, part={"by": "symbols", "share": 0.2})


def test_where_nobody_serves_the_table_is_empty_and_says_so(world: World):
    done = run(world)
    assert shown(done)["compared"] == f"no version of {MODEL} serves"
    assert world.services.snapshots.head(f"shadow/{MODEL}").row_count == 0
    (check,) = done.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == (CHECK, True)


def test_a_champion_that_runs_alone_is_held_against_its_limits(world: World):
    plan(world, {**WIDE, "max_drawdown": 1e-6})
    world.clock.at = NOW - timedelta(days=20)
    world.move(13)
    world.clock.at = NOW
    done = run(world)
    assert shown(done)["compared"] == "version 13 alone in staging, since 2020-07-23 12:00 UTC"
    assert "challenger" not in str(shown(done)["accounts"])
    kept = world.services.snapshots.head(f"shadow/{MODEL}").details
    head = world.services.serving.now(MODEL, ENVIRONMENT)
    assert is_of(kept, head)
    found = kept["periods"][SINCE_START]
    assert (found["share_that_differs"], found["champion"]) == (0.0, found["challenger"])
    orders = _by_hand(world, lambda said: said["known_at"] >= NOW - timedelta(days=20))
    assert found["champion"]["orders"] == sum(ours != 0 for ours, _ in orders.values()) > 0
    (check,) = done.get_asset_check_evaluations()
    assert "champion, since it began: max_drawdown" in str(check.description)
    (broken,) = world.services.limit_watch.breaches(world.services.deployments.get(slot(13).deployment_id))
    assert broken.startswith("max_drawdown")


def test_every_order_of_the_table_follows_from_the_two_tables_of_predictions(world: World):
    plan(world)
    canary(world, ago=timedelta(days=20))
    run(world)
    published = world.services.snapshots.head(f"shadow/{MODEL}")
    rows = world.services.snapshots.frame(published)
    began = NOW - timedelta(days=20)
    for period, counts in (
        (SINCE_START, lambda said: said["known_at"] >= began),
        (TEST_FOLD, lambda said: said["fold"] == "test"),
    ):
        expected = _by_hand(world, counts)
        found = {
            (row["symbol"], row["date"]): (row["champion_order"], row["challenger_order"])
            for row in rows.filter(pl.col("period") == period).iter_rows(named=True)
        }
        assert found == expected
        figures = published.details["periods"][period]
        assert figures["orders"] == len(expected)
        same = sum(ours == theirs for ours, theirs in expected.values())
        assert figures["share_that_differs"] == pytest.approx(1 - same / len(expected))
    assert published.details["since"] == began.isoformat()
    assert is_of(published.details, world.services.serving.now(MODEL, ENVIRONMENT))


def _by_hand(world: World, counts) -> dict[tuple[str, object], tuple[float, float]]:
    """The orders of both versions, with loops and no frames."""
    orders: dict[tuple[str, object], list[float]] = {}
    for side, (source, border) in enumerate(BUY_ABOVE.values()):
        said = world.table(source).sort("symbol", "date").to_dicts()
        for symbol in SYMBOLS:
            held = 0.0
            for row in (one for one in said if one["symbol"] == symbol):
                target = 0.2 if row["probability"] >= border else 0.0
                if counts(row):
                    orders.setdefault((symbol, row["date"]), [0.0, 0.0])[side] = target - held
                held = target
    return {where: (each[0], each[1]) for where, each in orders.items() if any(each)}


def test_the_account_of_a_canary_is_that_of_the_symbols_it_answers_for(world: World):
    plan(world)
    canary(world, ago=timedelta(days=20))
    share = min(_position(symbol) for symbol in SYMBOLS) + 1e-9
    own = min(SYMBOLS, key=_position)
    world.move(13, challenger=14, mode=Mode.CANARY, part={"by": "symbols", "share": share})
    run(world)
    figures = world.services.snapshots.head(f"shadow/{MODEL}").details["periods"][SINCE_START]
    began = NOW - timedelta(days=20)
    orders = _by_hand(world, lambda said: said["known_at"] >= began)
    assert figures["challenger"]["orders"] == sum(
        theirs != 0 for (symbol, _), (_, theirs) in orders.items() if symbol == own
    )
    assert figures["champion"]["orders"] == sum(ours != 0 for ours, _ in orders.values())
    assert figures["orders"] == len(orders)


def _position(symbol: str) -> float:
    return position(model=MODEL, deployment_id=slot(14).deployment_id, symbol=symbol)


def test_the_page_shows_counts_returns_and_a_plot(world: World):
    plan(world)
    canary(world, ago=timedelta(days=20))
    found = shown(run(world))
    assert "version 14 as canary beside version 13 in staging, since 2020-07-23 12:00 UTC" in str(found["compared"])
    assert "| test fold | challenger |" in str(found["accounts"])
    assert str(found["equity"]).startswith("![plot](data:image/png;base64,")
    assert 0 <= float(str(found["test_fold_share_that_differs"])) <= 1


def test_a_limit_that_is_passed_is_a_warning_that_names_it(world: World):
    plan(world, {**WIDE, "max_order_difference": 0.001})
    canary(world, ago=timedelta(days=20))
    (check,) = run(world).get_asset_check_evaluations()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "challenger, test fold: max_order_difference" in str(check.description)


def test_a_challenger_of_today_has_no_session_yet_and_nothing_is_claimed_of_it(world: World):
    plan(world)
    canary(world, ago=timedelta(0))
    done = run(world)
    assert shown(done)["since_start_orders"] == 0
    (check,) = done.get_asset_check_evaluations()
    assert "max_drawdown: not measured" in str(check.metadata["challenger, since it began"].value)


def test_a_version_approved_without_limits_is_not_compared(world: World):
    plan(world, {})
    canary(world, ago=timedelta(days=20))
    with pytest.raises(NoLimits, match="mlops deployments request signal_classifier --version"):
        run(world)


def test_a_version_of_features_that_are_gone_is_named(world: World):
    plan(world)
    canary(world, ago=timedelta(days=20))
    head = world.services.snapshots.head("datasets/signal_daily")
    rows = world.services.snapshots.read(head).drop_columns(["rsi_14"])
    provenance = Provenance(code_version="2", inputs={})
    world.services.snapshots.publish(head.dataset, rows, provenance=provenance, actor="dana")
    with pytest.raises(MissingColumns, match="needs rsi_14"):
        run(world)


def test_the_challenger_that_began_last_is_the_one_that_is_compared(world: World):
    canary(world, ago=timedelta(days=20))
    found = newest_running(world.services.serving, MODEL)
    assert found is not None
    assert (found.challenger.version, found.since) == (14, NOW - timedelta(days=20))
    world.move(14)
    alone = newest_running(world.services.serving, MODEL)
    assert alone is not None
    assert (alone.is_alone, alone.champion.version, alone.since) == (True, 14, NOW - timedelta(days=20))
    assert newest_running(world.services.serving, "another") is None


def test_the_sensor_asks_once_for_each_move(world: World):
    sensor = challengers_sensor([MODEL])
    asked: list[list[str | None]] = []
    cursor = None
    with dg.DagsterInstance.ephemeral() as instance:
        for step in (lambda: None, lambda: world.move(1), lambda: None, lambda: world.move(2)):
            step()
            context = dg.build_sensor_context(
                instance=instance, cursor=cursor, resources={"serving": world.services.serving}
            )
            result = sensor(context)
            assert isinstance(result, dg.SensorResult)
            asked.append([one.run_key for one in result.run_requests or []])
            cursor = result.cursor
    place = f"shadow:{MODEL}/{ENVIRONMENT}"
    assert asked == [[], [f"{place}:1"], [], [f"{place}:2"]]
