"""Services with two versions of a small model, trained and registered from published bars, view and training set."""

from __future__ import annotations

import atexit
import copy
import shutil
import tempfile
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from mlops_assets.features.freezing import publish_training_set
from mlops_assets.features.publication import publish_view
from mlops_assets.kernel.clock import Clock, FixedClock
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.lifecycle.training.candidate import train_candidate
from mlops_assets.lifecycle.training.version_metadata import code_version_of, version_metadata
from mlops_assets.settings import load_settings
from mlops_assets.storage.parquet.snapshots import Provenance, Snapshot
from tests.features.bars import sessions, walk
from tests.lifecycle.worlds import DECLARATION, declared, momentum_view
from tests.rest.client import Services, services_in, with_people

MODEL = "signal_classifier"
NOW = datetime(2020, 8, 12, 12, tzinfo=UTC)
DAYS = sessions(480)


def declaration(**changes: object) -> dict[str, Any]:
    """The catalogue's model, small enough for a history of two years; top-level fields changed."""
    said = copy.deepcopy(dict(declared()))
    said["learner"]["params"] |= {"rounds": 12, "early_stopping_rounds": 5, "min_data_in_leaf": 5}
    said["walk_forward"] = {"windows": 1, "window_sessions": 20}
    folds = {"train_until": DAYS[350].isoformat(), "valid_until": DAYS[400].isoformat(), "embargo_sessions": 2}
    said["training_set"] |= {"folds": folds}
    return {**said, **changes}


def train(services: Services, declared_as: dict[str, Any], source: Snapshot) -> ModelVersion:
    """Train a model and register it, as its asset does."""
    spec = ModelSpec.from_mapping(declared_as, DECLARATION)
    trained = train_candidate(services.snapshots.read(source), spec)
    code = code_version_of(spec)
    return services.models.register(
        model=spec.name,
        kind=spec.kind,
        content=trained.fitted.content,
        training_set_fingerprint=source.fingerprint,
        code_version=code,
        run_id="run",
        metadata=version_metadata(trained, source, code_version=code, trials=0),
        metrics=trained.metrics(),
        actor="dagster",
    )


def publish(services: Services, declared_as: dict[str, Any], *, count: int = len(DAYS)) -> Snapshot:
    """Publish bars, the view and the training set of a declaration."""
    provenance = Provenance(code_version="1", inputs={})
    bars = walk(("AAPL", "IBM", "MSFT"), count=count).to_arrow()
    services.snapshots.publish("market/bars", bars, provenance=provenance, actor="dana")
    view = momentum_view()
    publish_view(view, {}, services.snapshots, code_version="1", actor="dana")
    spec = ModelSpec.from_mapping(declared_as, DECLARATION)
    return publish_training_set(
        spec.training_set, {view.name: view}, services.snapshots, code_version="1", actor="dana"
    ).snapshot


def services_with_versions(folder: Path, clock: Clock | None = None) -> Services:
    """A home of its own with version 1, and version 2 of another seed."""
    shutil.copytree(_made_once(), folder / "home")
    return Services(load_settings(home=folder / "home"), clock or FixedClock(at=NOW))


@cache
def _made_once() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="registered-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    services = with_people(services_in(folder, FixedClock(at=NOW)))
    source = publish(services, declaration())
    train(services, declaration(), source)
    train(services, declaration(seed=7), source)
    services.database.dispose()
    return services.settings.home
