"""`mlops audit dossier`: everything about one model, report or prompt as one archive, and whether one still holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlops_assets.cli.installation import services_of
from mlops_assets.cli.render import AsJson, show_record


def dossier(
    subject: Annotated[
        str | None,
        typer.Argument(help="models/NAME@VERSION, reports/NAME, reports/NAME@SHA256 or prompts/ID@VERSION."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The zip file to write.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    verify: Annotated[
        Path | None, typer.Option("--verify", help="Check this archive instead; nothing else is needed for it.")
    ] = None,
    public_key: Annotated[
        list[Path] | None,
        typer.Option("--public-key", help="With --verify: the key to trust, got in another way than the archive."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write everything an auditor needs about one model, report or prompt, or check such an archive.

    The exit code is 1 where the archive does not hold; the first thing that does not is named.
    """
    if (subject is None) == (verify is None):
        raise typer.BadParameter("name a SUBJECT to write a dossier of, or give --verify FILE", param_hint="SUBJECT")
    if verify is not None:
        _verify(verify, public_key or [], as_json=as_json)
    elif subject is not None:
        _write(subject, out, force=force, as_json=as_json)


def _write(subject: str, out: Path | None, *, force: bool, as_json: bool) -> None:
    services = services_of()
    made = services.dossiers.export(subject, by=services.operator, out=out, force=force)
    record = {
        "subject": made.subject.id,
        "file": made.file,
        "bytes": made.byte_count,
        "files": made.files,
        "ledger_entries": made.entries,
        "approvals": made.approvals,
        "not_in_the_stores": made.gaps,
        "manifest_sha256": made.manifest_sha256,
        "recorded_as": made.seq,
        "checkpoint": made.checkpoint_seq,
    }
    show_record("Dossier", record, as_json=as_json)


def _verify(file: Path, keys: list[Path], *, as_json: bool) -> None:
    from mlops_assets.dossier.verify import verify_dossier
    from mlops_assets.storage.keys import read_public_key

    found = verify_dossier(file, trusting=[read_public_key(key) for key in keys])
    record = {
        "status": "intact" if found.is_intact else "broken",
        "subject": found.subject,
        "files": found.files,
        "ledger_entries": found.entries,
        "checkpoint": found.checkpoint_seq,
        "key": found.key_id,
        "key_is_yours": found.is_key_given,
        "problem": found.problem,
    }
    show_record("Dossier", record, as_json=as_json)
    if not found.is_intact:
        raise typer.Exit(1)
