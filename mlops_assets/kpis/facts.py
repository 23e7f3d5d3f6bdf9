"""Where the KPIs' facts come from: one query each over the platform's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from mlops_assets.kpis.measures import Facts
from mlops_assets.lifecycle.template import IncompleteMetadata, require_complete
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import (
    approval,
    drift_event,
    model_version,
    prompt_evaluation,
    replay,
    snapshot,
)

_PREDICTIONS, _EXPLANATIONS, _MODELS = "predictions/", "explanations/", "models/"


@dataclass(frozen=True, slots=True, kw_only=True)
class _UsedModel:
    """A model by the fingerprint of one version; None where the inputs do not tell which."""

    name: str
    fingerprint: str | None


def gather_facts(database: Database) -> Facts:
    """Read every fact in one consistent view of the database."""
    with database.read() as connection:
        models = _models_read_by_replays(connection)
        explained = _explained_models(connection)
        decided = _decided(connection)
        return Facts(
            model_versions=_count(connection, model_version),
            model_versions_with_complete_metadata=_complete_versions(connection),
            replays=_count(connection, replay),
            model_driven_replays=len(models),
            model_driven_replays_with_explanations=sum(model in explained for model in models),
            approval_lead_times=[one.decided_at - one.submitted_at for one in decided],
            approvals_decided_in_time=sum(one.due_at is None or one.decided_at <= one.due_at for one in decided),
            approval_overrides=_count(connection, approval, approval.c.is_override),
            prompt_evaluations=_count(connection, prompt_evaluation),
            prompt_evaluations_passed=_count(connection, prompt_evaluation, prompt_evaluation.c.is_passed),
            open_drift_events=_count(connection, drift_event, drift_event.c.status != "resolved"),
        )


def _count(connection: sa.Connection, table: sa.Table, *where: sa.ColumnElement[bool]) -> int:
    return connection.scalar(sa.select(sa.func.count()).select_from(table).where(*where)) or 0


def _complete_versions(connection: sa.Connection) -> int:
    """Count versions again by today's template: it may ask for more than when they were registered."""
    rows = connection.execute(sa.select(model_version.c.metadata)).scalars()
    return sum(_is_complete(metadata) for metadata in rows)


def _is_complete(metadata: Mapping[str, Any]) -> bool:
    try:
        require_complete("(any)", metadata["kind"], metadata)
    except IncompleteMetadata:
        return False
    return True


def _models_read_by_replays(connection: sa.Connection) -> list[_UsedModel]:
    """Return the model version of each replay that read predictions, once a replay."""
    inputs = connection.scalars(sa.select(replay.c.inputs))
    return [model for each in inputs for model in _models_among(each)]


def _models_among(inputs: Mapping[str, str]) -> list[_UsedModel]:
    names = [name.removeprefix(_PREDICTIONS) for name in inputs if name.startswith(_PREDICTIONS)]
    return [_UsedModel(name=name, fingerprint=inputs.get(_MODELS + name)) for name in names]


def _explained_models(connection: sa.Connection) -> set[_UsedModel]:
    """Return every model version that any snapshot of its explanations was made from, the head or an earlier one."""
    statement = sa.select(snapshot.c.dataset, snapshot.c.inputs).where(snapshot.c.dataset.startswith(_EXPLANATIONS))
    names = [(row.dataset.removeprefix(_EXPLANATIONS), row.inputs) for row in connection.execute(statement)]
    return {
        _UsedModel(name=name, fingerprint=inputs[_MODELS + name]) for name, inputs in names if _MODELS + name in inputs
    }


def _decided(connection: sa.Connection) -> Sequence[sa.Row[Any]]:
    """Return when requests that a verdict decided were submitted, due and decided; an override is no verdict.

    What was revoked or expired after its approval was decided all the same.
    """
    statement = sa.select(approval.c.submitted_at, approval.c.due_at, approval.c.decided_at).where(
        approval.c.decided_at.is_not(None), approval.c.submitted_at.is_not(None), ~approval.c.is_override
    )
    return connection.execute(statement.order_by(approval.c.decided_at, approval.c.id)).all()
