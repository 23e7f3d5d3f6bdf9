"""A process that appends to a ledger, for tests of several at once."""

from __future__ import annotations

from mlops_assets.kernel.clock import SystemClock
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.sql.database import Database
from tests.ledger.chains import append


def append_some(url: str) -> None:
    database = Database(url)
    append(Ledger(database, SystemClock()), database, 25)
    database.dispose()
