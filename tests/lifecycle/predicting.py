"""A platform in which a small model serves: bars, a published view, a training set, two trained versions, and moves."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa
import yaml

from mlops_assets.catalog.feature_views import regime
from mlops_assets.features.freezing import publish_training_set
from mlops_assets.features.publication import publish_view
from mlops_assets.features.spec import Fold
from mlops_assets.kernel.change import Change
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.lifecycle.deployment.serving_moves import Action, Mode, Move, Serving, Slot
from mlops_assets.lifecycle.deployment.serving_store import append
from mlops_assets.lifecycle.kinds.known import kind_of
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.lifecycle.training import predictions
from mlops_assets.lifecycle.training.folds import fold_rows
from mlops_assets.settings import load_settings
from mlops_assets.storage.parquet.snapshots import Provenance, Snapshot
from mlops_assets.storage.sql.tables import model_version
from tests.features.bars import sessions, walk
from tests.lifecycle.worlds import DECLARATION, momentum_view, unguard
from tests.rest.client import MovingClock, Services, services_in, with_people

MODEL, ENVIRONMENT = "signal_classifier", "staging"
SYMBOLS = ("AAPL", "IBM", "MSFT")
DAYS = sessions(420)
NOW = datetime(2020, 8, 12, 12, tzinfo=UTC)
"""The day after the last session: its bars are known since the evening before."""
DESK = Principal(name="quincy", roles=frozenset({Role.QUANT}))
POLICY, FORECAST, REGIME = 3, 4, 5
VERSIONS = (1, 2, POLICY, FORECAST, REGIME)
"""Two classifiers, of which the second has another seed and other buckets, and a version of every other kind."""
_FILES = {POLICY: "allocation_policy", FORECAST: "return_forecast", REGIME: "regime_classifier"}


def spec_of(version: int) -> ModelSpec:
    """The declaration that a version was trained by."""
    file = DECLARATION.with_name(f"{_FILES.get(version, MODEL)}.yaml")
    said: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    if version == POLICY:
        said["learner"]["params"]["passes"] = 2
    elif version != REGIME:
        said["learner"]["params"] |= {"rounds": 5 + version, "early_stopping_rounds": 5, "min_data_in_leaf": 5}
    if version in (POLICY, FORECAST):
        said["training_set"]["features"] = ["momentum.momentum_12_1", "momentum.return_20d"]
    if version == FORECAST:
        said["learner"]["baseline"]["volatility"] = "return_20d"
        said["training_set"]["label"]["horizon_sessions"] = 5
    if version == 2:
        said["learner"]["buckets"] = {"strong_sell": 0.1, "sell": 0.499, "buy": 0.4995, "strong_buy": 0.9}
        said["seed"] = 7
    folds = {"train_until": DAYS[330].isoformat(), "valid_until": DAYS[370].isoformat(), "embargo_sessions": 2}
    said["training_set"] |= {"folds": folds}
    return ModelSpec.from_mapping(said, DECLARATION)


@dataclass
class World:
    """The services, and what was published and trained in them."""

    services: Services
    clock: MovingClock
    versions: Mapping[int, ModelVersion]

    def move(
        self,
        champion: int | None,
        *,
        challenger: int | None = None,
        mode: Mode | None = None,
        part: Mapping[str, Any] | None = None,
    ) -> Serving:
        """Write the next move of the log: who serves from now on."""
        now = self.services.serving.now(MODEL, ENVIRONMENT)
        after = replace(
            now,
            epoch=now.epoch + 1,
            champion=None if champion is None else slot(champion),
            challenger=None if challenger is None else slot(challenger),
            mode=mode,
            slice=part,
        )
        with self.services.database.begin() as connection:
            seq = self.services.ledger.append(
                connection, Change(actor="mo", action="deployment.promote", subject=MODEL, after=after.fingerprint)
            )
            append(
                connection,
                Move(
                    action=Action.CHAMPION,
                    deployment_id=slot(champion or 1).deployment_id,
                    after=after,
                    at=self.clock.now(),
                    actor="mo",
                    reason="a test",
                    ledger_seq=seq,
                ),
            )
        return after

    def table(self, version: int) -> pl.DataFrame:
        """The table of predictions of a version, as its asset publishes it."""
        source = self.services.snapshots.head(spec_of(version).training_set.dataset)
        content = self.services.models.load(self.versions[version])
        said = predictions.predict(
            self.services.snapshots.read(source), content, spec_of(version), model_version=version
        )
        return pl.DataFrame(pl.from_arrow(said))

    def publish_view(self, version: str, *, without: str = "") -> Snapshot:
        """Publish the model's view as another version, without one of its columns if that is named."""
        columns = tuple(one for one in momentum_view().columns if one.name != without)
        view = replace(momentum_view(), version=version, columns=columns)
        return publish_view(view, {}, self.services.snapshots, code_version=version, actor="dana").snapshot

    def swap_artifact(self, version: int) -> None:
        """Put other bytes in the place of a version's artifact."""
        path = self.services.blobs.path(self.versions[version].artifact_sha256)
        path.write_bytes(b"swapped")


