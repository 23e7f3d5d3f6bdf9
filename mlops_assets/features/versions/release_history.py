"""Which released files are not what they were first committed as: Git remembers what a rewritten record forgets.

The records prove each other but the newest; whoever rewrites that one, or deletes it and releases it again, is told by
the history of the clone. A catalogue that lies in no clone, or was never committed, has no such witness.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlops_assets.kernel.errors import PlatformError

_COMMIT, _ADDED = "commit ", ":"
_LOG = ("log", "--no-renames", "--diff-filter=A", "--raw", "--no-abbrev", "--relative", f"--format={_COMMIT}%H")


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """The commit that first held a file, and the identity of the bytes it had there."""

    commit: str
    blob: str


class RecordRewritten(PlatformError):
    """A released file is not what it was when its version was committed."""

    code = "record_rewritten"

    def __init__(self, path: Path, committed: Committed) -> None:
        self.path, self.committed = path, committed
        state = "is not what it was" if path.is_file() else "is gone"
        commit = committed.commit[:12]
        super().__init__(
            f"{path} {state} since commit {commit} released it. A released record never changes: restore it "
            f"(`git checkout {commit} -- <file>`) and release what changed under a higher version. Before that commit "
            "has left your clone you may amend it instead."
        )


def first_committed(folder: Path) -> dict[str, Committed]:
    """Return by path below `folder` the first commit of each file; nothing where there is no history to ask."""
    git = shutil.which("git")
    if git is None or not folder.is_dir():
        return {}
    done = subprocess.run(  # noqa: S603 - fixed arguments, without a shell
        [git, "-c", "core.quotePath=false", *_LOG, "--", "."], cwd=folder, capture_output=True, text=True, check=False
    )
    return dict(_read(done.stdout)) if done.returncode == 0 else {}


def rewritten(folder: Path, view: str, committed: Mapping[str, Committed]) -> RecordRewritten | None:
    """Return the first file of a view's releases that was changed or removed since it was committed."""
    for name, one in sorted(committed.items()):
        path = folder / name
        is_of_a_release = name.startswith(f"{view}/") and name.count("/") == 2
        if is_of_a_release and (not path.is_file() or _blob(path, one.blob) != one.blob):
            return RecordRewritten(path, one)
    return None


def _read(log: str) -> Iterator[tuple[str, Committed]]:
    """Yield each added file, the newest commit first: of a file that was added twice, the first time comes last."""
    commit = ""
    for line in log.splitlines():
        if line.startswith(_COMMIT):
            commit = line.removeprefix(_COMMIT)
        elif line.startswith(_ADDED):
            facts, _, name = line.partition("\t")
            yield name, Committed(commit=commit, blob=facts.split()[3])


def _blob(path: Path, like: str) -> str:
    """Return the identity Git gives a file's bytes, in the kind of hash of `like`."""
    content = path.read_bytes()
    kind = "sha1" if len(like) == 40 else "sha256"
    return hashlib.new(kind, b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
