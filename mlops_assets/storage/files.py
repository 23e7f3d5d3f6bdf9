"""How a file appears whole or not at all: temporary name, synced, renamed to its final name, folder synced."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlops_assets.storage.failpoints import failpoint


@contextmanager
def temporary_file(folder: Path) -> Iterator[Path]:
    """Yield the name of a file to write in `folder`; it is removed unless it was published meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".tmp-{uuid.uuid4().hex}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def temporary_text(folder: Path, text: str, *, mode: int) -> Iterator[Path]:
    """Yield a temporary file that holds `text`; nobody but those of `mode` could read it at any time."""
    with temporary_file(folder) as path:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="ascii") as stream:
            stream.write(text)
        yield path


def publish_file(temporary: Path, final: Path) -> None:
    """Give a finished temporary file its final name, durably.

    Final names are made of content hashes, so a file that is already there holds the same bytes, or damaged ones.
    """
    sync(temporary)
    failpoint("file.synced")
    final.parent.mkdir(parents=True, exist_ok=True)
    os.replace(temporary, final)
    failpoint("file.renamed")
    sync(final.parent)


def publish_new_file(temporary: Path, final: Path) -> bool:
    """Give a finished temporary file its final name, durably, unless that name is taken: then say False."""
    sync(temporary)
    try:
        os.link(temporary, final)
    except FileExistsError:
        return False
    sync(final.parent)
    return True


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
