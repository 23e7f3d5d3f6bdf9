"""Files of signed statements: a checkpoint, a rotation, or the bundle that lies beside an export."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from mlops_assets.kernel.errors import NotFound
from mlops_assets.ledger.checkpoint import (
    Checkpoint,
    InvalidCheckpoint,
    Rotation,
    Statement,
    require_signed,
    trusted_keys,
)
from mlops_assets.storage.keys import PublicKey, public_key_of

BUNDLE = "mlops_assets/ledger.bundle/v1"
_S = TypeVar("_S", bound=Statement)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """What some files say: checkpoints with the place each was read from, rotations, and the first public key."""

    checkpoints: Sequence[tuple[Checkpoint, str]] = ()
    rotations: Sequence[Rotation] = ()
    roots: Sequence[PublicKey] = field(default=())

    def trusted(self, given: Iterable[PublicKey] = ()) -> list[Checkpoint]:
        """Return the checkpoints in order; each must be signed by a key that leads back to one given, or to the first.

        Raises:
            InvalidCheckpoint: for the first whose signature does not count.
        """
        keys = trusted_keys(list(given) or self.roots, self.rotations)
        checked = [require_signed(one, keys, source=source) for one, source in self.checkpoints]
        return sorted(checked, key=lambda one: one.seq)


def read_statements(files: Iterable[Path]) -> Statements:
    """Read files of any of the three kinds.

    Raises:
        NotFound: if a file is not there.
        InvalidCheckpoint: if one says something else.
    """
    checkpoints: list[tuple[Checkpoint, str]] = []
    rotations: list[Rotation] = []
    roots: list[PublicKey] = []
    for file in files:
        content = _json_of(file)
        kind = content.pop("kind", None)
        if kind == BUNDLE:
            checkpoints.append((_statement(Checkpoint, content.get("checkpoint"), file), str(file)))
            rotations += [_statement(Rotation, one, file) for one in content.get("rotations", [])]
            roots.append(public_key_of(str(content.get("public_key")), source=str(file)))
        elif kind == Checkpoint.KIND:
            checkpoints.append((_statement(Checkpoint, content, file), str(file)))
        elif kind == Rotation.KIND:
            rotations.append(_statement(Rotation, content, file))
        else:
            raise InvalidCheckpoint(f"{file}: kind is {kind!r}, which is no checkpoint or rotation of a ledger")
    return Statements(checkpoints=checkpoints, rotations=rotations, roots=roots)


def bundle(checkpoint: Checkpoint, rotations: Iterable[Rotation], root: PublicKey) -> bytes:
    """Return everything that verifies one checkpoint, as the content of one file."""
    content = {
        "kind": BUNDLE,
        "checkpoint": checkpoint.as_json(),
        "public_key": root.pem,
        "rotations": [one.as_json() for one in rotations],
    }
    return pretty(content)


def pretty(content: object) -> bytes:
    """Return JSON that a person can read in a file."""
    return (json.dumps(content, indent=2) + "\n").encode("ascii")


def _json_of(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise NotFound(kind="checkpoint file", name=str(file), remedy="`mlops audit checkpoint` writes one.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidCheckpoint(f"{file}: not JSON ({error}). Take it from a backup.") from error
    if not isinstance(content, dict):
        raise InvalidCheckpoint(f"{file}: not a JSON object. Take it from a backup.")
    return content


def _statement(kind: type[_S], content: object, file: Path) -> _S:
    if isinstance(content, dict):
        content = {name: value for name, value in cast("dict[str, Any]", content).items() if name != "kind"}
    try:
        found = TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise InvalidCheckpoint(f"{file}: {problems}. Take it from a backup.") from None
    if not found.signature:
        raise InvalidCheckpoint(f"{file}: it is not signed. Take it from a backup.")
    return found
