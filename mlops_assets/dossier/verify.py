"""Whether a dossier that somebody was given still says what was exported: offline, the first fault by name."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from mlops_assets.dossier.archive import (
    CHECKPOINT,
    ENTRIES,
    FORMAT,
    INDEX,
    KEYS,
    LEDGER,
    LEDGER_FOLDER,
    MANIFEST,
    PAGE,
    SUMS,
    Archive,
    Listed,
    manifest_bytes,
    open_archive,
    sums_bytes,
)
from mlops_assets.dossier.related import EXPORT
from mlops_assets.kernel.errors import PlatformError
from mlops_assets.ledger.checkpoint import Checkpoint, InvalidCheckpoint, trusted_keys
from mlops_assets.ledger.seal import links_of_lines
from mlops_assets.ledger.statements import bundle, read_statements
from mlops_assets.ledger.verification import verify_links
from mlops_assets.storage.keys import PublicKey, UnusableKey

_NEEDED = (INDEX, PAGE, ENTRIES)


class _Fault(PlatformError):
    """What does not hold; it never leaves this module."""

    code: ClassVar[str] = "dossier_fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class DossierCheck:
    """What was found. `key_id` is the key that vouches for everything; `is_key_given` says that the reader brought it.

    A key from inside the archive proves only that nothing was changed since somebody signed it.
    """

    file: Path
    subject: str = ""
    files: int = 0
    entries: int = 0
    checkpoint_seq: int = 0
    key_id: str = ""
    is_key_given: bool = False
    problem: str = ""

    @property
    def is_intact(self) -> bool:
        return not self.problem


def verify_dossier(file: Path, *, trusting: Iterable[PublicKey] = ()) -> DossierCheck:
    """Check a dossier's files, its ledger and its checkpoint, and that all belong together.

    Args:
        trusting: public keys that the reader got in another way; without any, the one in the archive counts.

    Raises:
        NotFound: if there is no such file.
        UnsafeArchive: if it is no dossier, or holds what no dossier does.
    """
    given = tuple(trusting)
    with open_archive(file) as archive:
        try:
            return _check(archive, given)
        except _Fault as fault:
            return DossierCheck(file=file, is_key_given=bool(given), problem=str(fault))


def _check(archive: Archive, given: tuple[PublicKey, ...]) -> DossierCheck:
    manifest = archive.read(MANIFEST)
    subject, listed = _manifest(manifest)
    _require_files(archive, listed)
    checkpoint = _checkpoint(archive, given)
    watch = _Watch(archive, subject=subject, manifest_sha256=hashlib.sha256(manifest).hexdigest())
    found = verify_links(links_of_lines(watch.lines()), [checkpoint])
    if found.problem:
        raise _Fault(f"{LEDGER}: {found.problem}")
    if found.entries != checkpoint.seq:
        raise _Fault(f"{LEDGER}: the checkpoint is of entry {checkpoint.seq}, and entries after it vouch for nothing")
    watch.require_all_seen()
    return DossierCheck(
        file=archive.path,
        subject=subject,
        files=len(listed),
        entries=found.entries,
        checkpoint_seq=checkpoint.seq,
        key_id=checkpoint.key_id,
        is_key_given=bool(given),
    )


def _manifest(content: bytes) -> tuple[str, list[Listed]]:
    """Read the manifest, which is written in one way only."""
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        said: dict[str, Any] = json.loads(content)
        listed = [Listed(**one) for one in said["files"]]
        if said["format"] == FORMAT and manifest_bytes(said["subject"], listed) == content:
            return str(said["subject"]), listed
    raise _Fault(f"{MANIFEST}: it is not the manifest of a dossier, or was changed")


def _require_files(archive: Archive, listed: list[Listed]) -> None:
    named = {one.path: one for one in listed}
    covered = {name for name in archive.names if not name.startswith(LEDGER_FOLDER)} - {MANIFEST, SUMS}
    for name in (*_NEEDED, *sorted(named)):
        if name not in named or name not in covered:
            raise _Fault(f"{name}: the manifest or the archive lacks it")
    for name in sorted(covered - named.keys()):
        raise _Fault(f"{name}: the manifest does not name it: it was added")
    for name, one in sorted(named.items()):
        digest = hashlib.sha256()
        for chunk in archive.chunks(name):
            digest.update(chunk)
        if (digest.hexdigest(), archive.size(name)) != (one.sha256, one.byte_count):
            raise _Fault(f"{name}: expected SHA-256 {one.sha256}, found {digest.hexdigest()}: it was changed")
    if SUMS not in archive.names or archive.read(SUMS) != sums_bytes(listed):
        raise _Fault(f"{SUMS}: it does not say what the manifest says")


def _checkpoint(archive: Archive, given: tuple[PublicKey, ...]) -> Checkpoint:
    """Return the checkpoint if its signature counts and its file and the keys beside it say nothing else."""
    if CHECKPOINT not in archive.names:
        raise _Fault(f"{CHECKPOINT}: it is missing")
    content = archive.read(CHECKPOINT)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / Path(CHECKPOINT).name
        copy.write_bytes(content)
        try:
            statements = read_statements([copy])
            (checkpoint,) = statements.trusted(given)
        except (InvalidCheckpoint, UnusableKey) as error:
            raise _Fault(str(error).replace(str(copy), CHECKPOINT)) from error
        except ValueError as error:
            raise _Fault(f"{CHECKPOINT}: it holds no single checkpoint of a dossier") from error
    (root,) = statements.roots or (None,)
    if root is None or bundle(checkpoint, statements.rotations, root) != content:
        raise _Fault(f"{CHECKPOINT}: it is not written as a dossier's is; it was changed")
    keys = trusted_keys(statements.roots, statements.rotations)
    if len(keys) != 1 + len(statements.rotations):
        raise _Fault(f"{CHECKPOINT}: a rotation in it is signed by no key that counts")
    expected = {f"{KEYS}{key_id}.pem": key.pem.encode() for key_id, key in keys.items()} | {CHECKPOINT: content}
    for name in sorted({*expected, *(one for one in archive.names if one.startswith(LEDGER_FOLDER))} - {LEDGER}):
        if name not in expected or name not in archive.names or archive.read(name) != expected[name]:
            raise _Fault(f"{name}: the checkpoint vouches for another key, or for none of that name")
    return checkpoint


@dataclass
class _Watch:
    """Looks at the ledger's lines as they pass: are the dossier's entries among them, in order, and its own export?"""

    archive: Archive
    subject: str
    manifest_sha256: str
    is_recorded: bool = field(default=False, init=False)
    is_as_of: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._wanted = self.archive.lines(ENTRIES)
        self._next = next(self._wanted, None)
        self._as_of = _as_of(self.archive.read(INDEX))

    def lines(self) -> Iterator[bytes]:
        if LEDGER not in self.archive.names:
            raise _Fault(f"{LEDGER}: it is missing")
        for line in self.archive.lines(LEDGER):
            if line == self._next:
                self._next = next(self._wanted, None)
            if b'"dossier.export"' in line or self._as_of[1].encode() in line:
                self._look(line)
            yield line

    def _look(self, line: bytes) -> None:
        with suppress(ValueError, TypeError, RecursionError):
            entry = json.loads(line)
            if not isinstance(entry, dict):
                return
            self.is_as_of = self.is_as_of or (entry.get("seq"), entry.get("hash")) == self._as_of
            about = (entry.get("action"), entry.get("subject"), entry.get("after"))
            self.is_recorded = self.is_recorded or about == (EXPORT, self.subject, self.manifest_sha256)

    def require_all_seen(self) -> None:
        if self._next is not None:
            raise _Fault(
                f"{ENTRIES}: a line of it is no line of the ledger, or stands at another place: {_shown(self._next)}"
            )
        if not self.is_recorded:
            raise _Fault(f"{LEDGER}: no entry {EXPORT} of {self.subject} has the SHA-256 of this {MANIFEST}")
        if not self.is_as_of and self._as_of[0]:
            raise _Fault(f"{INDEX}: the ledger does not hold entry {self._as_of[0]} as of which it was made")


def _as_of(index: bytes) -> tuple[int, str]:
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        said = json.loads(index)["as_of"]
        if isinstance(said["seq"], int) and isinstance(said["hash"], str) and said["hash"]:
            return said["seq"], said["hash"]
    raise _Fault(f"{INDEX}: it does not say as of which entry it was made")


def _shown(line: bytes) -> str:
    return line[:120].decode(errors="replace").strip()
