"""What is the same thing: SHA-256 over canonical bytes (RFC 8785 for values)."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import rfc8785

Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]


def canonical_json(value: Json) -> bytes:
    """Serialise by RFC 8785.

    Raises:
        rfc8785.CanonicalizationError: for NaN, infinities and integers beyond 2^53.
    """
    return rfc8785.dumps(_plain(value))


def fingerprint(value: Json) -> str:
    """Return the SHA-256 of the canonical JSON of `value`, in hexadecimal."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def bytes_sha256(content: bytes) -> str:
    """Return the SHA-256 of `content`, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, read in chunks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def source_fingerprint(*modules: str) -> str:
    """Return one fingerprint for the source files of modules, named by dotted path and not imported."""
    return fingerprint({name: file_sha256(_source_of(name)) for name in modules})


def _source_of(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"module {module} has no source file")
    return Path(spec.origin)


def _plain(value: Json) -> rfc8785._impl._Value:  # pyright: ignore[reportPrivateUsage]
    """Turn mappings and sequences of any kind into the dicts and lists that the serialiser knows."""
    if isinstance(value, Mapping):
        mapping = cast("Mapping[str, Json]", value)
        return {key: _plain(item) for key, item in mapping.items()}
    if isinstance(value, str | int | float | bool | None):
        return value
    return [_plain(item) for item in value]
