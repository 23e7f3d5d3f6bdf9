"""Asking the model that serves: what it answers, when it refuses, and who answers while the champion moves."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa

from mlops_assets.kernel.errors import Forbidden, IntegrityViolation, NotFound, PlatformError, UnknownReference
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.lifecycle.deployment.serving_moves import Mode
from mlops_assets.lifecycle.kinds.known import kind_of
from mlops_assets.lifecycle.operations.slices import position
from mlops_assets.lifecycle.serving.answer import FeaturesStale, FeatureVersionMismatch, NoChampion, Prediction
from mlops_assets.lifecycle.serving.loaded_models import LoadedModel, LoadedModels
from mlops_assets.lifecycle.serving.request_recorder import RequestRecorder
from mlops_assets.lifecycle.serving.served_features import ServedFeatures, refuse_other_versions
from mlops_assets.lifecycle.serving.service import PredictionService
from tests.lifecycle.predicting import (
    DAYS,
    DESK,
    ENVIRONMENT,
    FORECAST,
    MODEL,
    NOW,
    POLICY,
    REGIME,
    SYMBOLS,
    World,
    slot,
    spec_of,
    world_in,
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = world_in(tmp_path)
    yield made
    made.services.predictions.close()


def ask(world: World, symbol: str = "AAPL", **question: object) -> Prediction:
    return world.services.predictions.predict(MODEL, symbol, by=DESK, **question)  # pyright: ignore[reportArgumentType]


def health(world: World, version: int):
    world.services.predictions.close()
    return world.services.health.of(slot(version).deployment_id)


@pytest.mark.parametrize("version", [2, FORECAST, REGIME])
def test_an_answer_for_the_past_is_the_row_of_the_published_predictions_bit_for_bit(world: World, version: int):
    """A policy's rows follow from one another; see below for it."""
    world.move(version)
    rows = world.table(version).filter(pl.col("date").is_in([DAYS[300], DAYS[345], DAYS[400], DAYS[-1]]))
    assert rows.height == 4 * len(SYMBOLS)
    for row in rows.iter_rows(named=True):
        said = ask(world, row["symbol"], as_of=row["known_at"]).main
        assert said.outputs.keys() == {one.name for one in kind_of(spec_of(version).kind).columns}
        assert _exact(said.outputs) == _exact({name: row[name] for name in said.outputs})


def _exact(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value.hex() if isinstance(value, float) else value for name, value in values.items()}


def test_an_answer_names_everything_that_it_was_made_from(world: World):
    world.move(1)
    said = ask(world)
    head = world.services.snapshots.head("features/momentum")
    assert (said.model, said.main.kind, said.environment, said.epoch) == (MODEL, "classifier", ENVIRONMENT, 1)
    assert (said.symbol, said.as_of) == ("AAPL", NOW)
    assert (said.main.version, said.main.fingerprint) == (1, world.versions[1].fingerprint)
    assert (said.main.role, said.main.share, said.main.deployment_id) == ("champion", 1.0, slot(1).deployment_id)
    (view,) = said.main.views
    assert (view.view, view.version, view.snapshot, view.fingerprint) == (
        "momentum",
        "1.0.0",
        head.id,
        head.fingerprint,
    )
    published = world.services.snapshots.frame(head).filter(pl.col("symbol") == "AAPL", pl.col("date") == DAYS[-1])
    assert {one.column: one.value for one in said.main.features} == {
        name: published[name].item() for name in ("return_1d", "return_5d", "return_20d", "momentum_12_1", "rsi_14")
    }
    assert {one.known_at for one in said.main.features} == {
        datetime(DAYS[-1].year, DAYS[-1].month, DAYS[-1].day, 22, tzinfo=UTC)
    }
    assert said.latency_ms > 0


def test_a_version_predicts_as_it_was_trained_and_not_as_it_is_declared_today(world: World):
    """The second version's buckets are not those of the catalogue: nothing is a hold between 0.499 and 0.4995."""
    world.move(2)
    declared = world.services.catalogue.models[MODEL].learner.buckets
    said = [ask(world, symbol, as_of=NOW - timedelta(days=days)) for symbol in SYMBOLS for days in range(0, 60, 5)]
    between = [one for one in said if declared.sell < one.main.outputs["probability"] < declared.buy]
    assert between
    assert {one.main.outputs["bucket"] for one in between} <= {"buy", "sell", "hold"}
    assert any(one.main.outputs["bucket"] != "hold" for one in between)


