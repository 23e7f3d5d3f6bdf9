"""The versions that are ready to answer: read once, checked against their hash, and the last few kept.

A rollback must take effect at the next prediction, so the champion of before stays loaded beside the one that serves.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import polars as pl

from mlops_assets.lifecycle.kinds.kind import READ_AND_KEPT
from mlops_assets.lifecycle.kinds.known import kind_of
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.lifecycle.spec import ModelSpec

_Key = tuple[str, int]


class Versions(Protocol):
    """Where versions and their artifacts are; an artifact is given only after its bytes were checked."""

    def get(self, model: str, version: int) -> ModelVersion: ...

    def load(self, version: ModelVersion) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedModel:
    """A version with its checked artifact, and the declaration that it was trained by: today's may be another."""

    version: ModelVersion
    spec: ModelSpec
    content: bytes

    @property
    def feature_views(self) -> Mapping[str, str]:
        """The version of each feature view that it learned from."""
        return cast("Mapping[str, str]", self.version.metadata.get("feature_views", {}))

    def score(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return what it says of complete rows, in its kind's columns."""
        return kind_of(self.spec.kind).predict(rows, self.content, self.spec)


class LoadedModels:
    """Loads versions and keeps the last used. Safe to share between threads."""

    def __init__(self, versions: Versions, *, kept: int = READ_AND_KEPT) -> None:
        self._versions, self._kept = versions, kept
        self._loaded: OrderedDict[_Key, LoadedModel] = OrderedDict()
        self._loading: dict[_Key, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, model: str, version: int) -> LoadedModel:
        """Return a version ready to answer, from memory if it is there.

        Raises:
            NotFound: if there is no such version.
            IntegrityViolation: if its artifact is not what was registered; it is not kept, and tried again next time.
        """
        key = (model, version)
        if (found := self._find(key)) is not None:
            return found
        with self._lock_of(key):
            return self._find(key) or self._load(key)

    def _find(self, key: _Key) -> LoadedModel | None:
        with self._lock:
            if key in self._loaded:
                self._loaded.move_to_end(key)
            return self._loaded.get(key)

    def _lock_of(self, key: _Key) -> threading.Lock:
        """Return what makes the threads that want the same version wait for the first of them."""
        with self._lock:
            return self._loading.setdefault(key, threading.Lock())

    def _load(self, key: _Key) -> LoadedModel:
        version = self._versions.get(*key)
        loaded = LoadedModel(version=version, spec=trained_spec(version), content=self._versions.load(version))
        with self._lock:
            self._loaded[key] = loaded
            while len(self._loaded) > self._kept:
                self._loading.pop(self._loaded.popitem(last=False)[0], None)
        return loaded


def trained_spec(version: ModelVersion) -> ModelSpec:
    """Return the declaration that a version was trained by."""
    declaration = cast("Mapping[str, Any]", version.metadata["declaration"])
    return ModelSpec.from_mapping(declaration, Path(version.id))
