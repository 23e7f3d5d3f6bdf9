"""What a signed checkpoint of the ledger says, and whose signature on it counts.

A checkpoint says: at that time, entry `seq` of the ledger that begins with entry `ledger` had hash `head_hash`. A
rotation says: the key that signs this is followed by that one. So whoever trusts the first public key can verify every
checkpoint since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, ClassVar, Self

from pydantic import AwareDatetime, ConfigDict, Field

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.kernel.fingerprint import Json, canonical_json
from mlops_assets.storage.keys import PublicKey, SigningKey, public_key_of

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
KeyId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Signature = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
Seq = Annotated[int, Field(ge=1, le=2**53)]


class InvalidCheckpoint(PlatformError):
    """A file is no checkpoint, or its signature is not by a key that counts."""

    code: ClassVar[str] = "invalid_checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Something signed. What is signed begins with its kind, so that no signature serves for another kind."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    KIND: ClassVar[str]

    at: AwareDatetime
    key_id: KeyId
    signature: Signature = ""

    def content(self) -> dict[str, Json]:
        """Return what is signed."""
        raise NotImplementedError

    def as_json(self) -> dict[str, Json]:
        """Return the form in files."""
        return {"kind": self.KIND, **self.content(), "signature": self.signature}

    def signed_by(self, key: SigningKey) -> Self:
        return replace(self, signature=key.sign(self._signed_bytes()).hex())

    def is_signed_by(self, key: PublicKey) -> bool:
        return key.key_id == self.key_id and key.verifies(self._signed_bytes(), bytes.fromhex(self.signature))

    def _signed_bytes(self) -> bytes:
        return self.KIND.encode("ascii") + b"\0" + canonical_json(self.content())


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint(Statement):
    """The head of a ledger at some time. `ledger` is the hash of its first entry, which tells ledgers apart."""

    KIND: ClassVar[str] = "mlops_assets/ledger.checkpoint/v1"

    ledger: Sha256
    seq: Seq
    head_hash: Sha256

    def content(self) -> dict[str, Json]:
        return {
            "ledger": self.ledger,
            "seq": self.seq,
            "head_hash": self.head_hash,
            "at": _text(self.at),
            "key_id": self.key_id,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation(Statement):
    """One key vouches for the next: `key_id` is the old one, `public_key` the PEM text of the new."""

    KIND: ClassVar[str] = "mlops_assets/ledger.rotation/v1"

    public_key: str

    def content(self) -> dict[str, Json]:
        return {"public_key": self.public_key, "at": _text(self.at), "key_id": self.key_id}


def trusted_keys(roots: Iterable[PublicKey], rotations: Iterable[Rotation]) -> dict[str, PublicKey]:
    """Return the keys that the roots vouch for, directly or through other keys, by key id."""
    keys = {key.key_id: key for key in roots}
    waiting = list(rotations)
    while found := [one for one in waiting if one.key_id in keys and one.is_signed_by(keys[one.key_id])]:
        following = [public_key_of(one.public_key, source="a rotation") for one in found]
        keys |= {key.key_id: key for key in following}
        waiting = [one for one in waiting if one not in found]
    return keys


def require_signed(checkpoint: Checkpoint, keys: Mapping[str, PublicKey], *, source: str) -> Checkpoint:
    """Return the checkpoint if one of these keys signed it; `source` says in errors where it was read from.

    Raises:
        InvalidCheckpoint: saying what is wrong with the signature.
    """
    key = keys.get(checkpoint.key_id)
    if key is None:
        raise InvalidCheckpoint(
            f"{source}: signed with key {checkpoint.key_id}, but only {', '.join(keys) or 'none'} can be trusted. "
            "Give the first public key, and the rotations that lead from it to this key."
        )
    if not checkpoint.is_signed_by(key):
        raise InvalidCheckpoint(
            f"{source}: its signature does not hold: it was changed, or signed with another key. Take it from a backup."
        )
    return checkpoint


def _text(at: datetime) -> str:
    return at.isoformat(timespec="microseconds")
