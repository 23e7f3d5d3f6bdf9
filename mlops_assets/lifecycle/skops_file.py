"""skops files that are the same to the byte for the same object, and of which only listed types are ever loaded.

skops names the parts of an object by their addresses in memory and dates them: two processes write two files. Here
parts are numbered in order of appearance and carry the earliest date that a zip entry can have. The result is an
ordinary skops file.

skops by itself trusts every estimator of scikit-learn and much of numpy. A model needs a handful of types, so the whole
schema is checked against a list before skops sees the file: nothing of a type that is not on it is imported or made.
"""

# skops carries no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

from mlops_assets.kernel.errors import PlatformError

SCHEMA = "schema.json"
PLAIN_TYPES = frozenset(
    {
        ("DictNode", "builtins.dict"),
        ("JsonNode", "builtins.str"),
        ("ListNode", "builtins.list"),
        ("NdArrayNode", "numpy.float64"),
        ("NdArrayNode", "numpy.ndarray"),
        ("TypeNode", "builtins.str"),
    }
)
"""What estimators consist of, as (skops's loader, type): numbers, words, lists, dictionaries and arrays."""

_EARLIEST = (1980, 1, 1, 0, 0, 0)


class RefusedArtifact(PlatformError):
    """A stored model is not what its kind stores; nothing of it was loaded."""

    code = "refused_artifact"


def dumps(estimator: object) -> bytes:
    """Store an object as a skops file; the same object gives the same bytes in every process."""
    from skops import io as skops_io

    with zipfile.ZipFile(io.BytesIO(skops_io.dumps(estimator))) as written:
        schema: dict[str, Any] = json.loads(written.read(SCHEMA))
        arrays: dict[str, bytes] = {}
        for number, node in enumerate(_nodes(schema), start=1):
            if "__id__" in node:
                node["__id__"] = number
            if "file" in node:
                arrays[f"{number}.npy"] = written.read(node["file"])
                node["file"] = f"{number}.npy"
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as renumbered:
        for name, content in {**arrays, SCHEMA: json.dumps(schema).encode()}.items():
            renumbered.writestr(zipfile.ZipInfo(name, _EARLIEST), content)
    return stored.getvalue()


def loads(content: bytes, *, estimator: str) -> Any:  # noqa: ANN401 - what the file holds
    """Load a skops file that consists of one type of estimator and of plain types.

    Args:
        estimator: its type by dotted path, such as `sklearn.mixture._gaussian_mixture.GaussianMixture`.

    Raises:
        RefusedArtifact: if it is no skops file, or holds anything else; nothing is imported or made then.
    """
    from skops import io as skops_io

    allowed = PLAIN_TYPES | {("ObjectNode", estimator)}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as stored:
            schema = json.loads(stored.read(SCHEMA))
        found = {(str(node["__loader__"]), f"{node['__module__']}.{node['__class__']}") for node in _nodes(schema)}
        if found - allowed or ("ObjectNode", estimator) not in found:
            others = ", ".join(f"{name} ({loader})" for loader, name in sorted(found - allowed))
            raise RefusedArtifact(
                f"a stored {estimator} holds {others or 'none'}, and no such model was ever stored here. "
                "Do not use it: restore the artifact, or train the model again."
            )
        return skops_io.loads(content, trusted=[estimator])
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, RecursionError) as error:
        raise RefusedArtifact(
            f"a stored {estimator} is no whole skops file ({type(error).__name__}: {error}). "
            "Restore the artifact, or train the model again."
        ) from None


def _nodes(part: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - parsed JSON
    """Yield every described object, parents first. What carries any mark of one counts as one."""
    if isinstance(part, dict):
        if part.keys() & {"__class__", "__module__", "__loader__"}:
            yield part
        for item in part.values():
            yield from _nodes(item)
    elif isinstance(part, list):
        for item in part:
            yield from _nodes(item)
