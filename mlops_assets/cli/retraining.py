"""`mlops models cadence|retrain`: whether models are trained as often as declared, and training one now."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer

from mlops_assets.cli.installation import services_of
from mlops_assets.cli.render import AsJson, show_record, show_rows
from mlops_assets.kernel.errors import Conflict, UnknownReference


def cadence(as_json: AsJson = False) -> None:
    """Show when each model was trained, when it is due again, and what is left of its budget after drift."""
    services = services_of()
    services.acting("platform.read")
    rows: list[dict[str, object]] = []
    for name, spec in services.catalogue.models.items():
        found = services.retrainings.adherence(spec, services.models.trained_at(name))
        rows.append(
            {
                "model": name,
                "cadence": spec.retraining.cron,
                "last_trained": found.last_trained,
                "due": found.due_at,
                "is_kept": found.is_kept,
                "share_of_time_kept": found.share_of_time_kept,
                "after_drift": f"{services.retrainings.budget_used(name)} of {spec.retraining.most_a_year} a year",
            }
        )
    show_rows("Retraining (UTC)", rows, as_json=as_json)


def retrain(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it goes into the ledger.")],
    as_json: AsJson = False,
) -> None:
    """Train a candidate on the newest training set now. It is registered, and promoted by nobody."""
    from mlops_assets.graph import build_defs
    from mlops_assets.launch.instance import open_instance
    from mlops_assets.lifecycle.retraining.requests import Cause
    from mlops_assets.orchestration.declared import key
    from mlops_assets.orchestration.refresh import materialise

    services = services_of()
    by = services.acting("run.launch")
    known = services.catalogue.models
    if model not in known:
        raise UnknownReference(kind="model", name=model, known=known, asked_by="mlops models retrain")
    asked = services.retrainings.request(model, Cause.MANUAL, str(uuid.uuid4()), by=by.name, reason=reason)
    with open_instance(services.settings) as instance:
        made = materialise(
            build_defs(services),
            instance,
            [key(known[model].dataset)],
            lambda progress: None,
            tags_of=lambda run_id: services.run_identity.tags(by, run_id),
        )
    if made.failures:
        raise Conflict(f"{model} was not trained: {'; '.join(made.failures.values())}")
    version = services.models.latest(model)
    record: dict[str, object] = {
        "version": version.id,
        "fingerprint": version.fingerprint,
        "training_set_fingerprint": version.training_set_fingerprint,
        "requested": asked.cause_id,
        "next": "Predictions and replays follow by themselves while the platform is up, or at the next `mlops up`.",
    }
    show_record(f"A candidate of {model}", record, as_json=as_json)
