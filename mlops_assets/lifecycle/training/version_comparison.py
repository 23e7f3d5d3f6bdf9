"""Comparing registered versions: each is read with the training set that it learned from, then judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from mlops_assets.features.spec import Fold
from mlops_assets.kernel.errors import NotFound
from mlops_assets.lifecycle.kinds.known import kind_of
from mlops_assets.lifecycle.registry import ModelRegistry, ModelVersion
from mlops_assets.lifecycle.training.compare import Comparison, Judged, compare, require_same_question
from mlops_assets.lifecycle.training.folds import fold_rows
from mlops_assets.lifecycle.training.reproduce import declared_by, stored_training_set
from mlops_assets.storage.parquet.snapshots import SnapshotStore


def compare_versions(
    model: str,
    versions: Sequence[int],
    *,
    models: ModelRegistry,
    snapshots: SnapshotStore,
    progress: Callable[[str], None] = lambda _what: None,
) -> Comparison:
    """Compare versions of a model with the first of them.

    Raises:
        NotFound: naming every version that there is not, or a training set that is gone.
        NotComparable: if they answer different questions, or no row lies in the test fold of all.
        NotReproducible: if one keeps no declaration.
        IntegrityViolation: if an artifact or a training set is damaged.
    """
    chosen = _known(model, versions, models)
    specs = {one.version: declared_by(one) for one in chosen}
    require_same_question(specs)
    judged = list[Judged]()
    for one in chosen:
        progress(f"reading the test fold of version {one.version}")
        spec = specs[one.version]
        rows = fold_rows(snapshots.read(stored_training_set(one, snapshots)), spec.features, Fold.TEST)
        say = partial(kind_of(spec.kind).predict, content=models.load(one), spec=spec)
        judged.append(Judged(version=one.version, spec=spec, rows=rows, say=say))
    return compare(judged, progress=progress)


def _known(model: str, versions: Sequence[int], models: ModelRegistry) -> list[ModelVersion]:
    known = {one.version: one for one in models.list(model=model)}
    wanted = list(dict.fromkeys(versions))
    if unknown := [str(version) for version in wanted if version not in known]:
        listed = ", ".join(map(str, known)) or "none"
        raise NotFound(
            kind="model version",
            name=", ".join(f"{model}@{version}" for version in unknown),
            remedy=f"Registered versions of {model}: {listed}.",
        )
    return [known[version] for version in wanted]
