"""Bytes kept under their own SHA-256: reports, plots, model files. Written once, verified at every read."""

from __future__ import annotations

from pathlib import Path

from mlops_assets.kernel.errors import IntegrityViolation, NotFound
from mlops_assets.kernel.fingerprint import bytes_sha256, file_sha256
from mlops_assets.storage.files import publish_file, temporary_file
from mlops_assets.storage.sweep import sweep_orphans, writing


class BlobStore:
    """A folder of immutable files named by their hash, two levels deep."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, content: bytes) -> str:
        """Keep `content` durably and return its SHA-256. Keeping it again mends a damaged file."""
        sha256 = bytes_sha256(content)
        path = self.path(sha256)
        if not path.exists() or file_sha256(path) != sha256:
            incoming = self.root / "incoming"
            with writing(incoming), temporary_file(incoming) as temporary:
                temporary.write_bytes(content)
                publish_file(temporary, path)
            sweep_orphans(incoming, lambda: ())
        return sha256

    def get(self, sha256: str) -> bytes:
        """Return the bytes kept under `sha256`.

        Raises:
            NotFound: if nothing is kept under it.
            IntegrityViolation: if the file's bytes are not those that were kept.
        """
        path = self.path(sha256)
        if not path.exists():
            raise NotFound(kind="blob", name=sha256, remedy=f"Nothing is kept at {path}; materialise what made it.")
        content = path.read_bytes()
        if (found := bytes_sha256(content)) != sha256:
            raise IntegrityViolation(
                what=str(path),
                expected=sha256,
                found=found,
                remedy="Remove the file and materialise the asset that made it, or restore it from a backup.",
            )
        return content

    def path(self, sha256: str) -> Path:
        """Return where the bytes of `sha256` are or would be."""
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise NotFound(kind="blob", name=sha256[:80], remedy="A blob's name is 64 hexadecimal digits.")
        return self.root / sha256[:2] / sha256
