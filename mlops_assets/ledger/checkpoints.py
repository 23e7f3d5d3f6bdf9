"""Who vouches for the ledger's head: signing checkpoints, replacing the key, and verifying against all of them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import NotFound, PlatformError
from mlops_assets.ledger.checkpoint import Checkpoint, Rotation
from mlops_assets.ledger.checkpoint_folder import PURPOSE, CheckpointFolder
from mlops_assets.ledger.statements import bundle
from mlops_assets.ledger.store import Ledger
from mlops_assets.ledger.verification import Verification
from mlops_assets.storage.keys import KeyFolder, PublicKey, SigningKey


class BrokenChain(PlatformError):
    """The ledger does not hold, so nobody vouches for it."""

    code: ClassVar[str] = "broken_chain"

    def __init__(self, verification: Verification) -> None:
        self.verification = verification
        super().__init__(
            f"the ledger does not hold, so no checkpoint is signed: {verification.problem}. "
            "`mlops audit verify` walks the whole ledger; docs/runbooks/verify-the-ledger.md says what to do then."
        )


class Checkpoints:
    """Signs the head of a ledger into a folder, with a key that is kept elsewhere."""

    def __init__(self, ledger: Ledger, keys: KeyFolder, folder: Path, clock: Clock) -> None:
        self._ledger, self._keys, self._clock = ledger, keys, clock
        self._folder = CheckpointFolder(folder, keys)

    def sign(self) -> Checkpoint:
        """Sign the head after walking from the latest checkpoint to it; where it has not moved, return the latest.

        Raises:
            BrokenChain: if an entry since the latest checkpoint, or the one that it saw, does not hold.
            InvalidCheckpoint: if the latest checkpoint itself does not.
            NotFound: if the ledger has no entry yet.
        """
        latest = self._folder.latest()
        found = self._ledger.verify_since(latest)
        if not found.is_intact:
            raise BrokenChain(found)
        if not found.entries:
            raise NotFound(kind="entry of the ledger", name="1", remedy="Sign when something has happened.")
        if latest is not None and latest.seq == found.entries:
            return latest
        key = self._keys.signing_key(PURPOSE)
        ledger = latest.ledger if latest else self._ledger.hash_of(1)
        unsigned = Checkpoint(
            ledger=ledger, seq=found.entries, head_hash=found.head_hash, at=self._clock.now(), key_id=key.key_id
        )
        return self._folder.keep(unsigned.signed_by(key))

    def latest(self) -> Checkpoint | None:
        """Return the checkpoint of the highest entry."""
        return self._folder.latest()

    def all(self) -> list[Checkpoint]:
        """Return every checkpoint in order, its signature verified."""
        return self._folder.read().trusted()

    def rotate_key(self, by: str, reason: str = "") -> PublicKey:
        """Replace the key by a new one that the old one vouches for, with an entry in the ledger.

        Raises:
            Conflict: if somebody else rotates it at the same time.
        """
        with self._ledger.begin() as connection:

            def announce(old: SigningKey, new: SigningKey) -> None:
                change = Change(
                    actor=by,
                    action="ledger.rotate_key",
                    subject="ledger",
                    before=old.key_id,
                    after=new.key_id,
                    reason=reason,
                    details={"public_key": new.public.pem},
                )
                self._ledger.append(connection, change)
                rotation = Rotation(key_id=old.key_id, public_key=new.public.pem, at=self._clock.now())
                self._folder.keep_rotation(rotation.signed_by(old), new.key_id)

            return self._keys.rotate(PURPOSE, announce).public

    def public_keys(self) -> list[PublicKey]:
        """Return the public keys, the first one first; an auditor needs that one only."""
        self._keys.signing_key(PURPOSE)
        return list(self._keys.public_keys(PURPOSE).values())

    def bundle(self, checkpoint: Checkpoint) -> bytes:
        """Return a file that verifies a checkpoint together with the first public key."""
        return bundle(checkpoint, self._folder.read().rotations, self.public_keys()[0])
