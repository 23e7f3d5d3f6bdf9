"""The folder of signed checkpoints: what it holds, and that nothing in it is ever written over."""

from __future__ import annotations

import re
from pathlib import Path

from mlops_assets.kernel.errors import Conflict
from mlops_assets.ledger.checkpoint import Checkpoint, Rotation
from mlops_assets.ledger.statements import Statements, pretty, read_statements
from mlops_assets.storage.files import publish_new_file, temporary_file
from mlops_assets.storage.keys import KeyFolder

PURPOSE = "ledger"
"""The purpose of the keys that sign checkpoints."""

_CHECKPOINT = re.compile(r"\d{12}\.json")
_ROTATION = re.compile(r"rotation-[0-9a-f]{16}\.json")


class CheckpointFolder:
    """Checkpoints by number (`000000000042.json`) and rotations by new key; reading needs public keys only."""

    def __init__(self, path: Path, keys: KeyFolder) -> None:
        self.path, self._keys = path, keys

    def read(self) -> Statements:
        """Read everything; the public keys of this installation are the roots."""
        names = self._names()
        return self._statements([name for name in names if _CHECKPOINT.fullmatch(name) or _ROTATION.fullmatch(name)])

    def latest(self) -> Checkpoint | None:
        """Return the checkpoint of the highest entry, its signature verified, without reading the others."""
        names = self._names()
        if not (checkpoints := [name for name in names if _CHECKPOINT.fullmatch(name)]):
            return None
        wanted = [max(checkpoints), *(name for name in names if _ROTATION.fullmatch(name))]
        return self._statements(wanted).trusted()[-1]

    def keep(self, checkpoint: Checkpoint) -> Checkpoint:
        """Write a checkpoint, unless there is one of the same entry: then return that.

        Raises:
            Conflict: if the one that is there saw another entry.
        """
        name = _name_of(checkpoint)
        if self._write(name, checkpoint):
            return checkpoint
        (there,) = self._statements([name, *filter(_ROTATION.fullmatch, self._names())]).trusted()
        if (there.ledger, there.head_hash) != (checkpoint.ledger, checkpoint.head_hash):
            raise Conflict(
                f"{self.path / name} saw another entry {checkpoint.seq} than the one to be signed now: the ledger was "
                "written anew, or the folder is that of another ledger. `mlops audit verify` tells which."
            )
        return there

    def keep_rotation(self, rotation: Rotation, new_key_id: str) -> None:
        """Write a rotation beside the checkpoints."""
        self._write(f"rotation-{new_key_id}.json", rotation)

    def _names(self) -> list[str]:
        return sorted(file.name for file in self.path.iterdir()) if self.path.is_dir() else []

    def _statements(self, names: list[str]) -> Statements:
        roots = tuple(self._keys.public_keys(PURPOSE).values())
        found = Statements(roots=roots)
        for name in names:
            said = read_statements([self.path / name])
            held = [_name_of(one) for one, _ in said.checkpoints]
            if not said.problems and held != [name] * bool(_CHECKPOINT.fullmatch(name)):
                said = Statements(problems=(f"{self.path / name}: it is not the checkpoint that its name says",))
            found = found.and_also(said)
        return found

    def _write(self, name: str, statement: Checkpoint | Rotation) -> bool:
        with temporary_file(self.path) as temporary:
            temporary.write_bytes(pretty(statement.as_json()))
            return publish_new_file(temporary, self.path / name)


def _name_of(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.seq:012d}.json"
