"""Real stores on a temporary folder, filled as the assets upstream of evaluation would fill them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from pathlib import Path

import lightgbm
import numpy as np
import polars as pl
import pyarrow as pa
import yaml

from mlops_assets.catalog.strategies import buy_and_hold, signal_ml, sma_crossover
from mlops_assets.evaluation.spec import Scenario
from mlops_assets.evaluation.store import ReportStore
from mlops_assets.governance.store import ApprovalStore
from mlops_assets.kernel.clock import FixedClock
from mlops_assets.kernel.fingerprint import bytes_sha256
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.ledger.store import Ledger
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.storage.blobs import BlobStore
from mlops_assets.storage.parquet.snapshots import Provenance, SnapshotStore
from mlops_assets.storage.sql.database import Database
from tests.evaluation.worlds import NOON, real_bars
from tests.governance.worlds import ACCESS, RULES, People

CATALOG = Path(sma_crossover.__file__).parents[1]
STRATEGIES = {one.STRATEGY.name: one.STRATEGY for one in (buy_and_hold, sma_crossover, signal_ml)}
ACTOR = Principal(name="dagster", roles=frozenset({Role.SERVICE}))


def shipped_scenario() -> Scenario:
    file = CATALOG / "scenarios" / "covid_crash.yaml"
    return Scenario.from_mapping(yaml.safe_load(file.read_text()), file)


def shipped_model() -> ModelSpec:
    file = CATALOG / "models" / "signal_classifier.yaml"
    return ModelSpec.from_mapping(yaml.safe_load(file.read_text()), file)


@dataclass(frozen=True)
class TrainedModel:
    version: int
    fingerprint: str
    text: str


class Models:
    """The two calls of the model registry that evaluation makes."""

    def __init__(self, trained: TrainedModel) -> None:
        self.trained = trained

    def latest(self, model: str) -> TrainedModel:
        return self.trained

    def load(self, version: TrainedModel) -> bytes:
        return version.text.encode()


@dataclass(frozen=True)
class House:
    """Everything the assets of evaluation ask for."""

    database: Database
    ledger: Ledger
    snapshots: SnapshotStore
    blobs: BlobStore
    reports: ReportStore
    approvals: ApprovalStore
    models: Models

    def resources(self) -> dict[str, object]:
        return {
            "snapshots": self.snapshots,
            "reports": self.reports,
            "approvals": self.approvals,
            "blobs": self.blobs,
            "models": self.models,
            "actor": ACTOR,
        }


def build_house(folder: Path, at: datetime = NOON) -> House:
    """Return empty stores in `folder`."""
    clock = FixedClock(at=at)
    database = Database(f"sqlite:///{folder / 'platform.db'}")
    database.migrate()
    ledger = Ledger(database, clock)
    blobs = BlobStore(folder / "blobs")
    return House(
        database=database,
        ledger=ledger,
        snapshots=SnapshotStore(folder / "snapshots", database, ledger, clock),
        blobs=blobs,
        reports=ReportStore(database, ledger, blobs, clock),
        approvals=ApprovalStore(
            database, ledger, clock, rules=RULES, access=ACCESS, directory=People(), seal=lambda: None
        ),
        models=Models(TrainedModel(version=1, fingerprint=bytes_sha256(_model_text().encode()), text=_model_text())),
    )


def fill(house: House, *, seen_fold: str = "test", seed: int = 5) -> None:
    """Publish the sample's bars, a seeded training set and the predictions of a small model on it."""
    model = shipped_model()
    rows = _training_rows(seed).with_columns(
        fold=pl.when(pl.col("date") < date(2018, 1, 1)).then(pl.lit("train")).otherwise(pl.lit(seen_fold))
    )
    booster = lightgbm.Booster(model_str=_model_text())
    probability = np.asarray(booster.predict(rows.select(model.features).to_numpy()))
    predictions = rows.select("symbol", "date", "event_at", "known_at", "fold").with_columns(
        probability=pl.Series(probability)
    )
    for dataset, table, inputs in (
        ("market/bars", real_bars(), {}),
        (model.training_set.dataset, _arrow(rows), {}),
        (model.predictions, _arrow(predictions), {model.dataset: house.models.trained.fingerprint}),
    ):
        house.snapshots.publish(
            dataset, table, provenance=Provenance(code_version="1", inputs=inputs), actor=ACTOR.name
        )


@cache
def _training_rows(seed: int) -> pl.DataFrame:
    keys = pl.DataFrame(pl.from_arrow(real_bars())).filter(~pl.col("is_index"), pl.col("date") >= date(2017, 1, 1))
    generator = np.random.default_rng(seed)
    values = {name: generator.normal(size=keys.height) for name in shipped_model().features}
    first = next(iter(values.values()))
    label = (first + generator.normal(size=keys.height) > 0).astype(np.int8)
    return keys.select("symbol", "date", "event_at", "known_at").with_columns(
        **{name: pl.Series(column) for name, column in values.items()}, label=pl.Series(label)
    )


@cache
def _model_text() -> str:
    rows = _training_rows(5).filter(pl.col("date") < date(2018, 1, 1))
    features = list(shipped_model().features)
    data = lightgbm.Dataset(rows.select(features).to_numpy(), rows["label"].to_numpy(), feature_name=features)
    parameters = {"objective": "binary", "num_leaves": 7, "seed": 1, "verbosity": -1, "num_threads": 1}
    return lightgbm.train(parameters, data, 20).model_to_string()


def _arrow(rows: pl.DataFrame) -> pa.Table:
    return rows.to_arrow(compat_level=pl.CompatLevel.oldest())
