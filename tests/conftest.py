"""What every test may use: a fixed clock, and stores on a temporary folder."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import hypothesis
import pytest

from mlops_assets.kernel.clock import FixedClock
from mlops_assets.ledger.store import Ledger
from mlops_assets.settings import keep_private
from mlops_assets.storage.blobs import BlobStore
from mlops_assets.storage.parquet.snapshots import SnapshotStore
from mlops_assets.storage.sql.database import Database

keep_private()
# A slow machine is no failure of a property; the same examples everywhere keep a red build reproducible.
hypothesis.settings.register_profile("everywhere", deadline=None, derandomize=True)
hypothesis.settings.load_profile("everywhere")


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(at=datetime(2026, 1, 5, 12, tzinfo=UTC))


@pytest.fixture
def database(tmp_path: Path) -> Database:
    made = Database(f"sqlite:///{tmp_path / 'platform.db'}")
    made.migrate()
    return made


@pytest.fixture
def ledger(database: Database, clock: FixedClock) -> Ledger:
    return Ledger(database, clock)


@pytest.fixture
def snapshots(tmp_path: Path, database: Database, ledger: Ledger, clock: FixedClock) -> SnapshotStore:
    return SnapshotStore(tmp_path / "snapshots", database, ledger, clock)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")
