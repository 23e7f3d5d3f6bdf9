"""What the lifecycle puts into the outbox, and sending all of it again."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from mlops_assets.kernel.change import Change
from mlops_assets.ledger.store import Ledger
from mlops_assets.lifecycle.deployment import rows as deployment_rows
from mlops_assets.lifecycle.deployment.record import Deployment
from mlops_assets.lifecycle.deployment.serving_moves import Action, Move, Serving, Slot
from mlops_assets.lifecycle.deployment.serving_store import ServingStore, append
from mlops_assets.lifecycle.deployment.states import State
from mlops_assets.lifecycle.mirrors.automation import mirror_delivery_sensor
from mlops_assets.lifecycle.mirrors.documents import of_deployment, of_serving, of_version
from mlops_assets.lifecycle.mirrors.resend import MirrorResend
from mlops_assets.lifecycle.mirrors.wandb_mirror import WandbMirror
from mlops_assets.lifecycle.registry import ModelRegistry, ModelVersion
from mlops_assets.lifecycle.training.candidate import train_candidate
from mlops_assets.storage.blobs import BlobStore
from mlops_assets.storage.mirror.mirrors import Mirrors
from mlops_assets.storage.mirror.outbox import MirrorOutbox
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import mirror_document, model_version
from tests.alerts.worlds import MovingClock
from tests.lifecycle.test_registry import CODE, DATA, KEY, _metadata
from tests.lifecycle.worlds import NOW, SERVICE, small_spec, stores, training_set
from tests.storage.mirror_worlds import Network, Server
from tests.storage.test_mirror_outbox import Notebook

VERSION = ModelVersion(
    model="signal_classifier",
    version=2,
    fingerprint="f" * 64,
    artifact_sha256="a" * 64,
    training_set_fingerprint="d" * 64,
    code_version="c" * 64,
    run_id="run",
    stage="experimental",
    metadata={"library": "lightgbm", "parameters": {"num_leaves": 7}},
    metrics={"test_auc": 0.5, "undefined": float("inf")},
    created_at=NOW,
    created_by="dagster",
)
DEPLOYMENT = Deployment(
    id="1" * 64,
    model="signal_classifier",
    model_version=2,
    environment="staging",
    tier=2,
    state=State.CHAMPION,
    evidence_fingerprint="e" * 64,
    checklist=[{"name": "registered", "status": "passed"}],
    plan={"rollout": {"shadow_sessions": 5}},
    epoch=4,
    created_at=NOW,
    updated_at=NOW,
    created_by="dagster",
)
SERVING = Serving(
    model="signal_classifier", environment="staging", epoch=1, champion=Slot(deployment_id="1" * 64, version=2)
)


@pytest.fixture
def moving() -> MovingClock:
    return MovingClock(NOW)


@pytest.fixture
def outbox(database: Database, moving: MovingClock) -> MirrorOutbox:
    return MirrorOutbox(database, moving)


def kept(database: Database) -> dict[str, tuple[int, dict[str, Any]]]:
    with database.read() as connection:
        rows = connection.execute(sa.select(mirror_document)).mappings().all()
    return {f"{row['kind']}/{row['id']}": (row["rev"], row["document"]) for row in rows}


def make_history(database: Database, ledger: Ledger) -> dict[str, int]:
    """A version, its deployment and one move, as an installation without mirrors has them; and their ledger entries."""
    with database.begin() as connection:
        row = {name: getattr(VERSION, name) for name in ModelVersion.__dataclass_fields__}
        connection.execute(sa.insert(model_version).values({**row, "metrics": {"test_auc": 0.5}}))
        deployment_rows.insert(connection, replace(DEPLOYMENT, state=State.REGISTERED, epoch=0))
        seqs = [
            ledger.append(connection, Change(actor="dagster", action=action, subject=subject))
            for action, subject in (
                ("model_version.register", VERSION.id),
                ("deployment.request", DEPLOYMENT.subject),
                ("deployment.retire", DEPLOYMENT.subject),
            )
        ]
        move = Move(
            action=Action.RETIRE,
            deployment_id=DEPLOYMENT.id,
            after=replace(SERVING, champion=None),
            at=NOW,
            actor="ana",
            reason="ended",
            ledger_seq=seqs[2],
        )
        append(connection, move)
    return {
        "models/signal_classifier@2": seqs[0],
        f"deployments/{DEPLOYMENT.id}": seqs[2],
        "serving/signal_classifier/staging": seqs[2],
    }


def test_documents_name_their_fields_as_the_rest_api_does():
    model = of_version(VERSION)
    assert (model.kind, model.id) == ("models", "signal_classifier@2")
    assert model.document["metrics"] == {"test_auc": 0.5, "undefined": None}
    named = {"model_name": "signal_classifier", "version": "2", "run_id": "run", "stage": "experimental"}
    assert {name: model.document[name] for name in named} == named
    assert model.document["created_at"] == "2024-06-07T12:00:00Z"
    deployment = of_deployment(DEPLOYMENT)
    assert (deployment.kind, deployment.id) == ("deployments", DEPLOYMENT.id)
    assert (deployment.document["status"], deployment.document["state"]) == ("active", "champion")
    assert deployment.document["approval_checklist"] == [{"name": "registered", "status": "passed"}]
    serving = of_serving(SERVING)
    assert (serving.kind, serving.id) == ("serving", "signal_classifier/staging")
    assert (serving.document["epoch"], serving.document["champion"]["version"]) == (1, 2)


def test_what_was_there_before_mirrors_were_is_put_by_a_resend_with_the_entry_it_leads_to(
    database: Database, ledger: Ledger, blobs: BlobStore, outbox: MirrorOutbox, moving: MovingClock
):
    revs = make_history(database, ledger)
    models = ModelRegistry(database, ledger, blobs, tracking=None, clock=moving)  # type: ignore[arg-type]
    again = MirrorResend(database, ledger, outbox, models, ServingStore(database))
    target, other = Notebook("mongodb"), Notebook("other")
    mirrors = Mirrors(outbox, [target, other], moving)
    assert again.resend(target, by=SERVICE) == 3
    assert {key: rev for key, (rev, _) in kept(database).items()} == revs
    mirrors.deliver_due(within=timedelta(seconds=25))
    first = kept(database)
    assert again.resend(target, by=SERVICE) == 3
    assert kept(database) == first
    mirrors.deliver_due(within=timedelta(seconds=25))
    assert (len(target.taken), len(other.taken)) == (6, 3)
    entries = [(one.action, one.subject, one.details) for one in ledger.entries(action="mirror.*")]
    assert entries == [("mirror.resend", "mirrors/mongodb", {"documents": 3})] * 2


def test_a_resend_never_puts_an_older_state_over_a_newer_one(
    database: Database, ledger: Ledger, blobs: BlobStore, outbox: MirrorOutbox, moving: MovingClock
):
    make_history(database, ledger)
    with database.begin() as connection:
        outbox.put(connection, "serving", "signal_classifier/staging", 99, {"epoch": 7})
    models = ModelRegistry(database, ledger, blobs, tracking=None, clock=moving)  # type: ignore[arg-type]
    MirrorResend(database, ledger, outbox, models, ServingStore(database)).resend(Notebook(), by=SERVICE)
    assert kept(database)["serving/signal_classifier/staging"] == (99, {"epoch": 7})


def tick(mirrors: Mirrors) -> str:
    result = mirror_delivery_sensor()(dg.build_sensor_context(resources={"mirrors": mirrors}))
    assert isinstance(result, dg.SensorResult)
    assert result.skip_reason is not None
    return result.skip_reason.skip_message or ""


def test_the_sensor_asks_nobody_where_no_mirror_is_on(moving: MovingClock):
    unused = MirrorOutbox(Database("sqlite:////nowhere/at/all.db"), moving)
    assert tick(Mirrors(unused, [], moving)) == "no mirror is on"


def test_a_tick_says_what_each_mirror_took(database: Database, outbox: MirrorOutbox, moving: MovingClock):
    down, up = Notebook("down"), Notebook("up")
    down.down = "connection refused"
    with database.begin() as connection:
        outbox.put(connection, "models", "a", 1, {})
    assert tick(Mirrors(outbox, [down, up], moving)) == "down: delivered 0, connection refused; up: delivered 1"


def test_the_sensor_runs_by_itself_every_half_minute():
    sensor = mirror_delivery_sensor()
    assert (sensor.name, sensor.minimum_interval_seconds) == ("mirror_delivery", 30)
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING


def test_of_two_states_after_one_entry_the_last_one_put_counts(database: Database, outbox: MirrorOutbox):
    with database.begin() as connection:
        for one in (DEPLOYMENT, replace(DEPLOYMENT, state=State.RETIRED)):
            outbox.put(connection, "deployments", one.id, 5, of_deployment(one).document)
    assert kept(database)[f"deployments/{DEPLOYMENT.id}"][1]["state"] == "retired"


def test_registering_a_version_puts_its_document_under_the_number_of_its_ledger_entry(tmp_path: Path):
    world, candidate = stores(tmp_path), train_candidate(training_set(), small_spec())
    clock = MovingClock(NOW)
    models = ModelRegistry(
        world.database, world.ledger, world.blobs, world.tracking, clock, outbox=MirrorOutbox(world.database, clock)
    )
    made = candidate.fitted.content
    with world.tracking.run(KEY, experiment="models/signal_classifier", tags={}) as run:
        version = models.register(
            model="signal_classifier",
            kind="classifier",
            content=made,
            training_set_fingerprint=DATA,
            code_version=CODE,
            run_id=run.id,
            metadata=_metadata(candidate),
            metrics=candidate.metrics(),
            actor="dagster",
        )
    (entry,) = world.ledger.entries(action="model_version.register")
    assert kept(world.database) == {"models/signal_classifier@1": (entry.seq, of_version(version).document)}
    folder = tmp_path / "wandb"
    wandb = WandbMirror("offline", project="desk", folder=folder, blobs=world.blobs, environment=os.environ)
    server = Server()
    mirrors = Mirrors(MirrorOutbox(world.database, clock), [Network(server).mirror(), wandb], clock)
    turns = mirrors.deliver_due(within=timedelta(seconds=60))  # the real document, with all its metadata
    assert [(turn.delivered, turn.refused, turn.problem) for turn in turns] == [(1, 0, "")] * 2
    assert server.documents()["models/signal_classifier@1"]["metadata"] == of_version(version).document["metadata"]
    server.close()
