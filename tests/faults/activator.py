"""A process of its own that activates a view, so that a test can kill it: `python -m ... <home> <who>`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from mlops_assets.features.activation import ActivationEvidence, RecordedCertificate
from mlops_assets.features.registry import FeatureRegistry
from mlops_assets.kernel.clock import SystemClock
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.parquet.snapshots import Provenance, SnapshotStore
from mlops_assets.storage.sql.database import Database

VIEW, DATASET, BARS, RELEASE = "tempo", "features/tempo", "b" * 64, "1" * 64


def open_registry(home: Path) -> tuple[FeatureRegistry, SnapshotStore, Ledger]:
    database = Database(f"sqlite:///{home / 'platform.db'}")
    ledger = Ledger(database, SystemClock())
    registry = FeatureRegistry(database, ledger, SystemClock())
    return registry, SnapshotStore(home / "snapshots", database, ledger, SystemClock()), ledger


def publish(home: Path) -> None:
    _, snapshots, _ = open_registry(home)
    provenance = Provenance(code_version="c", inputs={"market/bars": BARS})
    snapshots.publish(DATASET, pa.table({"share": [0.5]}), provenance=provenance, actor="test")


def activate(home: Path, who: str) -> None:
    registry, snapshots, _ = open_registry(home)
    published = snapshots.head(DATASET).fingerprint
    certificate = RecordedCertificate(
        view=VIEW,
        version="1.0.0",
        snapshot_fingerprint=published,
        bars_fingerprint=BARS,
        cuts=("2026-01-02",),
        rows_compared=10,
        peeks=(),
        is_clean=True,
        fingerprint="f" * 64,
        issued_at=datetime(2026, 1, 5, tzinfo=UTC),
        issued_by="test",
    )
    evidence = ActivationEvidence(
        view=VIEW,
        version="1.0.0",
        dataset=DATASET,
        release_fingerprint=RELEASE,
        snapshot_fingerprint=published,
        snapshot_version="1.0.0",
        row_count=1,
        certificate=certificate,
    )
    registry.activate(evidence, actor=who)


if __name__ == "__main__":
    activate(Path(sys.argv[1]), sys.argv[2])
