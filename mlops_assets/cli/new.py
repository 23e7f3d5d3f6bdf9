"""`mlops new model`: the file that a model starts from."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops_assets.cli.render import AsJson, print_json
from mlops_assets.kernel.errors import UnknownReference
from mlops_assets.settings import load_settings

commands = typer.Typer(help="Start a declaration from its template.", no_args_is_help=True)


@commands.callback()
def _new() -> None:
    """Start a declaration from its template."""


@commands.command()
def model(
    name: Annotated[str, typer.Argument(help="The model's name, like dividend_forecast.")],
    kind: Annotated[str, typer.Option(help="classifier, forecast, regime or policy.")],
    owner: Annotated[str, typer.Option(help="Who answers for it: a team or an address.")] = "team:quant",
    as_json: AsJson = False,
) -> None:
    """Write catalog/models/NAME.yaml from the template of a kind.

    It is complete but for the sentences that only you can write; they begin with TODO.
    """
    from mlops_assets.kernel.strict_yaml import read_file
    from mlops_assets.lifecycle.learner import LEARNERS, Kind
    from mlops_assets.lifecycle.new_model import start_model
    from mlops_assets.lifecycle.spec import unwritten

    kinds: dict[str, Kind] = {one: one for one in LEARNERS}
    chosen = kinds.get(kind)
    if chosen is None:
        raise UnknownReference(kind="kind of model", name=kind, known=LEARNERS, asked_by="mlops new model")
    file = start_model(load_settings().catalog_path, name=name, kind=chosen, owner=owner)
    left = unwritten(read_file(file, remedy="Save it as UTF-8 that you may read."))
    if as_json:
        print_json({"file": str(file), "to_write": left})
        return
    typer.echo(f"Wrote {file}")
    typer.echo(f"Still to be written by you: {', '.join(left)}")
    typer.echo(f"Then `mlops doctor` reads the catalogue, and models/{name} is in the graph when it is loaded next.")
