"""`mlops models`: versions, comparing them, searching a model's parameters, and what was ever tried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlops_assets.cli import model_versions
from mlops_assets.cli.installation import services_of
from mlops_assets.cli.render import AsJson, print_json, show_record, show_rows
from mlops_assets.kernel.errors import UnknownReference

if TYPE_CHECKING:
    from mlops_assets.lifecycle.spec import ModelSpec
    from mlops_assets.lifecycle.training.trials import Trial
    from mlops_assets.services import ServiceFactory

commands = typer.Typer(help="Models: their versions, comparing them, and searching parameters.", no_args_is_help=True)
commands.command("list")(model_versions.list_)
commands.command()(model_versions.show)
commands.command()(model_versions.compare)

ModelName = Annotated[str, typer.Argument(help="The model's name.")]


@commands.command()
def sweep(
    model: ModelName,
    trials: Annotated[int | None, typer.Option(min=1, help="How many trials in all; as declared without it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Search for parameters with a lower loss on the valid fold, and show the best as lines for the declaration.

    Nothing is adopted. A sweep that was stopped goes on where it was; more trials continue it.
    """
    from mlops_assets.cli.progress import counting
    from mlops_assets.features.freezing import newest_of
    from mlops_assets.lifecycle.training.sweep import run_sweep, sweep_of, valid_loss
    from mlops_assets.lifecycle.training.sweep_report import as_declared

    services = services_of()
    by = services.acting("run.launch")
    spec = _declared(services, model, "mlops models sweep")
    source = newest_of(spec.training_set, services.snapshots)
    asked = sweep_of(spec, source)
    with counting(f"Trials of {model}", total=trials or asked.search.trials) as count:
        found = run_sweep(
            asked,
            valid_loss(services.snapshots.read(source), spec),
            ledger=services.trials,
            tracking=services.tracking,
            by=by.name,
            trials=trials,
            tags={
                "mlflow.user": by.name,
                "mlflow.source.name": "mlops models sweep",
                "mlops.declaration": f"{spec.version} {spec.fingerprint}",
                "mlflow.note.content": f"Search for parameters of {model}.",
            },
            on_trial=lambda one: count(one.number + 1),
        )
    declared = as_declared(found.best.parameters)
    record: dict[str, object] = {
        "study": found.study,
        "trials": len(found.trials),
        "failed": sum(one.value is None for one in found.trials),
        "best_trial": found.best.number,
        "best_valid_loss": found.best.value,
        "mlflow_run_id": found.run_id,
        "mlflow": services.tracking.url(found.run_id) or services.tracking.links.how_to_open,
    }
    if as_json:
        print_json({**record, "best_parameters": dict(found.best.parameters)})
        return
    show_record(f"Sweep of {model}", record, as_json=False)
    typer.echo(f"To adopt the best, write into {spec.declared_in}:\n\n{declared}")


@commands.command("trials")
def list_trials(model: ModelName, as_json: AsJson = False) -> None:
    """List every set of parameters that was ever tried on a model, failed ones too."""
    services = services_of()
    services.acting("platform.read")
    _declared(services, model, "mlops models trials")
    rows = [_row(one) for one in services.trials.list(model)]
    show_rows(f"Trials of {model} (UTC)", rows, as_json=as_json, only_json=("training_set_fingerprint", "run_id"))


def _declared(services: ServiceFactory, name: str, asked_by: str) -> ModelSpec:
    known = services.catalogue.models
    if name not in known:
        raise UnknownReference(kind="model", name=name, known=known, asked_by=asked_by)
    return known[name]


def _row(one: Trial) -> dict[str, object]:
    return {
        "study": one.study[:12],
        "trial": one.number,
        "state": one.state.value,
        "valid_loss": one.value,
        "parameters": dict(one.parameters),
        "at": one.at,
        "by": one.by,
        "training_set_fingerprint": one.training_set_fingerprint,
        "run_id": one.run_id,
    }
