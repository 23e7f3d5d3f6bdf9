"""The published view and the entity rows on which the point-in-time join is measured, the same for a seed every time.

`python -m benchmarks.point_in_time_data FOLDER FEATURE_ROWS ENTITY_ROWS` makes them.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from mlops_assets.features.spec import Feature, FeatureView
from mlops_assets.kernel.clock import FixedClock
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.parquet.snapshots import Provenance, SnapshotStore
from mlops_assets.storage.sql.database import Database

SYMBOLS, YEARS, FIRST_YEAR, COLUMNS = 500, 10, 2014, 10
RESTATED_SHARE = 0.05
TTL = timedelta(days=7)
COLUMN_NAMES = tuple(f"value_{number}" for number in range(COLUMNS))
VIEW = FeatureView(
    name="measured",
    version="1.0.0",
    owner="team:mlops",
    description="Random numbers.",
    columns=tuple(Feature(name=name, description="A number.", expr=pl.col("close")) for name in COLUMN_NAMES),
    warm_up_bars=0,
    declared_in=Path(__file__),
    ttl=TTL,
)

_US = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE, _DAY = 60_000_000, 86_400_000_000
_TIME = pl.Datetime("us", "UTC")


def store_in(folder: Path) -> SnapshotStore:
    clock = FixedClock(at=datetime(2026, 1, 5, tzinfo=UTC))
    database = Database(f"sqlite:///{folder / 'platform.db'}")
    database.migrate()
    return SnapshotStore(folder / "snapshots", database, Ledger(database, clock), clock)


def make(folder: Path, feature_rows: int, entity_rows: int) -> None:
    """Publish the view, one file for each year, and write the entity rows."""
    folder.mkdir(parents=True, exist_ok=True)
    store_in(folder).publish(
        VIEW.dataset,
        [_year(FIRST_YEAR + number, feature_rows // YEARS) for number in range(YEARS)],
        provenance=Provenance(code_version="made up", inputs={}),
        actor="benchmark",
    )
    entities(entity_rows, FIRST_YEAR, FIRST_YEAR + YEARS).write_parquet(folder / "entities.parquet")
    entities(entity_rows // YEARS, FIRST_YEAR + 5, FIRST_YEAR + 6).write_parquet(folder / "one_year.parquet")


def entities(rows: int, first_year: int, end_year: int) -> pl.DataFrame:
    """Return rows at random times for random symbols, in no order."""
    rng = np.random.default_rng(first_year)
    begin, end = _start_of(first_year), _start_of(end_year)
    return pl.DataFrame(
        {"row": np.arange(rows), "number": rng.integers(0, SYMBOLS, rows), "at": rng.integers(begin, end, rows)}
    ).select("row", _symbol("number"), pl.col("at").cast(_TIME))


def _year(year: int, rows: int) -> pa.Table:
    """Return a year's rows: events of each symbol all year round, each known a minute later, some known again later."""
    rng = np.random.default_rng(year)
    begin, end = _start_of(year), _start_of(year + 1)
    events_of_each = round(rows / SYMBOLS / (1 + RESTATED_SHARE))
    number = np.repeat(np.arange(SYMBOLS), events_of_each)
    event = rng.integers(begin, end, len(number))
    is_restated = rng.random(len(number)) < RESTATED_SHARE
    delay = rng.integers(_MINUTE, 30 * _DAY, int(is_restated.sum()))
    keys = pl.DataFrame(
        {
            "number": np.concatenate([number, number[is_restated]]),
            "event_at": np.concatenate([event, event[is_restated]]),
            "known_at": np.concatenate([event + _MINUTE, event[is_restated] + _MINUTE + delay]),
        }
    ).sort("number", "event_at", "known_at")
    values = {name: rng.normal(size=keys.height) for name in COLUMN_NAMES}
    times = pl.col("event_at", "known_at").cast(_TIME)
    return keys.select(_symbol("number"), times).with_columns(**{k: pl.Series(v) for k, v in values.items()}).to_arrow()


def _symbol(column: str) -> pl.Expr:
    return pl.format("S{}", pl.col(column).cast(pl.String).str.zfill(4)).alias("symbol")


def _start_of(year: int) -> int:
    return (datetime(year, 1, 1, tzinfo=UTC) - _EPOCH) // _US


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
