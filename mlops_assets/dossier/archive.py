"""How a dossier lies in one zip file: the same bytes from the same content, and nothing of it trusted when read.

`manifest.json` names every file with its SHA-256 and size, but the ledger's: the ledger holds an entry with the hash of
the manifest, and a signed checkpoint stands for the ledger. So one signature stands for the whole archive.
"""

from __future__ import annotations

import json
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, ClassVar, TypeVar

from mlops_assets.kernel.errors import NotFound, PlatformError
from mlops_assets.kernel.fingerprint import bytes_sha256

FORMAT = "mlops_assets/dossier@1"
MANIFEST, SUMS, INDEX, PAGE, ENTRIES = "manifest.json", "SHA256SUMS", "index.json", "index.html", "entries.jsonl"
LEDGER, LEDGER_FOLDER = "ledger/ledger.jsonl", "ledger/"
CHECKPOINT, KEYS = "ledger/checkpoint.json", "ledger/public_keys/"

T = TypeVar("T")

_FIXED_DATE = (1980, 1, 1, 0, 0, 0)
_READABLE_FILE = (stat.S_IFREG | 0o644) << 16
_UNIX = 3
_CHUNK = 1 << 20

_MOST_FILES = 100_000
_MOST_BYTES = 64 << 30
_LARGEST_READ = 256 << 20
_LONGEST_LINE = 32 << 20
_LEAST_SUSPICIOUS = 64 << 20
_LARGEST_RATIO = 250
_ENCRYPTED = 0x1


class UnsafeArchive(PlatformError):
    """A file that was given as a dossier is none, or is built to do harm."""

    code: ClassVar[str] = "unsafe_archive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One line of the manifest."""

    path: str
    sha256: str
    byte_count: int

    def as_json(self) -> dict[str, str | int]:
        return {"path": self.path, "sha256": self.sha256, "byte_count": self.byte_count}


def list_files(files: Mapping[str, bytes]) -> list[Listed]:
    """Return what the manifest says of files, by path."""
    return [
        Listed(path=path, sha256=bytes_sha256(content), byte_count=len(content))
        for path, content in sorted(files.items())
    ]


def manifest_bytes(subject: str, listed: Iterable[Listed]) -> bytes:
    """Return the one way in which a manifest is written."""
    content = {"format": FORMAT, "subject": subject, "files": [one.as_json() for one in listed]}
    return json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"


def sums_bytes(listed: Iterable[Listed]) -> bytes:
    """Return the same hashes as `sha256sum -c` reads them."""
    return "".join(f"{one.sha256}  {one.path}\n" for one in listed).encode()


def write_archive(path: Path, members: Mapping[str, Iterable[bytes]]) -> None:
    """Write members in the order of their names, each as it comes: none has to fit into memory."""
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        for name in sorted(members):
            about = zipfile.ZipInfo(name, _FIXED_DATE)
            about.compress_type, about.external_attr, about.create_system = zipfile.ZIP_DEFLATED, _READABLE_FILE, _UNIX
            with archive.open(about, "w", force_zip64=True) as stream:
                for chunk in members[name]:
                    stream.write(chunk)


class Archive:
    """A zip file that somebody gave us. Its directory was checked; nothing is ever extracted to a folder."""

    def __init__(self, path: Path, zipped: zipfile.ZipFile) -> None:
        self.path, self._zipped = path, zipped
        self._members = _safe_members(path, zipped)

    @property
    def names(self) -> list[str]:
        return sorted(self._members)

    def size(self, name: str) -> int:
        """Return how many bytes a member has."""
        return self._member(name).file_size

    def read(self, name: str) -> bytes:
        """Return a member that has to fit into memory.

        Raises:
            UnsafeArchive: if it is not there, damaged or larger than any of ours.
        """
        if self.size(name) > _LARGEST_READ:
            raise UnsafeArchive(f"{self.path}: {name} says it has {self.size(name)} bytes; no dossier has such a file.")
        return b"".join(self.chunks(name))

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield a member in parts."""
        with self._open(name) as stream:
            while chunk := _guarded(self.path, name, lambda: stream.read(_CHUNK)):
                yield chunk

    def lines(self, name: str) -> Iterator[bytes]:
        """Yield the lines of a member."""
        with self._open(name) as stream:
            while line := _guarded(self.path, name, lambda: stream.readline(_LONGEST_LINE)):
                yield line

    def _open(self, name: str) -> IO[bytes]:
        member = self._member(name)
        return _guarded(self.path, name, lambda: self._zipped.open(member))

    def _member(self, name: str) -> zipfile.ZipInfo:
        if name not in self._members:
            raise UnsafeArchive(f"{self.path}: {name} is missing; ask for the dossier again.")
        return self._members[name]


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open a dossier to be checked.

    Raises:
        NotFound: if there is no such file.
        UnsafeArchive: if it is no zip file, or holds a name or a member that no dossier has.
    """
    if not path.is_file():
        raise NotFound(kind="dossier", name=str(path), remedy="`mlops audit dossier SUBJECT` writes one.")
    try:
        zipped = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError) as error:
        raise UnsafeArchive(f"{path}: no readable zip file ({error}).") from error
    with zipped:
        yield Archive(path, zipped)


def _safe_members(path: Path, zipped: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name, refusing what no dossier holds."""
    members = zipped.infolist()
    if len(members) > _MOST_FILES or sum(one.file_size for one in members) > _MOST_BYTES:
        raise UnsafeArchive(f"{path}: {len(members)} files that say they are larger than any dossier.")
    found = dict[str, zipfile.ZipInfo]()
    folded = set[str]()
    for one in members:
        if problem := _problem(one):
            raise UnsafeArchive(f"{path}: {one.orig_filename!r} {problem}.")
        if one.filename.casefold() in folded:
            raise UnsafeArchive(f"{path}: {one.filename!r} is there twice.")
        folded.add(one.filename.casefold())
        found[one.filename] = one
    if zipped.comment:
        raise UnsafeArchive(f"{path}: it carries a comment, which no dossier has.")
    return found


def _problem(member: zipfile.ZipInfo) -> str:
    name = member.orig_filename
    parts = PurePosixPath(name).parts
    if not name or name != member.filename or "\\" in name or ":" in name or any(ord(char) < 32 for char in name):
        return "is no name of a file"
    if name.startswith("/") or ".." in parts or "." in parts or str(PurePosixPath(name)) != name:
        return "leads out of the archive's folder"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if member.is_dir() or kind not in (0, stat.S_IFREG):
        return "is a link or a folder, not a file"
    if member.flag_bits & _ENCRYPTED or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is encrypted, or packed in a way that no dossier is"
    if member.file_size > max(_LEAST_SUSPICIOUS, _LARGEST_RATIO * member.compress_size):
        return f"unpacks {member.compress_size} bytes to {member.file_size}: a zip bomb"
    return ""


def _guarded(path: Path, name: str, read: Callable[[], T]) -> T:
    """Do one read of a member; bytes that can't be unpacked are a finding about the file, not a fault of ours."""
    try:
        return read()
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, NotImplementedError) as error:
        raise UnsafeArchive(f"{path}: {name} is damaged ({error}).") from error