@pytest.mark.parametrize(
    ("symbol", "question", "code", "words"),
    [
        ("AAPLE", {}, "unknown_symbol", "among the 4 of market/bars. Did you mean AAPL?"),
        ("aapl", {}, "unknown_symbol", "Did you mean AAPL?"),
        ("ZZ", {}, "unknown_symbol", "No symbol is called 'ZZ' among the 4 of market/bars."),
        ("INDEX", {}, "features_missing", "has bars and no row"),
        ("AAPL", {"as_of": NOW + timedelta(days=1)}, "as_of_in_future", "2020-08-13T12:00:00Z is in the future"),
        ("AAPL", {"as_of": datetime(2018, 1, 1, tzinfo=UTC)}, "as_of_before_first", "begin at 2019-01-02T22:00:00Z"),
        ("AAPL", {"as_of": datetime(2019, 2, 1, 23, tzinfo=UTC)}, "features_missing", "momentum.momentum_12_1"),
        ("AAPL", {"as_of": datetime(2020, 1, 1)}, "wrong_question", "has no time zone"),  # noqa: DTZ001
        ("AAPL", {"held_weight": 0.2}, "wrong_question", "is a classifier"),
        ("AAPL", {"held_weight": 1.2}, "wrong_question", "no share of the equity"),
        ("AAPL", {"environment": "prod"}, "unknown_reference", "production"),
        ("AAPL", {"environment": "production"}, "no_champion", "No version of signal_classifier serves in production"),
    ],
)
def test_a_question_without_an_answer_is_refused_with_its_reason(
    world: World, symbol: str, question: dict[str, object], code: str, words: str
):
    world.move(1)
    with pytest.raises(PlatformError) as refused:
        ask(world, symbol, **question)
    assert (refused.value.code, words in str(refused.value)) == (code, True), str(refused.value)
    assert health(world, 1).error_count == 0


def test_an_undeclared_model_is_not_found_and_the_nearest_is_named(world: World):
    with pytest.raises(NotFound, match="Did you mean signal_classifier"):
        world.services.predictions.predict("signal_clasifier", "AAPL", by=DESK)


def test_where_nobody_serves_the_remedy_is_to_promote(world: World):
    with pytest.raises(NoChampion, match="mlops deployments promote"):
        ask(world)
    world.move(1)
    assert ask(world).main.version == 1
    world.move(None)
    with pytest.raises(NoChampion):
        ask(world)


def test_who_may_not_predict_is_refused(world: World):
    world.move(1)
    with pytest.raises(Forbidden, match="may not do model"):
        world.services.predictions.predict(MODEL, "AAPL", by=Principal(name="vi", roles=frozenset({Role.VIEWER})))


def test_features_too_old_for_their_view_are_refused_and_the_last_ones_named(world: World):
    world.move(1)
    world.clock.at = NOW + timedelta(days=40)
    with pytest.raises(FeaturesStale, match=f"the last of momentum is of {DAYS[-1]}T21:00:00Z"):
        ask(world)
    assert ask(world, as_of=NOW).main.version == 1


def test_a_champion_refuses_features_of_another_version_than_it_learned_from(world: World):
    world.move(1)
    world.publish_view("2.0.0")
    with pytest.raises(FeatureVersionMismatch) as refused:
        ask(world)
    assert refused.value.differing == {"momentum": ("1.0.0", "2.0.0")}
    for words in ("signal_classifier@1 learned from momentum 1.0.0", "momentum 2.0.0 is served", "mlops features"):
        assert words in str(refused.value)
    world.publish_view("3.0.0", without="rsi_14")
    with pytest.raises(FeatureVersionMismatch, match=r"momentum 3\.0\.0 is served"):
        ask(world)
    world.publish_view("1.0.0")
    assert ask(world).main.version == 1
    assert (health(world, 1).request_count, health(world, 1).error_count) == (3, 0)


def test_a_swapped_artifact_is_noticed_counted_and_never_answered_from(world: World):
    world.move(1)
    world.swap_artifact(1)
    for _ in range(2):
        with pytest.raises(IntegrityViolation, match="expected SHA-256"):
            ask(world)
    assert (health(world, 1).request_count, health(world, 1).error_count) == (2, 2)


def test_after_a_rollback_the_next_prediction_comes_from_the_version_before_with_no_load_from_disk(world: World):
    world.move(1)
    world.move(2)
    assert ask(world).main.version == 2
    world.services.predictions.warm(MODEL, ENVIRONMENT)
    for version in (1, 2):
        world.services.blobs.path(world.versions[version].artifact_sha256).unlink()
    world.move(1)
    said = ask(world)
    assert (said.main.version, said.epoch) == (1, 3)
    assert said.main.outputs["probability"] == _of_row(world, said)


