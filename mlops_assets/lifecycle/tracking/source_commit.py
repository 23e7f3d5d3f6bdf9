"""Which Git commit a source tree is at."""

from __future__ import annotations

from pathlib import Path

_REFERENCE = "ref: "


def commit_of(tree: Path) -> str | None:
    """Return the commit that is checked out in `tree`, or None if it is no plain clone. Edits on top are not seen."""
    git = tree / ".git"
    head = _first_line(git / "HEAD")
    if head is None or not head.startswith(_REFERENCE):
        return head
    reference = head.removeprefix(_REFERENCE)
    return _first_line(git / reference) or _packed(git / "packed-refs", reference)


def _packed(file: Path, reference: str) -> str | None:
    if not file.is_file():
        return None
    lines = (line.split(" ") for line in file.read_text(encoding="utf-8").splitlines())
    return next((line[0] for line in lines if line[1:] == [reference]), None)


def _first_line(file: Path) -> str | None:
    return file.read_text(encoding="utf-8").strip() if file.is_file() else None
