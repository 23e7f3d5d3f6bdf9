"""Whether a model's bytes are of a form that runs nothing when it is read: LightGBM's text, JSON, or a skops file.

A pickle runs what it likes when it is read, so it is refused, and so is a skops file that carries one. Which types a
skops file may name is decided where it is read.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.lifecycle.kinds.kind import Format

_LIGHTGBM_HEAD = b"tree\nversion="
_SKOPS_SCHEMA = "schema.json"


class UnsafeArtifact(PlatformError):
    """A model's bytes are not of a form that runs nothing when it is read."""

    code: ClassVar[str] = "unsafe_artifact"

    def __init__(self, *, model: str, problem: str) -> None:
        super().__init__(
            f"The artifact of {model} is refused: {problem}. A model is stored as {', '.join(Format)}, never as a "
            "pickle; train it again by a kind of model that the platform has."
        )


def format_of(metadata: Mapping[str, Any]) -> str:
    """Return the form that a version says it has. Versions of before they said so are LightGBM's text."""
    return str(metadata.get("artifact_format", Format.LIGHTGBM_TEXT))


def require_harmless(model: str, content: bytes, said: str) -> None:
    """Check that `content` is of the form `said`.

    Raises:
        UnsafeArtifact: if there is no such form, or the bytes are of another.
    """
    if said not in set(Format):
        raise UnsafeArtifact(model=model, problem=f"{said!r} is no known form")
    problem = {
        Format.LIGHTGBM_TEXT: _not_lightgbm,
        Format.JSON: _not_json,
        Format.SKOPS: _not_skops,
    }[Format(said)](content)
    if problem is not None:
        raise UnsafeArtifact(model=model, problem=f"it is said to be {said}, and {problem}")


def _not_lightgbm(content: bytes) -> str | None:
    try:
        content.decode()
    except UnicodeDecodeError:
        return "its bytes are no text"
    return None if content.startswith(_LIGHTGBM_HEAD) else "it does not begin like a tree"


def _not_json(content: bytes) -> str | None:
    try:
        found = json.loads(content)
    except (UnicodeDecodeError, ValueError, RecursionError):
        return "its bytes are no JSON"
    return None if isinstance(found, dict) else "it is no JSON object"


def _not_skops(content: bytes) -> str | None:
    """Say what is wrong with a skops file: a zip of its schema and plain numpy arrays is right."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            if _SKOPS_SCHEMA not in names:
                return f"it has no {_SKOPS_SCHEMA}"
            arrays = [name for name in names if name != _SKOPS_SCHEMA]
            odd = [name for name in arrays if not _is_plain_array(archive.read(name))]
            return f"it carries {', '.join(odd)} beside numpy arrays" if odd else None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return "its bytes are no zip file"


def _is_plain_array(content: bytes) -> bool:
    """Tell whether bytes are numpy's own form of an array of numbers or words; one of objects holds pickles."""
    try:
        np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError):
        return False
    return True
