"""Whether a version comes out again: trained once more from what its record names, and compared bit for bit.

Nothing is registered. The training set is the stored snapshot, the declaration the one that the version keeps; code,
packages and machine are those of now, so where they differ from the recorded ones the answer says so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import polars as pl

from mlops_assets.features.freezing import rebuild
from mlops_assets.features.spec import FeatureView
from mlops_assets.kernel.errors import NotFound, PlatformError
from mlops_assets.kernel.fingerprint import bytes_sha256
from mlops_assets.lifecycle.kinds.known import kind_of
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.lifecycle.serving.loaded_models import trained_spec
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.lifecycle.training.candidate import Candidate, train_candidate
from mlops_assets.lifecycle.training.version_metadata import code_version_of, environment
from mlops_assets.storage.parquet.files import write_file
from mlops_assets.storage.parquet.snapshots import Snapshot, SnapshotStore

Progress = Callable[[str], None]
"""Is told what begins."""


class NotReproducible(PlatformError):
    """A version does not keep what it would take to train it again."""

    code: ClassVar[str] = "not_reproducible"


class Artifacts(Protocol):
    """Keeps the bytes of versions."""

    def load(self, version: ModelVersion) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One thing that was compared. `counts` is False for what explains a difference and is none by itself."""

    what: str
    is_same: bool
    recorded: str
    found: str
    note: str = ""
    counts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """What came of training a version again."""

    version: str
    parts: Sequence[Part]

    @property
    def is_exact(self) -> bool:
        return all(part.is_same for part in self.parts if part.counts)


def reproduce(
    version: ModelVersion,
    *,
    artifacts: Artifacts,
    snapshots: SnapshotStore,
    views: Mapping[str, FeatureView] | None = None,
    progress: Progress = lambda _what: None,
) -> Reproduction:
    """Train a version again and compare each part of it.

    Args:
        views: the declared views; given, the training set is built again too, from the snapshots behind it.

    Raises:
        NotReproducible: if the version keeps no declaration.
        NotFound, IntegrityViolation: if its training set or artifact is gone or damaged.
    """
    spec, recorded = declared_by(version), artifacts.load(version)
    progress(f"reading {version.metadata['training_set']}")
    source = stored_training_set(version, snapshots)
    table = snapshots.read(source)
    parts = [_same("training set", version.training_set_fingerprint, source.fingerprint)]
    if views is not None:
        progress(f"building {source.id} again from {len(source.inputs)} snapshots")
        parts.append(_rebuilt(spec, source, views, snapshots))
    trained = train_candidate(table, spec, progress=progress)
    found = bytes_sha256(trained.fitted.content)
    parts += [
        _same("declaration", str(version.metadata["declaration_fingerprint"]), spec.fingerprint),
        _code(version, spec),
        _environment(version),
        _artifact(version, recorded, trained, found),
        _metrics(version.metrics, trained.metrics()),
    ]
    return Reproduction(version=version.id, parts=parts)


def stored_training_set(version: ModelVersion, snapshots: SnapshotStore) -> Snapshot:
    """Return the snapshot that a version learned from, however many came since.

    Raises:
        NotFound: if it is gone.
    """
    dataset = str(version.metadata["training_set"])
    for one in reversed(snapshots.history(dataset)):
        if one.fingerprint == version.training_set_fingerprint:
            return one
    raise NotFound(
        kind=f"training set of {version.id}",
        name=f"{dataset} {version.training_set_fingerprint}",
        remedy="No snapshot has that fingerprint; restore the database and the snapshots from a backup of its time.",
    )


def learned_until(version: ModelVersion, snapshots: SnapshotStore) -> date:
    """Return where the train fold of a version ends: folds that move on have stood still since it was trained.

    Raises:
        NotFound: if its training set is gone.
        NotReproducible: if it keeps no declaration.
    """
    sessions = snapshots.frame(stored_training_set(version, snapshots), ["date"])["date"].unique().sort().to_list()
    return declared_by(version).training_set.folds.resolved(sessions).train_until


