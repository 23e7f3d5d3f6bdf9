"""Versions that are registered, and who serves, written straight into the stores: how they got there is no matter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from mlops_assets.kernel.change import Change
from mlops_assets.kernel.fingerprint import bytes_sha256, fingerprint
from mlops_assets.lifecycle.deployment.serving_moves import Action, Mode, Move, Serving, Slot
from mlops_assets.lifecycle.deployment.serving_store import ServingStore, append
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.lifecycle.tracking.tracking import RunKey
from mlops_assets.storage.sql.tables import model_version
from tests.lifecycle.worlds import NOW, Stores, unguard

MODEL = "signal_classifier"
ENVIRONMENT = "staging"


def register(
    kept: Stores, number: int, *, model: str = MODEL, content: bytes = b"", metadata: Mapping[str, Any] | None = None
) -> ModelVersion:
    """A version in the registry and in MLflow's."""
    key = RunKey(asset=f"models/{model}", root_run_id=f"root-{number}")
    with kept.tracking.run(key, experiment=f"models/{model}", tags={}) as run:
        run_id = run.id
    made = ModelVersion(
        model=model,
        version=number,
        fingerprint=fingerprint({"model": model, "number": number}),
        artifact_sha256=kept.blobs.put(content) if content else bytes_sha256(b"none"),
        training_set_fingerprint="2" * 64,
        code_version="3" * 64,
        run_id=run_id,
        stage="experimental",
        metadata={"description": "A version for tests.", **(metadata or {})},
        metrics={},
        created_at=NOW,
        created_by="mia",
    )
    with kept.database.begin() as connection:
        connection.execute(
            sa.insert(model_version).values({name: getattr(made, name) for name in ModelVersion.__dataclass_fields__})
        )
    kept.models.project(made)
    return made


def slot(number: int) -> Slot:
    """The deployment of a version, whose id is its number repeated."""
    return Slot(deployment_id=str(number) * 64, version=number)


def serve(
    kept: Stores,
    champion: Slot | None,
    challenger: Slot | None = None,
    *,
    mode: Mode | None = None,
    slice: Mapping[str, Any] | None = None,
    environment: str = ENVIRONMENT,
    model: str = MODEL,
    action: Action = Action.CHAMPION,
) -> Serving:
    """One more move of the log."""
    now = ServingStore(kept.database).now(model, environment)
    after = replace(now, epoch=now.epoch + 1, champion=champion, challenger=challenger, mode=mode, slice=slice)
    unguard(kept.database)
    moved = challenger or champion or now.champion
    assert moved is not None
    unguard(kept.database)
    with kept.database.begin() as connection:
        change = Change(actor="ben", action="deployment.promote", subject=f"serving/{model}/{environment}")
        seq = kept.ledger.append(connection, change)
        append(
            connection,
            Move(
                action=action,
                deployment_id=moved.deployment_id,
                after=after,
                at=NOW,
                actor="ben",
                reason="test",
                ledger_seq=seq,
            ),
        )
    return after
