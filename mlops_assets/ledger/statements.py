"""Files of signed statements: a checkpoint, a rotation, or the bundle that lies beside an export."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
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
from mlops_assets.storage.keys import PublicKey, UnusableKey, public_key_of

BUNDLE = "mlops_assets/ledger.bundle/v1"
_S = TypeVar("_S", bound=Statement)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """What some files say: checkpoints with the file each was read from, rotations, and the first public key.

    `problems` names the files that say nothing usable.
    """

    checkpoints: tuple[tuple[Checkpoint, Path], ...] = ()
    rotations: tuple[Rotation, ...] = ()
    roots: tuple[PublicKey, ...] = ()
    problems: tuple[str, ...] = ()

    def and_also(self, other: Statements) -> Statements:
        return Statements(
            checkpoints=self.checkpoints + other.checkpoints,
            rotations=self.rotations + other.rotations,
            roots=self.roots + other.roots,
            problems=self.problems + other.problems,
        )

    def sifted(self, given: Iterable[PublicKey] = ()) -> Sifted:
        """Keep the checkpoints, in order, whose signer leads back to a key given, or to the first; name the others."""
        keys = trusted_keys(list(given) or self.roots, self.rotations)
        counting, problems = list[Checkpoint](), list(self.problems)
        for one, source in self.checkpoints:
            try:
                counting.append(require_signed(one, keys, source=str(source)))
            except InvalidCheckpoint as error:
                problems.append(str(error))
        return Sifted(checkpoints=sorted(counting, key=lambda one: one.seq), problem="; ".join(problems))

    def trusted(self, given: Iterable[PublicKey] = ()) -> list[Checkpoint]:
        """Return the checkpoints in order if every one counts.

        Raises:
            InvalidCheckpoint: naming every file that does not.
        """
        found = self.sifted(given)
        if found.problem:
            raise InvalidCheckpoint(found.problem)
        return found.checkpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Sifted:
    """The checkpoints that count, in order, and what is wrong with the files that do not."""

    checkpoints: list[Checkpoint]
    problem: str


def read_statements(files: Iterable[Path]) -> Statements:
    """Read files of any of the three kinds; one that says something else is a problem, and the others still count.

    Raises:
        NotFound: if a file is not there.
    """
    found = Statements()
    for file in files:
        try:
            found = found.and_also(_said(file))
        except (InvalidCheckpoint, UnusableKey) as error:
            found = found.and_also(Statements(problems=(str(error),)))
    return found


def _said(file: Path) -> Statements:
    content = _json_of(file)
    kind = content.pop("kind", None)
    if kind == Checkpoint.KIND:
        return Statements(checkpoints=((_statement(Checkpoint, content, file), file),))
    if kind == Rotation.KIND:
        return Statements(rotations=(_statement(Rotation, content, file),))
    if kind != BUNDLE:
        raise InvalidCheckpoint(f"{file}: kind is {kind!r}, which is no checkpoint or rotation of a ledger")
    rotations = content.get("rotations")
    if not isinstance(rotations, list):
        raise InvalidCheckpoint(f"{file}: its rotations are no list. Take it from a backup.")
    return Statements(
        checkpoints=((_statement(Checkpoint, content.get("checkpoint"), file), file),),
        rotations=tuple(_statement(Rotation, one, file) for one in cast("list[object]", rotations)),
        roots=(public_key_of(str(content.get("public_key")), source=str(file)),),
    )


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
