"""`mlops audit`: what the ledger says, whether it holds, and who vouches for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_assets.cli.dossier import dossier
from mlops_assets.cli.installation import services_of
from mlops_assets.cli.render import AsJson, print_json, show_record, show_rows

if TYPE_CHECKING:
    from mlops_assets.ledger.checkpoint import Checkpoint
    from mlops_assets.ledger.store import Progress
    from mlops_assets.ledger.verification import Verification

commands = typer.Typer(help="The audit ledger: verify it, read it, export it, sign it.", no_args_is_help=True)


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no instant; write it like 2026-01-05T12:00:00Z") from error
    if at.tzinfo is None:
        raise typer.BadParameter(f"{text!r} has no time zone; write 2026-01-05T12:00:00Z, or +09:00 for that of Seoul")
    return at


@commands.command()
def verify(
    export: Annotated[
        Path | None, typer.Option("--export", help="Verify an exported file instead; no installation is needed.")
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            "--checkpoint", help="With --export: checkpoints and rotations to compare with; else the one beside it."
        ),
    ] = None,
    public_key: Annotated[
        Path | None, typer.Option("--public-key", help="PEM file of the first public key; trust no other.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Walk the whole chain and compare it with every checkpoint; the exit code is 1 where it does not hold."""
    from mlops_assets.ledger.export import verify_export
    from mlops_assets.storage.keys import read_public_key

    if checkpoint and export is None:
        raise typer.BadParameter("--checkpoint goes with --export; the installation's own are compared anyway")
    trusting = [] if public_key is None else [read_public_key(public_key)]
    with _progress("Verifying") as progress:
        if export is None:
            found = services_of().ledger.verify(trusting=trusting, progress=progress)
        else:
            found = verify_export(export, checkpoint_files=checkpoint or (), trusting=trusting, progress=progress)
    trusted = "the key given" if trusting else "the installation's keys" if export is None else "the key in the file"
    show_record("Audit ledger", _verdict(found) | {"signatures_by": trusted}, as_json=as_json)
    if not found.is_intact:
        raise typer.Exit(1)


@commands.command()
def log(
    actor: Annotated[str | None, typer.Option(help="Only what this principal did.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this action, like snapshot.publish or approval.*")] = None,
    subject: Annotated[str | None, typer.Option(help="Only what happened to this thing, or to features/*")] = None,
    since: Annotated[
        datetime | None, typer.Option(parser=_instant, metavar="INSTANT", help="From this instant on (ISO, with zone).")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(parser=_instant, metavar="INSTANT", help="Before this instant (ISO, with zone).")
    ] = None,
    after: Annotated[int, typer.Option(min=0, help="Only entries after this number.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")] = 50,
    newest_first: Annotated[
        bool, typer.Option("--newest-first", help="The last entries, the newest one first.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List entries in order. A trailing * of an actor, action or subject stands for any ending."""
    found = services_of().ledger.entries(
        after_seq=after,
        actor=actor,
        action=action,
        subject=subject,
        since=since,
        until=until,
        limit=limit,
        newest_first=newest_first,
    )
    entries = list(found)
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
def export(
    file: Annotated[Path, typer.Argument(help="Where to write JSON Lines.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write every entry to FILE and a checkpoint signed now to FILE.checkpoint.json: together they verify anywhere."""
    from mlops_assets.ledger.export import export_ledger

    services = services_of()
    services.acting("audit.export")
    made = export_ledger(services.ledger, services.checkpoints, file, force=force)
    record = {
        "file": made.file,
        "entries": made.entries,
        "checkpoint_file": made.checkpoint_file or "none: the ledger is empty or does not hold",
        "key_id": "" if made.checkpoint is None else made.checkpoint.key_id,
    }
    show_record("Export", record, as_json=as_json)


@commands.command()
def checkpoint(as_json: AsJson = False) -> None:
    """Sign the head of the ledger; where it has not moved since, show the latest checkpoint."""
    services = services_of()
    services.acting("audit.checkpoint")
    signed = services.checkpoints.sign()
    show_record("Checkpoint", _signed(signed), as_json=as_json)


@commands.command("rotate-key")
def rotate_key(
    reason: Annotated[str, typer.Option(help="Why; it goes into the ledger.")] = "", as_json: AsJson = False
) -> None:
    """Replace the key that signs checkpoints; the old key vouches for the new one."""
    services = services_of()
    key = services.checkpoints.rotate_key(services.acting("audit.rotate_key").name, reason)
    signed = services.checkpoints.sign()
    show_record("New key", {"key_id": key.key_id, "checkpoint_seq": signed.seq}, as_json=as_json)


@commands.command("public-key")
def public_key(
    latest: Annotated[bool, typer.Option("--latest", help="The one in use instead of the first.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the first public key, with which an auditor can verify every checkpoint, whatever was rotated since."""
    keys = services_of().checkpoints.public_keys()
    if as_json:
        print_json([{"key_id": key.key_id, "public_key": key.pem} for key in keys])
        return
    typer.echo(keys[-1 if latest else 0].pem, nl=False)


def _verdict(found: Verification) -> dict[str, object]:
    return {
        "status": "intact" if found.is_intact else "broken",
        "entries": found.entries,
        "head_hash": found.head_hash,
        "checkpoints": found.checkpoints,
        "vouched": found.vouched,
        "first_bad": found.first_bad,
        "position": found.position,
        "problem": found.problem,
    }


def _signed(checkpoint: Checkpoint) -> dict[str, object]:
    return {
        "seq": checkpoint.seq,
        "head_hash": checkpoint.head_hash,
        "ledger": checkpoint.ledger,
        "at": checkpoint.at,
        "key_id": checkpoint.key_id,
        "signature": checkpoint.signature,
    }


@contextmanager
def _progress(words: str) -> Iterator[Progress]:
    """Show a bar on a terminal, on stderr, once there is something to tell."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(words, total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


commands.command()(dossier)
