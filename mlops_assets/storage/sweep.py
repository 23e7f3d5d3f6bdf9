"""Which files nobody needs: those that nothing names, once no writer is at work.

Writers of a dataset share a lock on its folder for as long as they work; who sweeps needs the lock alone. The
operating system drops the lock of a process that dies, so a crash is told from a slow writer without a grace period.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK_NAME = ".lock"


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Keep sweepers out of `folder` while files appear there that the manifest does not name yet."""
    with _locked(folder, fcntl.LOCK_SH):
        yield


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait for every writer of `folder` to finish and keep others out; leftovers of killed ones are removed first."""
    with _locked(folder, fcntl.LOCK_EX):
        for path in folder.iterdir():
            if path.name != _LOCK_NAME:
                path.unlink()
        yield


def sweep_orphans(folder: Path, referenced: Callable[[], Collection[str]]) -> list[Path]:
    """Remove the files of `folder` that nothing refers to and return their paths; a busy folder is left alone."""
    try:
        with _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
            keep = {_LOCK_NAME, *referenced()}
            orphans = [path for path in folder.iterdir() if path.is_file() and path.name not in keep]
            for path in orphans:
                path.unlink()
            return orphans
    except BlockingIOError:
        return []


@contextmanager
def _locked(folder: Path, operation: int) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / _LOCK_NAME, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)
