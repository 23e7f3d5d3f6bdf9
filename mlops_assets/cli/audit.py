"""`mlops audit`: what the ledger says and whether it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlops_assets.cli.installation import services_of
from mlops_assets.cli.render import AsJson, print_json, show_record, show_rows
from mlops_assets.kernel.errors import NotFound

commands = typer.Typer(help="The audit ledger: verify it, read it, export it.", no_args_is_help=True)


@commands.command()
def verify(
    export: Annotated[
        Path | None, typer.Option("--export", help="Verify an exported file instead; no database is needed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Walk the whole chain; the exit code is 1 where an entry was edited, removed, inserted or moved."""
    from mlops_assets.ledger.entry import verify_chain
    from mlops_assets.ledger.store import read_export

    if export is not None and not export.is_file():
        raise NotFound(kind="export", name=str(export), remedy="`mlops audit export FILE` writes one.")
    found = services_of().ledger.verify() if export is None else verify_chain(read_export(export))
    record = {
        "status": "intact" if found.is_intact else "broken",
        "entries": found.entries,
        "head_hash": found.head_hash,
        "first_bad": found.first_bad,
        "problem": found.problem,
    }
    show_record("Audit ledger", record, as_json=as_json)
    if not found.is_intact:
        raise typer.Exit(1)


@commands.command()
def log(
    actor: Annotated[str | None, typer.Option(help="Only what this principal did.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this action, like snapshot.publish.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only what happened to this thing.")] = None,
    after: Annotated[int, typer.Option(min=0, help="Only entries after this number.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List entries in order."""
    ledger = services_of().ledger
    entries = list(ledger.entries(after_seq=after, actor=actor, action=action, subject=subject, limit=limit))
    if as_json:
        print_json([entry.as_json() for entry in entries])
        return
    rows = [
        {
            "seq": entry.seq,
            "at": f"{entry.at:%Y-%m-%d %H:%M:%S}",
            "actor": entry.actor,
            "action": entry.action,
            "subject": entry.subject,
            "after": (entry.after or "")[:12],
        }
        for entry in entries
    ]
    show_rows("Audit ledger (UTC)", rows, as_json=False, empty="no such entry")


@commands.command()
def export(file: Annotated[Path, typer.Argument(help="Where to write JSON Lines.")], as_json: AsJson = False) -> None:
    """Write every entry to a file that `mlops audit verify --export` checks without the database."""
    count = services_of().ledger.export(file)
    show_record("Export", {"file": file, "entries": count}, as_json=as_json)
