"""Asking a model over HTTP: the answer in full, and a status and a reason for every refusal."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa

from mlops_assets.lifecycle.deployment.serving_moves import Mode
from mlops_assets.lifecycle.serving.answer import Prediction
from mlops_assets.lifecycle.serving.loaded_models import LoadedModel, LoadedModels, Versions
from mlops_assets.storage.sql.tables import deployment
from tests.lifecycle.predicting import DAYS, DESK, MODEL, NOW, World, slot, spec_of, world_in
from tests.rest.client import Api, api_over

PREDICT = f"/api/v1/ml/lifecycle/models/{MODEL}/predict"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = world_in(tmp_path)
    yield made
    made.services.predictions.close()


@pytest.fixture
def api(world: World) -> Api:
    return api_over(world.services)


def test_a_prediction_is_the_published_one_with_all_that_it_was_made_from(world: World, api: Api):
    world.move(1)
    row = world.table(1).filter(symbol="MSFT", date=DAYS[360]).row(0, named=True)
    answer = api.post(PREDICT, {"symbol": "MSFT", "as_of": row["known_at"].isoformat()})
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["model_name"], said["kind"], said["environment"], said["epoch"]) == (MODEL, "classifier", "staging", 1)
    assert (said["model_version"], said["deployment_id"]) == ("1", slot(1).deployment_id)
    assert said["outputs"] == {name: row[name] for name in ("probability", "bucket")}
    (one,) = said["answers"]
    assert (one["role"], one["share"], one["fingerprint"]) == ("champion", 1.0, world.versions[1].fingerprint)
    assert [feature["column"] for feature in one["features"]] == list(world.services.catalogue.models[MODEL].features)
    assert {feature["known_at"] for feature in one["features"]} == {f"{DAYS[360]}T22:00:00Z"}
    assert one["feature_views"][0]["version"] == "1.0.0"
    alias = "/api/v1/ml/lifecycle/lifecycle" + PREDICT.removeprefix("/api/v1/ml/lifecycle")
    assert api.post(alias, {"symbol": "MSFT"}).status_code == 200


class Announcing(LoadedModels):
    """Tells when a version was wanted and is there."""

    def __init__(self, versions: Versions) -> None:
        super().__init__(versions)
        self.is_there = threading.Event()

    def get(self, model: str, version: int) -> LoadedModel:
        found = super().get(model, version)
        self.is_there.set()
        return found


def test_who_serves_is_made_ready_at_the_start_and_the_end_writes_what_was_counted(world: World):
    """A server ends by a signal, and then Python calls nothing that is registered for its end."""
    world.move(1)
    world.services.loaded_models = announcing = Announcing(world.services.models)
    app = api_over(world.services).app

    async def while_up() -> Prediction:
        async with app.router.lifespan_context(app):
            assert await asyncio.to_thread(announcing.is_there.wait, 30)
            return world.services.predictions.predict(MODEL, "IBM", by=DESK)

    assert asyncio.run(while_up()).main.version == 1
    assert world.services.health.of(slot(1).deployment_id).request_count == 1


def test_a_canary_by_capital_shows_both_answers(world: World, api: Api):
    world.move(1, challenger=2, mode=Mode.CANARY, part={"by": "capital", "share": 0.75})
    said = api.post(PREDICT, {"symbol": "IBM"}).json()
    assert [(one["role"], one["share"]) for one in said["answers"]] == [("challenger", 0.75), ("champion", 0.25)]
    assert (said["model_version"], said["outputs"]) == ("2", said["answers"][0]["outputs"])


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        (PREDICT, {"symbol": "AAPLE"}, 404, "Did you mean AAPL?"),
        (PREDICT.replace(MODEL, "signal_clasifier"), {"symbol": "AAPL"}, 404, "Did you mean signal_classifier"),
        (PREDICT, {"symbol": "INDEX"}, 409, "has bars and no row"),
        (PREDICT, {"symbol": "AAPL", "environment": "production"}, 409, "No version of signal_classifier serves"),
        (PREDICT, {"symbol": "AAPL", "environment": "prod"}, 422, "environment"),
        (PREDICT, {"symbol": "AAPL", "as_of": (NOW + timedelta(days=1)).isoformat()}, 422, "is in the future"),
        (PREDICT, {"symbol": "AAPL", "as_of": "2010-01-01T00:00:00Z"}, 422, "begin at 2019-01-02T22:00:00Z"),
        (PREDICT, {"symbol": "AAPL", "as_of": "2020-01-01T00:00:00"}, 422, "timezone"),
        (PREDICT, {"symbol": "AAPL", "as_of": "0001-01-01T00:00:00+14:00"}, 422, "no time that a market knew"),
        (PREDICT, {"symbol": "AAPL", "held_weight": 0.5}, 422, "is a classifier"),
        (PREDICT, {"symbol": "AAPL", "as_off": "2020-01-01T00:00:00Z"}, 422, "as_off"),
        (PREDICT, {}, 422, "symbol"),
    ],
)
def test_a_refusal_has_a_status_and_a_reason(
    world: World, api: Api, path: str, body: dict[str, object], status: int, words: str
):
    world.move(1)
    answer = api.post(path, body)
    assert (answer.status_code, words in answer.text) == (status, True), answer.text


def test_features_of_another_version_are_409_and_a_swapped_artifact_is_503(world: World, api: Api):
    world.move(1)
    world.publish_view("2.0.0")
    refused = api.post(PREDICT, {"symbol": "AAPL"})
    assert (refused.status_code, "learned from momentum 1.0.0" in refused.text) == (409, True)
    world.swap_artifact(2)
    world.move(2)
    assert api.post(PREDICT, {"symbol": "AAPL"}).status_code == 503


def test_who_may_not_predict_gets_nothing(world: World, api: Api):
    world.move(1)
    assert api.as_("vi").post(PREDICT, {"symbol": "AAPL"}).status_code == 403
    assert Api(app=api.app, token=None).post(PREDICT, {"symbol": "AAPL"}).status_code == 401
    assert api.as_("dana").post(PREDICT, {"symbol": "AAPL"}).status_code == 200


def test_a_rollback_is_seen_by_the_next_request(world: World, api: Api):
    for version in (1, 2, 1):
        world.move(version)
        said = api.post(PREDICT, {"symbol": "AAPL"}).json()
        row = world.table(version).filter(pl.col("symbol") == "AAPL", pl.col("date") == DAYS[-1]).row(0, named=True)
        assert (said["model_version"], said["outputs"]["probability"]) == (str(version), row["probability"])


def test_a_deployment_shows_the_health_of_the_last_day(world: World, api: Api):
    for version in (1, 2):
        _deploy(world, version)
    world.move(1)
    for symbol in ("AAPL", "IBM", "INDEX"):
        api.post(PREDICT, {"symbol": symbol})
    world.services.predictions.close()
    path = f"/api/v1/ml/lifecycle/deployments/{slot(1).deployment_id}"
    shown = api.get(path).json()
    health = world.services.health.of(slot(1).deployment_id)
    assert (shown["health_status"], shown["error_rate"]) == ("healthy", 0.0)
    assert shown["metrics"] == {
        "request_count": 3,
        "error_count": 0,
        "avg_latency_ms": health.mean_ms,
        "p95_latency_ms": health.p95_ms,
        "p99_latency_ms": health.p99_ms,
        "last_updated": "2020-08-12T12:00:00Z",
    }
    never_asked = api.get(path.replace(slot(1).deployment_id, slot(2).deployment_id)).json()
    assert (never_asked["health_status"], never_asked["error_rate"], never_asked["metrics"]) == (None, None, None)
    listed = api.get("/api/v1/ml/lifecycle/deployments").json()["deployments"]
    assert {one["model_version"]: one["health_status"] for one in listed} == {"1": "healthy", "2": None}
    world.clock.at = NOW + timedelta(days=2)
    assert api.get(path).json()["metrics"] is None


def _deploy(world: World, version: int) -> None:
    """Write the row of a deployment with limits that no test is slow enough to pass."""
    plan = spec_of(version).deployment.as_json()
    row = {
        "id": slot(version).deployment_id,
        "model": MODEL,
        "model_version": version,
        "environment": "staging",
        "tier": 2,
        "state": "registered",
        "evidence_fingerprint": None,
        "checklist": [],
        "plan": {**plan, "limits": {**plan["limits"], "max_p99_ms": 120_000.0}},
        "epoch": 0,
        "created_at": NOW,
        "updated_at": NOW,
        "created_by": "quinn",
    }
    with world.services.database.begin() as connection:
        connection.execute(sa.insert(deployment).values(row))
