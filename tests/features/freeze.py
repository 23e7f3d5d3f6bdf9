"""A process of its own that freezes a training set in a folder and prints what was published as JSON."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from mlops_assets.features.freezing import publish_training_set
from mlops_assets.features.publication import publish_view
from mlops_assets.features.spec import Feature, FeatureView, TrainingSet
from mlops_assets.kernel.clock import FixedClock
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.parquet.snapshots import Provenance, Snapshot, SnapshotStore
from mlops_assets.storage.sql.database import Database
from tests.features.bars import sessions, walk

COUNT = 200
DAYS = sessions(COUNT)
PRICE = pl.col("adjusted_close")

VIEW = FeatureView(
    name="pace",
    version="1.2.0",
    owner="team:quant",
    description="A view of a test.",
    columns=(
        Feature(name="return_1d", expr=PRICE / PRICE.shift(1) - 1, description="A column of a test."),
        Feature(name="mean_10d", expr=PRICE.rolling_mean(10), description="A column of a test."),
    ),
    warm_up_bars=10,
    declared_in=Path(__file__),
)
SPEC = TrainingSet.from_mapping(
    {
        "name": "pace_daily",
        "owner": "team:quant",
        "description": "A set of a test.",
        "features": ["pace.mean_10d", "pace.return_1d"],
        "label": {"horizon_sessions": 3},
        "folds": {"train_until": DAYS[99].isoformat(), "valid_until": DAYS[149].isoformat(), "embargo_sessions": 2},
    },
    Path("models/pace.yaml"),
)


def store(home: Path) -> SnapshotStore:
    clock = FixedClock(at=datetime(2026, 1, 5, 12, tzinfo=UTC))
    database = Database(f"sqlite:///{home / 'platform.db'}")
    database.migrate()
    return SnapshotStore(home / "snapshots", database, Ledger(database, clock), clock)


def freeze(snapshots: SnapshotStore, *, shuffled: int | None = None) -> Snapshot:
    """Publish bars, a view and the training set; the bars in another order if asked."""
    bars = walk(("AAA", "BBB"), count=COUNT)
    if shuffled is not None:
        bars = bars.sample(fraction=1.0, shuffle=True, seed=shuffled)
    snapshots.publish("market/bars", bars.to_arrow(), provenance=Provenance(code_version="1", inputs={}), actor="test")
    publish_view(VIEW, {}, snapshots, code_version="1", actor="test")
    return publish_training_set(SPEC, {"pace": VIEW}, snapshots, code_version="1", actor="test").snapshot


if __name__ == "__main__":
    home = Path(sys.argv[1])
    published = freeze(store(home), shuffled=7)
    files = [file.sha256 for file in published.files]
    print(json.dumps({"fingerprint": published.fingerprint, "files": files, "details": published.details}))  # noqa: T201
