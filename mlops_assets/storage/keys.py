"""Which keys this installation signs with: Ed25519 keys as PEM files, one current key for each purpose.

`<purpose>-0001.pem` is a private key and `<purpose>-0001.pub.pem` its public half. The highest number is the current
key. A rotation adds the next number and removes the older private key; public halves stay for ever, because what was
signed has to be verified for ever.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mlops_assets.kernel.errors import Conflict, PlatformError
from mlops_assets.storage.files import publish_new_file, temporary_text

_PURPOSE = re.compile(r"[a-z][a-z0-9_]{0,39}")
_KEY_ID_DIGITS = 16
_LOOKS = 5
_OPEN_TO_OTHERS = stat.S_IRWXO | stat.S_IWGRP


class UnusableKey(PlatformError):
    """A key file is not one, or more people can read it than may."""

    code: ClassVar[str] = "unusable_key"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What a signature is verified with. `key_id` is the beginning of the SHA-256 of its 32 bytes."""

    key: Ed25519PublicKey

    @property
    def key_id(self) -> str:
        return hashlib.sha256(self.key.public_bytes_raw()).hexdigest()[:_KEY_ID_DIGITS]

    @property
    def pem(self) -> str:
        encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_bytes(encoding, form).decode("ascii")

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Say whether the holder of this key signed these bytes."""
        try:
            self.key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key. Its text is what `private_pem` says, and nothing else prints it."""

    key: Ed25519PrivateKey

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.key.public_key())

    @property
    def key_id(self) -> str:
        return self.public.key_id

    @property
    def private_pem(self) -> str:
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(encoding, form, serialization.NoEncryption()).decode("ascii")

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of the signature."""
        return self.key.sign(message)


class KeyFolder:
    """The keys in one folder, used by several processes at once: a key file appears whole, once, and never changes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def signing_key(self, purpose: str) -> SigningKey:
        """Return the current key, made at first use."""
        return self._current(purpose)[1]

    def rotate(
        self, purpose: str, announce: Callable[[SigningKey, SigningKey], None] = lambda _old, _new: None
    ) -> SigningKey:
        """Make the next key the current one and return it; the private half of the older one is removed.

        `announce(old, new)` is called before the new key is there, so that the old key can vouch for it.

        Raises:
            Conflict: if somebody rotated it at the same time; theirs is the current key then.
        """
        number, old = self._current(purpose)
        following = max(self._numbers(purpose, ".pub.pem")) + 1
        new = SigningKey(Ed25519PrivateKey.generate())
        announce(old, new)
        # The public half stays for ever, so its name is given once: whoever gets it is the one who rotates.
        if not _publish_text(self._file(purpose, following, ".pub.pem"), new.public.pem, mode=0o644):
            raise Conflict(f"the key for {purpose!r} was rotated by somebody else just now; look before rotating again")
        _publish_text(self._file(purpose, following, ".pem"), new.private_pem, mode=0o600)
        self._file(purpose, number, ".pem").unlink(missing_ok=True)
        return new

    def public_keys(self, purpose: str) -> dict[str, PublicKey]:
        """Return every public key there was, the first one first, by key id; this makes no key."""
        numbers = sorted(self._numbers(purpose, ".pub.pem"))
        keys = [read_public_key(self._file(purpose, number, ".pub.pem")) for number in numbers]
        return {key.key_id: key for key in keys}

    def _numbers(self, purpose: str, ending: str) -> list[int]:
        if not _PURPOSE.fullmatch(purpose):
            raise ValueError(f"a key's purpose is a short word in small letters, not {purpose!r}")
        pattern = re.compile(rf"{purpose}-(\d{{4,}}){re.escape(ending)}")
        names = os.listdir(self.path) if self.path.is_dir() else []
        return [int(found[1]) for name in names if (found := pattern.fullmatch(name))]

    def _file(self, purpose: str, number: int, ending: str) -> Path:
        return self.path / f"{purpose}-{number:04d}{ending}"

    def _current(self, purpose: str) -> tuple[int, SigningKey]:
        """Return the current key and its number. A rotation may remove a key while its file is looked for."""
        for _ in range(_LOOKS):
            private, public = self._numbers(purpose, ".pem"), self._numbers(purpose, ".pub.pem")
            if not private and not public:
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                first = SigningKey(Ed25519PrivateKey.generate())
                _publish_text(self._file(purpose, 1, ".pem"), first.private_pem, mode=0o600)
            elif private:
                number = max(private)
                with suppress(FileNotFoundError):
                    key = self._read(self._file(purpose, number, ".pem"))
                    self._keep_public(purpose, number, key)
                    return number, key
        raise UnusableKey(
            f"{self.path} holds public keys for {purpose!r} but no private one. Restore the newest {purpose}-NNNN.pem "
            "from the backup of the keys; a new key would break the chain of trust."
        )

    def _keep_public(self, purpose: str, number: int, key: SigningKey) -> None:
        file = self._file(purpose, number, ".pub.pem")
        if not file.exists():
            _publish_text(file, key.public.pem, mode=0o644)
        if read_public_key(file).key_id != key.key_id:
            raise UnusableKey(f"{file} is not the public half of the key beside it. Restore both from the backup.")

    def _read(self, file: Path) -> SigningKey:
        if mode := stat.S_IMODE(file.stat().st_mode) & _OPEN_TO_OTHERS:
            raise UnusableKey(f"{file}: others can use this key (mode bits {mode:03o}). Run `chmod 600 {file}`.")
        try:
            key = serialization.load_pem_private_key(file.read_bytes(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise UnusableKey(
                f"{file}: not a private key ({error}). Restore it from the backup of the keys."
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise UnusableKey(f"{file}: not an Ed25519 key. Restore it from the backup of the keys.")
        return SigningKey(key)


def read_public_key(file: Path) -> PublicKey:
    """Read a PEM file.

    Raises:
        UnusableKey: if it holds no Ed25519 public key.
    """
    return public_key_of(file.read_text(encoding="ascii", errors="replace"), source=str(file))


def public_key_of(pem: str, *, source: str) -> PublicKey:
    """Read a public key from PEM text; `source` says in errors where the text is from."""
    remedy = "Give the PEM text that `mlops audit public-key` prints."
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnusableKey(f"{source}: not a public key. {remedy}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise UnusableKey(f"{source}: not an Ed25519 public key. {remedy}")
    return PublicKey(key)


def _publish_text(final: Path, text: str, *, mode: int) -> bool:
    with temporary_text(final.parent, text, mode=mode) as temporary:
        return publish_new_file(temporary, final)
