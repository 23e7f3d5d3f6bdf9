"""`mlops prompts list|pending|record`: how prompts were graded, and answers to record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, cast

import typer

from mlops_assets.cli.installation import services_of
from mlops_assets.cli.render import AsJson, print_json, show_rows
from mlops_assets.kernel.errors import NotFound
from mlops_assets.kernel.fingerprint import Json
from mlops_assets.prompts.context import latest_facts
from mlops_assets.prompts.facts import Facts
from mlops_assets.prompts.providers import Recorded, written_by
from mlops_assets.prompts.recording import pending_requests, record_answer, with_stored_numbers
from mlops_assets.prompts.render import Request
from mlops_assets.services import ServiceFactory

commands = typer.Typer(
    help="Prompts of the catalogue, how they were graded, and answers to record.", no_args_is_help=True
)


@commands.command("list")
def list_prompts(as_json: AsJson = False) -> None:
    """List every version of every prompt with its newest evaluation."""
    services = services_of()
    rows: list[dict[str, object]] = []
    for prompt_id, versions in services.catalogue.prompts.items():
        graded = {one.version: one for one in services.prompt_store.evaluations(prompt_id)}
        for version in versions:
            evaluation = graded.get(version.version)
            rows.append(
                {
                    "id": prompt_id,
                    "version": version.version,
                    "owner": version.owner,
                    "audience": version.audience,
                    "is_passed": None if evaluation is None else evaluation.is_passed,
                    "fingerprint": version.fingerprint[:12],
                    "description": version.description,
                }
            )
    show_rows("Prompts", rows, as_json=as_json, only_json=("description",))


@commands.command("pending")
def pending(as_json: AsJson = False) -> None:
    """List the requests that have no recorded answer; --json prints each in full."""
    found = _pending(services_of())
    if as_json:
        print_json([{"request_sha256": sha256, **request.as_json()} for sha256, (request, _) in found.items()])
        return
    rows: list[dict[str, object]] = [
        {"request_sha256": sha256, "request": request.name} for sha256, (request, _) in found.items()
    ]
    show_rows("Requests without an answer", rows, as_json=False, empty="none")


@commands.command("record")
def record(
    request_sha256: Annotated[str, typer.Argument(help="A request of `mlops prompts pending`.")],
    answer: Annotated[Path, typer.Argument(help="A JSON file with the answer.", exists=True, dir_okay=False)],
) -> None:
    """Record an answer; an anchor `[[key]]` gets the stored number."""
    services = services_of()
    by = services.acting("prompt.record")
    found = _pending(services)
    if request_sha256 not in found:
        raise NotFound(kind="pending request", name=request_sha256, remedy="`mlops prompts pending` lists them.")
    request, facts = found[request_sha256]
    content = cast("Json", json.loads(answer.read_text(encoding="utf-8")))
    filled = content if facts is None else with_stored_numbers(content, facts)
    origin = written_by(by.name)
    folder = services.settings.catalog_path / "prompts"
    typer.echo(record_answer(request, cast("Mapping[str, Json]", filled), prompts=folder, origin=origin))


def _pending(services: ServiceFactory) -> dict[str, tuple[Request, Facts | None]]:
    provider = Recorded(services.settings.catalog_path / "prompts")
    return {
        request.sha256: (request, facts)
        for versions in services.catalogue.prompts.values()
        for version in versions
        for facts in [latest_facts(version, services.reports)]
        for request in pending_requests(version, facts, provider)
    }