def slot(version: int) -> Slot:
    return Slot(deployment_id=fingerprint({"deployment": version}), version=version)


def world_in(folder: Path) -> World:
    """Everything published and the versions registered; nobody serves yet, and any version may at once.

    That a champion has to be approved is for other tests: the guards that refuse any other are taken away here.
    """
    shutil.copytree(_made_once(), folder / "home")
    clock = MovingClock(NOW)
    services = Services(load_settings(home=folder / "home"), clock)
    versions = {one.version: one for one in services.models.list(model=MODEL)}
    return World(services=services, clock=clock, versions=versions)


@cache
def _made_once() -> Path:
    """Make the home that every world is a copy of, and return where it is."""
    folder = Path(tempfile.mkdtemp(prefix="predicting-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    services = with_people(services_in(folder, MovingClock(NOW)))
    unguard(services.database)
    bars = walk(SYMBOLS, count=len(DAYS))
    services.snapshots.publish(
        "market/bars", bars.to_arrow(), provenance=Provenance(code_version="1", inputs={}), actor="dana"
    )
    views = {view.name: view for view in (momentum_view(), regime.VIEW)}
    for view in views.values():
        publish_view(view, {}, services.snapshots, code_version="1", actor="dana")
    for number in VERSIONS:
        training_set = spec_of(number).training_set
        used = {name: views[name] for name in training_set.views}
        frozen = publish_training_set(training_set, used, services.snapshots, code_version="1", actor="dana")
        _register(services, number, frozen.snapshot)
    services.database.dispose()
    return services.settings.home


def _register(services: Services, number: int, source: Snapshot) -> None:
    spec, rows = spec_of(number), services.snapshots.frame(source).to_arrow()
    train, valid = (fold_rows(rows, spec.features, fold) for fold in (Fold.TRAIN, Fold.VALID))
    fitted = kind_of(spec.kind).fit(train, valid, spec)
    made = ModelVersion(
        model=MODEL,
        version=number,
        fingerprint=fingerprint({"version": number}),
        artifact_sha256=services.blobs.put(fitted.content),
        training_set_fingerprint=source.fingerprint,
        code_version="0" * 64,
        run_id=f"run-{number}",
        stage="experimental",
        metadata={
            "kind": spec.kind,
            "declaration": dict(spec.declaration),
            "artifact_format": fitted.format.value,
            "feature_views": source.details["views"],
        },
        metrics={},
        created_at=NOW,
        created_by="quinn",
    )
    with services.database.begin() as connection:
        row = {name: getattr(made, name) for name in ModelVersion.__dataclass_fields__}
        connection.execute(sa.insert(model_version).values(row))
