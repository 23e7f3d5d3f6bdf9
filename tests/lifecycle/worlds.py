"""A small market for the lifecycle's tests: seeded random walks, a training set over them, and real stores."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import yaml

from mlops_assets import catalog
from mlops_assets.alerts.channels import LogChannel
from mlops_assets.alerts.service import Alerts
from mlops_assets.catalog.feature_views import momentum
from mlops_assets.features.registry import FeatureRegistry
from mlops_assets.features.spec import FeatureView
from mlops_assets.governance.store import ApprovalStore
from mlops_assets.kernel.clock import FixedClock
from mlops_assets.kernel.errors import NotFound
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.ledger.store import Ledger
from mlops_assets.lifecycle.deployment.attestations import Attestations
from mlops_assets.lifecycle.deployment.deployments import Deployments, Surroundings
from mlops_assets.lifecycle.deployment.evidence import Gathered
from mlops_assets.lifecycle.drift_events import DriftEvents
from mlops_assets.lifecycle.registry import ModelRegistry
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.lifecycle.tracking.tracking import Tracking
from mlops_assets.lifecycle.training.trials import TrialLedger
from mlops_assets.storage.blobs import BlobStore
from mlops_assets.storage.parquet.snapshots import SnapshotStore
from mlops_assets.storage.sql.database import Database
from tests.governance.worlds import ACCESS, RULES, People

DECLARATION = Path(str(catalog.__file__)).parent / "models" / "signal_classifier.yaml"
NOW = datetime(2024, 6, 7, 12, tzinfo=UTC)
SERVICE = Principal(name="dagster", roles=frozenset({Role.SERVICE}))
FEATURES = ("return_1d", "return_5d", "return_20d", "momentum_12_1", "rsi_14")


@cache
def declared() -> dict[str, Any]:
    """The catalogue's declaration as parsed."""
    return yaml.safe_load(DECLARATION.read_text(encoding="utf-8"))


def spec(**changes: object) -> ModelSpec:
    """The catalogue's model, with top-level fields changed."""
    return ModelSpec.from_mapping({**declared(), **changes}, DECLARATION)


def momentum_view() -> FeatureView:
    """The catalogue's view that the model reads."""
    return momentum.VIEW


def small_spec(**changes: object) -> ModelSpec:
    """The catalogue's model with few, small trees, watched and tried over a history of two years."""
    learner = declared()["learner"]
    small = {**learner["params"], "rounds": 20, "early_stopping_rounds": 5, "min_data_in_leaf": 20}
    return spec(
        **{
            "learner": {**learner, "params": small},
            "monitoring": {**declared()["monitoring"], "embargo_sessions": 20},
            "walk_forward": {"windows": 2, "window_sessions": 100},
            **changes,
        }
    )


def sessions(count: int, *, first: date = date(2013, 1, 1)) -> list[date]:
    """Weekdays."""
    days = (first + timedelta(days=number) for number in range(count * 2))
    return [day for day in days if day.weekday() < 5][:count]


def training_set(*, seed: int = 1, count: int = 1500, symbols: int = 4, signal: float = 0.0) -> pa.Table:
    """A training set of random features whose label follows `return_1d` with strength `signal`.

    Train until the end of 2014 and valid until the end of 2017 as declared, ten sessions apart, five-session labels.
    """
    generator = np.random.default_rng(seed)
    days = sessions(count)
    frames = []
    for number in range(symbols):
        noise = generator.normal(size=(count, len(FEATURES)))
        forward = signal * noise[:, 0] + generator.normal(size=count)
        frames.append(
            pl.DataFrame({name: noise[:, index] for index, name in enumerate(FEATURES)}).with_columns(
                pl.lit(f"S{number}").alias("symbol"),
                pl.Series("date", days),
                pl.Series("forward_return", [*(forward[:-5] / 100), *[None] * 5], dtype=pl.Float64),
                pl.Series("label_date", [*days[5:], *[None] * 5], dtype=pl.Date),
            )
        )
    train_until, valid_until = date(2014, 12, 31), date(2017, 12, 31)
    after_train, after_valid = ([day for day in days if day > border][10] for border in (train_until, valid_until))
    fold = (
        pl.when(pl.col("label_date").is_null())
        .then(pl.lit("live"))
        .when(pl.col("label_date") <= train_until)
        .then(pl.lit("train"))
        .when((pl.col("date") >= after_train) & (pl.col("label_date") <= valid_until))
        .then(pl.lit("valid"))
        .when(pl.col("date") >= after_valid)
        .then(pl.lit("test"))
        .otherwise(pl.lit("purged"))
    )
    at_close = pl.lit(time(21))
    return (
        pl.concat(frames)
        .with_columns(
            fold.alias("fold"),
            (pl.col("forward_return") > 0).cast(pl.Int8).alias("label"),
            pl.col("date").dt.combine(at_close).dt.replace_time_zone("UTC").alias("event_at"),
            pl.col("date").dt.combine(at_close).dt.replace_time_zone("UTC").alias("known_at"),
            pl.col("label_date").dt.combine(at_close).dt.replace_time_zone("UTC").alias("label_known_at"),
        )
        .select(
            "symbol", "date", "event_at", "known_at", *FEATURES, "forward_return", "label", "label_known_at", "fold"
        )
        .sort("symbol", "date")
        .to_arrow(compat_level=pl.CompatLevel.oldest())
    )