def test_a_version_that_can_not_be_loaded_keeps_no_other_from_being_ready(world: World):
    """The champion's artifact is damaged: now above all the one before must be ready."""
    world.move(1)
    world.move(2)
    world.swap_artifact(2)
    world.services.predictions.warm(MODEL)
    world.services.blobs.path(world.versions[1].artifact_sha256).unlink()
    world.move(1)
    assert ask(world).main.version == 1
    assert health(world, 2).request_count == 0


@pytest.mark.parametrize("version", [1, POLICY, FORECAST, REGIME])
def test_a_question_after_warming_up_imports_no_other_library(world: World, version: int):
    """But the histogram that counts it, once its time is taken."""
    world.move(version)
    run = subprocess.run(
        [sys.executable, "-c", _ASKED_WHEN_WARM, str(world.services.settings.home)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert {*run.stdout.split()} <= {"hdrh", "pyhdrh"}


_ASKED_WHEN_WARM = f"""
import sys
from pathlib import Path
from mlops_assets.settings import load_settings
from tests.lifecycle.predicting import DESK, NOW
from tests.rest.client import MovingClock, Services

predictions = Services(load_settings(home=Path(sys.argv[1])), MovingClock(NOW)).predictions
predictions.warm("{MODEL}")
before = {{name.partition(".")[0] for name in sys.modules}}
predictions.predict("{MODEL}", "AAPL", by=DESK)
print(*({{name.partition(".")[0] for name in sys.modules}} - before))
predictions.close()
"""


def test_warming_up_counts_as_no_request(world: World):
    world.move(1)
    world.services.predictions.warm(MODEL)
    assert health(world, 1).request_count == 0


def test_a_log_that_can_not_be_read_does_not_stop_a_start(world: World):
    with world.services.database.begin() as connection:
        connection.execute(sa.text("DROP TABLE serving_move"))
    world.services.predictions.warm_all()


def test_a_prediction_asks_the_database_who_serves_and_for_the_head_of_each_view_and_nothing_else(world: World):
    world.move(1)
    world.services.predictions.warm(MODEL)
    ask(world)
    asked = list[str]()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.extend([statement] if statement.startswith("SELECT") else [])

    sa.event.listen(world.services.database.engine, "before_cursor_execute", note)
    ask(world)
    assert len(asked) == 2, asked
    assert "serving_move" in asked[0]
    assert "dataset_head" in asked[1]


def _of_row(world: World, said: Prediction) -> float:
    """What the version's trees say of these features, asked of LightGBM alone."""
    import lightgbm

    content = world.services.loaded_models.get(MODEL, said.main.version).content
    values = [[one.value for one in said.main.features]]
    return float(lightgbm.Booster(model_str=content.decode()).predict(values)[0])


def test_a_shadow_is_asked_too_and_its_failure_changes_nothing(world: World):
    alone = world.move(1)
    before = ask(world)
    world.swap_artifact(2)
    world.move(1, challenger=2, mode=Mode.SHADOW)
    after = ask(world)
    assert after.epoch == alone.epoch + 1
    assert after.answers == before.answers
    assert (health(world, 1).error_count, health(world, 2).error_count) == (0, 1)


def test_a_shadow_that_answers_has_its_own_latencies(world: World):
    world.move(1, challenger=2, mode=Mode.SHADOW)
    assert [one.version for one in ask(world).answers] == [1]
    found = health(world, 2)
    assert (found.request_count, found.error_count) == (1, 0)
    assert found.mean_ms is not None


def test_a_canary_by_symbols_answers_alone_for_its_slice(world: World):
    places = {one: position(model=MODEL, deployment_id=slot(2).deployment_id, symbol=one) for one in SYMBOLS}
    first, *others = sorted(SYMBOLS, key=lambda symbol: places[symbol])
    world.move(1, challenger=2, mode=Mode.CANARY, part={"by": "symbols", "share": places[others[0]]})
    assert [(one.role, one.version, one.share) for one in ask(world, first).answers] == [("challenger", 2, 1.0)]
    for symbol in others:
        assert [(one.role, one.version, one.share) for one in ask(world, symbol).answers] == [("champion", 1, 1.0)]


def test_a_canary_by_capital_answers_beside_the_champion_with_its_share(world: World):
    world.move(1, challenger=2, mode=Mode.CANARY, part={"by": "capital", "share": 0.1})
    said = ask(world)
    assert [(one.role, one.version, one.share) for one in said.answers] == [
        ("champion", 1, 0.9),
        ("challenger", 2, 0.1),
    ]
    tables = {version: world.table(version).filter(symbol="AAPL", date=DAYS[-1]) for version in (1, 2)}
    assert [one.outputs["probability"] for one in said.answers] == [tables[v]["probability"].item() for v in (1, 2)]


class SlowSecond(LoadedModels):
    """On its timer, the second version takes 400 ms to be had."""

    seconds = 0.0

    def get(self, model: str, version: int) -> LoadedModel:
        self.seconds += 0.4 if version == 2 else 0.0
        return super().get(model, version)


def test_a_slow_canary_by_capital_does_not_make_its_champion_slow(world: World):
    """Otherwise the champion would be rolled back for what the canary is to blame for."""
    services = world.services
    world.move(1, challenger=2, mode=Mode.CANARY, part={"by": "capital", "share": 0.1})
    loaded = SlowSecond(services.models)
    features = ServedFeatures(services.features, services.snapshots)
    recorder = RequestRecorder(services.health, world.clock, flush_seconds=None)
    asked = PredictionService(
        services.serving,
        loaded,
        features,
        recorder,
        services.access,
        world.clock,
        services.catalogue.models,
        timer=lambda: loaded.seconds,
    )
    said = asked.predict(MODEL, "AAPL", by=DESK)
    recorder.flush()
    found = {version: services.health.of(slot(version).deployment_id) for version in (1, 2)}
    asked.close()
    assert said.latency_ms == pytest.approx(400)
    assert found[1].p99_ms == pytest.approx(0, abs=0.01)
    assert found[2].p99_ms == pytest.approx(400, rel=1e-3)


def test_while_the_champion_moves_every_answer_is_wholly_one_versions_and_agrees_with_the_log(world: World):
    """Each move waits for an answer of the one before: of threads that just begin, none sees most of twenty moves."""
    world.move(1)
    expected = {version: world.table(version).filter(symbol="IBM", date=DAYS[-1]) for version in (1, 2)}
    is_over, news, answers = threading.Event(), threading.Condition(), list[Prediction]()

    def keep_asking() -> None:
        while not is_over.is_set():
            said = ask(world, "IBM")
            with news:
                answers.append(said)
                news.notify_all()

    def wait_for(epoch: int) -> None:
        with news:
            assert news.wait_for(lambda: any(one.epoch == epoch for one in answers), timeout=60)

    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(keep_asking) for _ in range(4)]
        try:
            for version in (2, 1) * 10:
                wait_for(world.services.serving.now(MODEL, ENVIRONMENT).epoch)
                world.move(version)
        finally:
            is_over.set()
        for one in running:
            one.result(timeout=30)
    log = {one.after.epoch: one.after.champion for one in world.services.serving.history(MODEL, ENVIRONMENT)}
    assert {one.epoch for one in answers} >= {*range(1, 21)}
    for said in answers:
        main = said.main
        row = expected[main.version]
        assert log[said.epoch] == slot(main.version)
        assert (main.deployment_id, main.fingerprint) == (
            slot(main.version).deployment_id,
            world.versions[main.version].fingerprint,
        )
        assert dict(main.outputs) == {name: row[name].item() for name in ("probability", "bucket")}
    counted = sum(health(world, version).request_count for version in (1, 2))
    assert counted == len(answers)


@pytest.mark.parametrize(
    ("asked", "held"), [({}, "held 0"), ({"held_weight": 0.4}, "held 0.5"), ({"held_weight": 1}, "held 1")]
)
def test_a_policy_decides_from_what_is_held(world: World, asked: dict[str, object], held: str):
    world.move(POLICY)
    said = ask(world, **asked).main
    assert (said.kind, str(said.outputs["state"]).partition(" (")[0].rpartition(", ")[2]) == ("policy", held)
    assert said.outputs["target_weight"] in (0.0, 0.5, 1.0)


def test_a_policys_first_decision_is_that_of_the_published_predictions(world: World):
    """It is made with nothing held, as the service has it where nobody says what is held."""
    world.move(POLICY)
    for symbol in SYMBOLS:
        row = world.table(POLICY).filter(symbol=symbol).sort("date").row(0, named=True)
        said = ask(world, symbol, as_of=row["known_at"]).main
        assert dict(said.outputs) == {name: row[name] for name in ("target_weight", "value", "state")}


def test_an_unknown_environment_is_a_mistake_and_no_missing_champion(world: World):
    with pytest.raises(UnknownReference):
        ask(world, environment="stagging")


def test_a_version_that_does_not_say_what_it_learned_from_refuses(world: World):
    loaded = world.services.loaded_models.get(MODEL, 1)
    silent = replace(loaded.version, metadata={**loaded.version.metadata, "feature_views": {}})
    with pytest.raises(FeatureVersionMismatch, match="of a version that it does not name"):
        refuse_other_versions(
            LoadedModel(version=silent, spec=loaded.spec, content=loaded.content), {"momentum": "1.0.0"}
        )
