"""Versions kept ready to answer: loaded once, bounded, and never from other bytes than were registered."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlops_assets.kernel.errors import IntegrityViolation
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.lifecycle.serving.loaded_models import LoadedModels, trained_spec
from tests.lifecycle.predicting import MODEL, World, spec_of, world_in
from tests.lifecycle.worlds import declared

VERSION = ModelVersion(
    model=MODEL,
    version=1,
    fingerprint="1" * 64,
    artifact_sha256="2" * 64,
    training_set_fingerprint="3" * 64,
    code_version="4" * 64,
    run_id="run-1",
    stage="experimental",
    metadata={"declaration": dict(spec_of(1).declaration), "feature_views": {"momentum": "1.0.0"}},
    metrics={},
    created_at=datetime(2024, 1, 1, tzinfo=UTC),
    created_by="quinn",
)


class Shelf:
    """Versions without a database; counts how often each was read."""

    def __init__(self) -> None:
        self.read: Counter[int] = Counter()
        self.is_damaged = False

    def get(self, model: str, version: int) -> ModelVersion:
        return replace(VERSION, model=model, version=version)

    def load(self, version: ModelVersion) -> bytes:
        self.read[version.version] += 1
        if self.is_damaged:
            raise IntegrityViolation(what="model", expected="a", found="b", remedy="Restore it.")
        return f"version {version.version}".encode()


def test_a_version_is_read_once_however_many_threads_want_it():
    shelf, threads = Shelf(), 8
    loaded, barrier = LoadedModels(shelf), threading.Barrier(threads)

    def want(_: int) -> bytes:
        barrier.wait(timeout=10)
        return loaded.get(MODEL, 1).content

    with ThreadPoolExecutor(threads) as pool:
        assert set(pool.map(want, range(threads))) == {b"version 1"}
    assert shelf.read == {1: 1}


def test_the_last_used_are_kept_and_no_more():
    shelf = Shelf()
    loaded = LoadedModels(shelf, kept=2)
    for version in (1, 2, 1, 3, 1, 2):
        assert loaded.get(MODEL, version).version.version == version
    assert shelf.read == {1: 1, 2: 2, 3: 1}


def test_a_damaged_artifact_is_not_kept_and_is_read_again_once_it_is_mended():
    shelf = Shelf()
    loaded = LoadedModels(shelf)
    shelf.is_damaged = True
    with pytest.raises(IntegrityViolation):
        loaded.get(MODEL, 1)
    shelf.is_damaged = False
    assert loaded.get(MODEL, 1).content == b"version 1"


def test_the_declaration_is_that_of_the_training_and_not_todays():
    spec = trained_spec(VERSION)
    assert spec.fingerprint == spec_of(1).fingerprint
    assert spec.training_set.folds.train_until.isoformat() != str(declared()["training_set"]["folds"]["train_until"])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = world_in(tmp_path)
    yield made
    made.services.predictions.close()


def test_an_artifact_swapped_on_disk_is_noticed_at_load(world: World):
    loaded = world.services.loaded_models
    kept = loaded.get(MODEL, 1).content
    for version in (1, 2):
        world.swap_artifact(version)
    with pytest.raises(IntegrityViolation, match="expected SHA-256"):
        loaded.get(MODEL, 2)
    assert loaded.get(MODEL, 1).content == kept