def declared_by(version: ModelVersion) -> ModelSpec:
    """Return the declaration that a version was trained by.

    Raises:
        NotReproducible: if it keeps none.
    """
    if "declaration" not in version.metadata:
        raise NotReproducible(
            f"{version.id} was registered before versions kept their declaration. Materialise models/{version.model} "
            "to register one that does."
        )
    return trained_spec(version)


def _rebuilt(spec: ModelSpec, source: Snapshot, views: Mapping[str, FeatureView], snapshots: SnapshotStore) -> Part:
    """Build the training set from the snapshots behind it and compare the file with the stored one."""
    used = {name: views[name] for name in spec.training_set.views if name in views}
    rows = rebuild(spec.training_set, source, used, snapshots)
    with tempfile.TemporaryDirectory() as folder:
        written = write_file(Path(folder), source.dataset, rows)
    return _same("training set built again", source.files[0].sha256, written.sha256)


def _code(version: ModelVersion, spec: ModelSpec) -> Part:
    part = _same("code", version.code_version, code_version_of(spec))
    if part.is_same:
        return part
    commit = dict[str, Any](version.metadata.get("environment", {})).get("code_commit")
    note = f"check out commit {commit} and ask again" if commit else "its commit was not recorded: it was no clone"
    return Part(what=part.what, is_same=False, recorded=part.recorded, found=part.found, note=note)


def _environment(version: ModelVersion) -> Part:
    """Compare machine and packages; where the bytes are the same, it does not matter that these differ."""
    before, now = dict[str, Any](version.metadata["environment"]), environment()
    recorded, found = (_flat(one) for one in (before, now))
    names = sorted({*recorded, *found} - {"code_commit"})
    moved = [
        f"{name} {recorded.get(name)} → {found.get(name)}" for name in names if recorded.get(name) != found.get(name)
    ]
    return Part(
        what="environment",
        is_same=not moved,
        recorded=str(before["packages_fingerprint"]),
        found=str(now["packages_fingerprint"]),
        note="; ".join(moved),
        counts=False,
    )


def _flat(one: Mapping[str, Any]) -> dict[str, object]:
    rest = {name: value for name, value in one.items() if name not in {"libraries", "packages_fingerprint"}}
    return {**rest, **one["libraries"], "other packages": str(one["packages_fingerprint"])[:12]}


def _artifact(version: ModelVersion, recorded: bytes, trained: Candidate, found: str) -> Part:
    part = _same("artifact", version.artifact_sha256, found)
    if part.is_same:
        return part
    spec, rows = trained.spec, trained.test
    before = kind_of(spec.kind).predict(rows, recorded, spec)
    return Part(
        what=part.what,
        is_same=False,
        recorded=part.recorded,
        found=part.found,
        note=f"on the test fold, {difference(before, trained.said)}",
    )


def difference(before: pl.DataFrame, now: pl.DataFrame) -> str:
    """Say by how much two models differ in what they say of the same rows, column by column."""
    said = [_column_difference(name, before.get_column(name), now.get_column(name)) for name in before.columns]
    return "; ".join(said)


def _column_difference(name: str, before: pl.Series, now: pl.Series) -> str:
    moved = int((~before.eq_missing(now)).sum())
    if not moved:
        return f"{name} is the same in all {len(before)} rows"
    told = f"{name} differs in {moved} of {len(before)} rows"
    if not before.dtype.is_float():
        return told
    gaps = np.abs(before.to_numpy() - now.to_numpy())
    finite = gaps[np.isfinite(gaps)]
    return f"{told}, by at most {finite.max():.3g}" if len(finite) else told


def _metrics(recorded: Mapping[str, float], found: Mapping[str, float]) -> Part:
    names = sorted({*recorded, *found})
    moved = [
        f"{name} {recorded.get(name)} → {found.get(name)}" for name in names if recorded.get(name) != found.get(name)
    ]
    return Part(
        what="metrics",
        is_same=not moved,
        recorded=f"{len(recorded)} figures",
        found=f"{len(found) - len(moved)} the same" if moved else f"{len(found)} the same",
        note="; ".join(moved),
    )


def _same(what: str, recorded: str, found: str) -> Part:
    return Part(what=what, is_same=recorded == found, recorded=recorded, found=found)
