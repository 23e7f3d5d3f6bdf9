"""A process of its own that publishes one version, so that a test can kill it: `python -m ... <home> <value>`.

A version has two chunks, the first the same in all.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa

from mlops_assets.kernel.clock import SystemClock
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.parquet.snapshots import Provenance, Snapshot, SnapshotStore
from mlops_assets.storage.sql.database import Database

DATASET = "features/momentum"


def open_stores(home: Path) -> tuple[SnapshotStore, Ledger]:
    database = Database(f"sqlite:///{home / 'platform.db'}")
    ledger = Ledger(database, SystemClock())
    return SnapshotStore(home / "snapshots", database, ledger, SystemClock()), ledger


def publish(home: Path, value: int) -> Snapshot:
    store, _ = open_stores(home)
    shared, own = (pa.table({"value": [one] * 1_000}) for one in (0, value))
    return store.publish(DATASET, [shared, own], provenance=Provenance(code_version="c", inputs={}), actor="test")


if __name__ == "__main__":
    publish(Path(sys.argv[1]), int(sys.argv[2]))
