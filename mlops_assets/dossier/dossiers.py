"""What an auditor gets: everything about one model version, report or prompt, as one archive that proves itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops_assets.dossier.archive import (
    CHECKPOINT,
    ENTRIES,
    INDEX,
    KEYS,
    LEDGER,
    MANIFEST,
    PAGE,
    SUMS,
    list_files,
    manifest_bytes,
    sums_bytes,
    write_archive,
)
from mlops_assets.dossier.code import code_of
from mlops_assets.dossier.contents import Contents, json_bytes
from mlops_assets.dossier.declared import Declaration
from mlops_assets.dossier.index import build_index
from mlops_assets.dossier.page import render
from mlops_assets.dossier.related import EXPORT, related_entries
from mlops_assets.dossier.subject import Subject, find_subject
from mlops_assets.dossier.things import safe_path
from mlops_assets.dossier.trace import Traced, known_subjects, trace
from mlops_assets.identity.access import AccessPolicy
from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import Conflict, NotFound
from mlops_assets.kernel.fingerprint import bytes_sha256, canonical_json
from mlops_assets.kernel.identity import Principal
from mlops_assets.kernel.words import Locale
from mlops_assets.ledger.checkpoint import Checkpoint
from mlops_assets.ledger.checkpoints import BrokenChain, Checkpoints
from mlops_assets.ledger.entry import Entry
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.files import publish_file, publish_new_file, temporary_file
from mlops_assets.storage.sql.database import Database

ACTION = "audit.export"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """One archive that was written. `manifest_sha256` is what the ledger's entry `seq` says of it."""

    subject: Subject
    file: Path
    files: int
    entries: int
    approvals: int
    gaps: int
    manifest_sha256: str
    seq: int
    checkpoint_seq: int
    byte_count: int


class Dossiers:
    """Collects, records and writes. Nothing is recorded before everything was found whole."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        checkpoints: Checkpoints,
        contents: Contents,
        clock: Clock,
        *,
        declarations: Callable[[Traced], Sequence[Declaration]],
        access: AccessPolicy,
        locale: Locale,
    ) -> None:
        self._database, self._ledger, self._checkpoints = database, ledger, checkpoints
        self._contents, self._clock = contents, clock
        self._declarations, self._access = declarations, access
        self._locale: Locale = locale

    def subjects(self) -> list[Subject]:
        """Return everything that a dossier can be about."""
        with self._database.read() as connection:
            return known_subjects(connection)

    def export(self, asked: str, *, by: Principal, out: Path | None = None, force: bool = False) -> Dossier:
        """Write the dossier of what `asked` names, and record it in the ledger first.

        The ledger in the archive ends at a checkpoint signed after that entry. Where the disk is full at the last
        step, the entry says that somebody asked for a dossier which nobody got.

        Args:
            out: the file to write; without it, one named after the subject in the working directory.

        Raises:
            Forbidden: if `by` may not export.
            NotFound: if there is no such subject, or bytes that a row names are gone.
            IntegrityViolation: if bytes are not those that were kept.
            BrokenChain: if the ledger does not hold: `mlops audit export` writes it as it is.
            Conflict: if the file is there and `force` is not given.
        """
        self._access.require(by, ACTION)
        with self._database.read() as connection:
            subject = find_subject(asked, known_subjects(connection))
            file = _writable(out or Path.cwd() / f"{safe_path(subject.id).replace('/', '-')[:120]}.zip", force=force)
            traced = trace(connection, subject)
        found = self._ledger.verify()
        if not found.is_intact:
            raise BrokenChain(found)
        files, entries = self._files(traced, by)
        manifest = manifest_bytes(subject.id, listed := list_files(files))
        covered = {**files, MANIFEST: manifest, SUMS: sums_bytes(listed)}
        with temporary_file(file.parent) as temporary:
            temporary.touch()
            seq = self._record(subject, bytes_sha256(manifest), by)
            checkpoint = self._checkpoints.sign()
            members = {name: [content] for name, content in covered.items()} | self._ledger_part(checkpoint)
            write_archive(temporary, members)
            size = temporary.stat().st_size
            _publish(temporary, file, force=force)
        return Dossier(
            subject=subject,
            file=file,
            files=len(listed),
            entries=len(entries),
            approvals=len(traced.approvals),
            gaps=len(traced.gaps),
            manifest_sha256=bytes_sha256(manifest),
            seq=seq,
            checkpoint_seq=checkpoint.seq,
            byte_count=size,
        )

    def _files(self, traced: Traced, by: Principal) -> tuple[dict[str, bytes], list[Entry]]:
        """Return every file that the manifest covers, and the entries that are related."""
        entries = list(related_entries(traced, self._ledger.entries(until_seq=traced.as_of.seq)))
        declarations = self._declarations(traced)
        code = code_of(traced)
        files = self._contents.files(traced)
        files |= {path: source.read_bytes() for one in declarations for path, source in sorted(one.members.items())}
        files["approvals.json"] = json_bytes([one.as_json() for one in traced.approvals])
        files["code.json"] = json_bytes(code)
        files[ENTRIES] = b"".join(map(_line, entries))
        index = build_index(
            traced,
            entries=entries,
            files=files,
            declarations=declarations,
            code=code,
            made_at=self._clock.now(),
            made_by=by.name,
        )
        files[INDEX] = json_bytes(index)
        files[PAGE] = render(files[INDEX], key_id=self._checkpoints.public_keys()[0].key_id, locale=self._locale)
        return files, entries

    def _record(self, subject: Subject, manifest_sha256: str, by: Principal) -> int:
        change = Change(actor=by.name, action=EXPORT, subject=subject.id, after=manifest_sha256)
        with self._database.begin() as connection:
            return self._ledger.append(connection, change)

    def _ledger_part(self, checkpoint: Checkpoint) -> dict[str, Iterable[bytes]]:
        """Return what the manifest does not cover: the checkpoint does."""
        keys = {f"{KEYS}{one.key_id}.pem": [one.pem.encode()] for one in self._checkpoints.public_keys()}
        lines = map(_line, self._ledger.entries(until_seq=checkpoint.seq))
        return {**keys, CHECKPOINT: [self._checkpoints.bundle(checkpoint)], LEDGER: lines}


def _line(entry: Entry) -> bytes:
    return canonical_json(entry.as_json()) + b"\n"


def _writable(file: Path, *, force: bool) -> Path:
    if file.exists() and not force:
        raise Conflict(f"{file} is there already. Give another name with --out, or --force to replace it.")
    if file.is_dir() or not file.parent.is_dir():
        raise NotFound(
            kind="folder", name=str(file.parent), remedy="Give the name of a file in a folder that is there."
        )
    return file


def _publish(temporary: Path, file: Path, *, force: bool) -> None:
    if force:
        publish_file(temporary, file)
    elif not publish_new_file(temporary, file):
        raise Conflict(f"{file} appeared meanwhile. Give another name with --out, or --force to replace it.")
