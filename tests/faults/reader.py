"""A process of its own that reads a folder of bars, so that a test can kill it: `python -m ... <home> <instant>`."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import dagster as dg

from mlops_assets.kernel.clock import FixedClock
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.ledger.store import Ledger
from mlops_assets.market_data.assets import bars_definitions
from mlops_assets.market_data.calendar import TradingCalendar
from mlops_assets.market_data.folder import BarFolder
from mlops_assets.storage.parquet.snapshots import SnapshotStore
from mlops_assets.storage.sql.database import Database


def read_bars(home: Path, at: datetime) -> SnapshotStore:
    """Materialise `market/bars` from the folder `bars` of a home and return its store."""
    clock, database = FixedClock(at=at), Database(f"sqlite:///{home / 'platform.db'}")
    database.migrate()
    store = SnapshotStore(home / "snapshots", database, Ledger(database, clock), clock)
    resources = {
        "market": BarFolder(home / "bars"),
        "snapshots": store,
        "database": database,
        "journal": Ledger(database, clock),
        "calendar": TradingCalendar(),
        "clock": clock,
        "actor": Principal(name="dagster", roles=frozenset({Role.SERVICE})),
    }
    assets = list(bars_definitions().assets or [])
    dg.materialize(assets, resources=resources)  # pyright: ignore[reportArgumentType]
    return store


if __name__ == "__main__":
    read_bars(Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2]))
