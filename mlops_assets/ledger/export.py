"""The whole ledger as a file of JSON Lines with a signed checkpoint beside it: a pair that verifies anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlops_assets.kernel.errors import Conflict, NotFound
from mlops_assets.ledger.checkpoint import Checkpoint, InvalidCheckpoint
from mlops_assets.ledger.checkpoints import BrokenChain, Checkpoints
from mlops_assets.ledger.seal import links_of_lines
from mlops_assets.ledger.statements import read_statements
from mlops_assets.ledger.store import Ledger
from mlops_assets.ledger.verification import Verification, verify_links
from mlops_assets.storage.files import publish_file, publish_new_file, temporary_file
from mlops_assets.storage.keys import PublicKey

_TOLD_EVERY = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written: how many entries, and the checkpoint that vouches for them all (None over a broken chain)."""

    entries: int
    file: Path
    checkpoint: Checkpoint | None
    checkpoint_file: Path | None


def checkpoint_beside(file: Path) -> Path:
    """Return the name of the checkpoint that belongs to an export."""
    return file.with_name(f"{file.name}.checkpoint.json")


def export_ledger(ledger: Ledger, checkpoints: Checkpoints, file: Path, *, force: bool = False) -> Exported:
    """Write every entry up to a checkpoint signed now, whole or not at all; a broken ledger is written as it is.

    Raises:
        Conflict: if the file is there and `force` is not given.
    """
    beside = checkpoint_beside(file)
    for one in (file, beside):
        if one.exists() and not force:
            raise Conflict(f"{one} is there already. Give another name, or --force to replace it.")
    if not file.parent.is_dir():
        raise NotFound(kind="folder", name=str(file.parent), remedy="Make it, or give another one.")
    checkpoint = _signed(checkpoints)
    with temporary_file(file.parent) as lines, temporary_file(file.parent) as signed:
        count = 0
        with lines.open("wb") as stream:
            for line in ledger.lines(until_seq=None if checkpoint is None else checkpoint.seq):
                stream.write(line + b"\n")
                count += 1
        if checkpoint is not None:
            signed.write_bytes(checkpoints.bundle(checkpoint))
            _publish(signed, beside, force=force)
        elif force:
            beside.unlink(missing_ok=True)
        _publish(lines, file, force=force)
    return Exported(
        entries=count, file=file, checkpoint=checkpoint, checkpoint_file=None if checkpoint is None else beside
    )


def verify_export(
    file: Path,
    *,
    checkpoint_files: Sequence[Path] = (),
    trusting: Iterable[PublicKey] = (),
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Verification:
    """Verify an exported file without any installation, against checkpoints: those given, else the one beside it.

    Raises:
        NotFound: if a file is not there.
    """
    if not file.is_file():
        raise NotFound(kind="export", name=str(file), remedy="`mlops audit export FILE` writes one.")
    beside = checkpoint_beside(file)
    files = checkpoint_files or ([beside] if beside.is_file() else [])
    signed = read_statements(files).sifted(trusting)
    size = file.stat().st_size
    with file.open("rb") as stream:
        links = links_of_lines(_told(stream, size, progress))
        return verify_links(links, signed.checkpoints).and_also(signed.problem)


def _signed(checkpoints: Checkpoints) -> Checkpoint | None:
    with suppress(BrokenChain, InvalidCheckpoint, NotFound):
        return checkpoints.sign()
    return None


def _publish(temporary: Path, final: Path, *, force: bool) -> None:
    if force:
        publish_file(temporary, final)
    elif not publish_new_file(temporary, final):
        raise Conflict(f"{final} appeared meanwhile. Give another name, or --force to replace it.")


def _told(lines: Iterable[bytes], size: int, progress: Callable[[int, int], None]) -> Iterator[bytes]:
    done = 0
    for number, line in enumerate(lines, start=1):
        done += len(line)
        if not number % _TOLD_EVERY:
            progress(done, size)
        yield line