def changed(table: pa.Table, *columns: pl.Expr) -> pa.Table:
    """A training set with columns replaced."""
    return pl.DataFrame(pl.from_arrow(table)).with_columns(*columns).to_arrow(compat_level=pl.CompatLevel.oldest())


def people() -> People:
    """Who decides in these tests."""
    found = People()
    for name, role in (("ana", Role.COMPLIANCE), ("ben", Role.MLOPS)):
        found.named(name, role)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Every store of the lifecycle under one temporary folder."""

    home: Path
    database: Database
    ledger: Ledger
    snapshots: SnapshotStore
    blobs: BlobStore
    approvals: ApprovalStore
    tracking: Tracking
    models: ModelRegistry
    trials: TrialLedger
    deployments: Deployments
    feature_registry: FeatureRegistry
    attestations: Attestations
    drift_events: DriftEvents
    alerts: Alerts


@cache
def _prepared_mlflow() -> bytes:
    """The file of a prepared MLflow store: making one takes seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlflow.db"
        Tracking(Database("sqlite://"), uri=f"sqlite:///{path}", artifacts=Path(folder)).prepare()
        return path.read_bytes()


def stores(home: Path, *, is_mlflow_prepared: bool = True) -> Stores:
    """Stores under `home`, with the schema of the platform and, unless told otherwise, that of MLflow."""
    if is_mlflow_prepared:
        (home / "mlflow.db").write_bytes(_prepared_mlflow())
    clock = FixedClock(at=NOW)
    database = Database(f"sqlite:///{home / 'platform.db'}")
    database.migrate()
    ledger = Ledger(database, clock)
    alerts = Alerts(database, ledger, clock, [LogChannel(home / "alerts.jsonl")])
    blobs = BlobStore(home / "blobs")
    tracking = Tracking(database, uri=f"sqlite:///{home / 'mlflow.db'}", artifacts=home / "mlflow-artifacts")
    approvals = ApprovalStore(
        database, ledger, clock, rules=RULES, access=ACCESS, directory=people(), seal=lambda: None
    )
    return Stores(
        home=home,
        database=database,
        ledger=ledger,
        snapshots=SnapshotStore(home / "snapshots", database, ledger, clock),
        blobs=blobs,
        approvals=approvals,
        tracking=tracking,
        models=ModelRegistry(database, ledger, blobs, tracking, clock),
        trials=TrialLedger(database, ledger, clock),
        deployments=Deployments(
            database,
            ledger,
            approvals,
            clock,
            access=ACCESS,
            around=Surroundings(gather=_nothing_gathered, sessions_since=lambda _: 0),
        ),
        feature_registry=FeatureRegistry(database, ledger, clock),
        attestations=Attestations(database, ledger, clock, access=ACCESS),
        drift_events=DriftEvents(database, ledger, clock, alerts),
        alerts=alerts,
    )


def _nothing_gathered(model: str, version: int, environment: str) -> Gathered:
    raise NotFound(kind="evidence", name=f"{model}@{version}", remedy="Use a world that gathers it.")


def unguard(database: Database) -> None:
    """Let a test write who serves without what makes a version serve: take its guards out of the database."""
    with database.begin() as connection:
        for name in ("serving_move_is_approved", "deployment_begins_as_registered", "deployment_moves"):
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")


def resources(kept: Stores, **others: object) -> Mapping[str, object]:
    """The stores by their resource keys."""
    names = ("snapshots", "blobs", "tracking", "models", "trials", "approvals", "deployments", "drift_events")
    return {**{name: getattr(kept, name) for name in names}, "actor": SERVICE, **others}
