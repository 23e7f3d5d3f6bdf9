"""All that a version says of itself: what training yielded, from which data, by which code, on which machine."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import distributions, version
from pathlib import Path
from typing import cast

from mlops_assets.kernel.fingerprint import Json, fingerprint
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.lifecycle.tracking.source_commit import commit_of
from mlops_assets.lifecycle.training.candidate import Candidate, rule_modules
from mlops_assets.orchestration import declared
from mlops_assets.storage.parquet.snapshots import Snapshot

_LIBRARIES = ("gymnasium", "lightgbm", "numpy", "polars", "pyarrow", "scikit-learn", "scipy", "skops")
_SOURCE_TREE = Path(__file__).resolve().parents[2]


def version_metadata(trained: Candidate, source: Snapshot, *, code_version: str, trials: int) -> dict[str, Json]:
    """Return what the template of the model's kind asks for.

    Args:
        source: the training set's snapshot.
        trials: how many sets of parameters were tried for the model before.
    """
    return {
        **trained.metadata(),
        "training_set_fingerprint": source.fingerprint,
        "inputs": dict(source.inputs),
        "feature_views": dict(cast("dict[str, str]", source.details["views"])),
        "code_version": code_version,
        "environment": environment(),
        "trials": trials,
    }


def code_version_of(spec: ModelSpec) -> str:
    """Return the code version of a model's training: declaration, rules and engines."""
    return declared.code_version(spec.fingerprint, *rule_modules(spec))


def environment() -> dict[str, Json]:
    """Return what may explain that training again gives other bytes: machine, packages and commit."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "packages_fingerprint": _packages(),
        "code_commit": commit_of(_SOURCE_TREE),
    }


@cache
def _packages() -> str:
    return fingerprint({one.name: one.version for one in distributions()})
