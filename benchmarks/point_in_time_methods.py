"""Ways to answer the same question, each run in a process of its own by `benchmarks.point_in_time`.

`python -m benchmarks.point_in_time_methods METHOD FOLDER OUTPUT [LIMIT_MB]` prints JSON: CPU seconds of the method
itself, after its imports and with the store opened, and the peak memory of the process. With a limit the kernel refuses
the process more private memory than that (RLIMIT_DATA: heap, anonymous mappings and stacks; not the code of libraries
nor files read by mmap).
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.point_in_time_data import COLUMN_NAMES, FIRST_YEAR, SYMBOLS, TTL, VIEW, YEARS, store_in
from mlops_assets.features.retrieval import FeatureStore
from mlops_assets.storage.parquet.files import SnapshotFile
from mlops_assets.storage.parquet.snapshots import Snapshot, SnapshotStore

CALLS = 300
US = int(TTL.total_seconds() * 1_000_000)


class Trusting(SnapshotStore):
    """A store that does not check what it reads: what the check costs is the difference."""

    def verified_path(self, published: Snapshot, file: SnapshotFile) -> Path:
        return self.root / file.path


class Timeless(SnapshotStore):
    """A store that does not know the times of its files: every file has to be asked."""

    def find_head(self, dataset: str) -> Snapshot | None:
        head = super().find_head(dataset)
        if head is None:
            return None
        return replace(head, files=tuple(replace(file, first_at=None, last_at=None) for file in head.files))


def floor(folder: Path, store: SnapshotStore, output: Path) -> None:
    """Read every column once, file by file, and keep nothing."""
    for path in paths(store):
        pl.read_parquet(path)


def ours(folder: Path, store: SnapshotStore, output: Path) -> pl.DataFrame:
    return _ours(folder, store, with_hindsight=True)


def ours_as_known(folder: Path, store: SnapshotStore, output: Path) -> pl.DataFrame:
    return _ours(folder, store, with_hindsight=False)


def ours_unchecked(folder: Path, store: SnapshotStore, output: Path) -> pl.DataFrame:
    return _ours(folder, _become(store, Trusting), with_hindsight=True)


def one_year(folder: Path, store: SnapshotStore, output: Path) -> pl.DataFrame:
    return _ours(folder, store, with_hindsight=True, asked="one_year.parquet")


def one_year_timeless(folder: Path, store: SnapshotStore, output: Path) -> pl.DataFrame:
    return _ours(folder, _become(store, Timeless), with_hindsight=True, asked="one_year.parquet")


def polars_join_asof(folder: Path, store: SnapshotStore, output: Path) -> pl.DataFrame:
    features = pl.read_parquet(paths(store)).sort("symbol", "event_at", "known_at")
    latest = features.unique(["symbol", "event_at"], keep="last", maintain_order=True).drop("known_at")
    joined = (
        pl.read_parquet(folder / "entities.parquet")
        .sort("at")
        .join_asof(
            latest.sort("event_at"),
            left_on="at",
            right_on="event_at",
            by="symbol",
            tolerance=TTL,
            check_sortedness=False,
        )
    )
    return joined.sort("row").select("row", *COLUMN_NAMES)


def pandas_merge_asof(folder: Path, store: SnapshotStore, output: Path) -> pl.DataFrame:
    import pandas as pd

    features = pd.concat([pd.read_parquet(path) for path in paths(store)])
    features = features.sort_values(["event_at", "known_at"]).drop_duplicates(["symbol", "event_at"], keep="last")
    asked = pd.read_parquet(folder / "entities.parquet").sort_values("at")
    joined = pd.merge_asof(
        asked, features.drop(columns="known_at"), left_on="at", right_on="event_at", by="symbol", tolerance=TTL
    )
    found = joined.sort_values("row")[["row", *COLUMN_NAMES]]
    return pl.from_pandas(found)


def duckdb_sql(folder: Path, store: SnapshotStore, output: Path) -> pl.DataFrame:
    import duckdb

    values = ", ".join(
        f"CASE WHEN epoch_us(e.at) - epoch_us(f.event_at) <= {US} THEN f.{name} END AS {name}" for name in COLUMN_NAMES
    )
    files = [str(path) for path in paths(store)]
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    answer = connection.execute(
        f"""
        WITH latest AS (
            SELECT * FROM read_parquet({files})
            QUALIFY row_number() OVER (PARTITION BY symbol, event_at ORDER BY known_at DESC) = 1
        )
        SELECT e.row, {values}
        FROM read_parquet('{folder / "entities.parquet"}') e
        ASOF LEFT JOIN latest f ON e.symbol = f.symbol AND e.at >= f.event_at
        ORDER BY e.row
        """
    )
    return pl.DataFrame(answer.to_arrow_table())


def online(folder: Path, store: SnapshotStore, output: Path) -> None:
    """Write milliseconds of serving reads: of a first call, then of many, by number of symbols and way of asking."""
    served = FeatureStore(store, [VIEW])
    rng = np.random.default_rng(1)
    every = [f"S{number:04d}" for number in range(SYMBOLS)]
    years = range(YEARS)
    ways = {"latest": [None], "as of a time in the last year": [YEARS - 1], "as of a time in any year": [*years]}
    found = list[dict[str, object]]()
    for way, among in ways.items():
        first = _milliseconds(served, every, _moment(rng, among[0]))
        for year in among:  # each file is read once
            served.latest(every, [VIEW.name], as_of=_moment(rng, year))
        for count in (1, 20, 500):
            taken = [
                _milliseconds(served, list(rng.choice(every, count, replace=False)), _moment(rng, rng.choice(among)))
                for _ in range(CALLS)
            ]
            p50, p99 = (float(np.percentile(taken, share)) for share in (50, 99))
            found.append({"way": way, "symbols": count, "first": first, "p50": p50, "p99": p99})
    output.write_text(json.dumps(found), encoding="utf-8")


METHODS: dict[str, Callable[[Path, SnapshotStore, Path], pl.DataFrame | None]] = {
    one.__name__: one
    for one in (
        floor,
        ours,
        ours_as_known,
        ours_unchecked,
        one_year,
        one_year_timeless,
        polars_join_asof,
        pandas_merge_asof,
        duckdb_sql,
        online,
    )
}


def paths(store: SnapshotStore) -> Sequence[Path]:
    return store.paths(store.head(VIEW.dataset))


def _ours(folder: Path, store: SnapshotStore, *, with_hindsight: bool, asked: str = "entities.parquet") -> pl.DataFrame:
    retrieved = FeatureStore(store, [VIEW]).training_set(
        pl.read_parquet(folder / asked), [VIEW.name], with_hindsight=with_hindsight
    )
    return retrieved.rows.select("row", *COLUMN_NAMES)


def _become(store: SnapshotStore, kind: type[SnapshotStore]) -> SnapshotStore:
    store.__class__ = kind
    return store


def _milliseconds(store: FeatureStore, symbols: Sequence[str], as_of: datetime | None) -> float:
    started = time.perf_counter()
    store.latest(symbols, [VIEW.name], as_of=as_of)
    return (time.perf_counter() - started) * 1000


def _moment(rng: np.random.Generator, year: int | None) -> datetime | None:
    """Return a random time in the year, a week after its start at the earliest; no year, no time."""
    if year is None:
        return None
    return datetime(FIRST_YEAR + int(year), 1, 8, tzinfo=UTC) + timedelta(minutes=int(rng.integers(0, 350 * 1440)))


def main(method: str, folder: Path, output: Path, limit_mb: int) -> None:
    if limit_mb:
        resource.setrlimit(resource.RLIMIT_DATA, (limit_mb * 2**20, limit_mb * 2**20))
    store = store_in(folder)
    before = resource.getrusage(resource.RUSAGE_SELF)
    found = METHODS[method](folder, store, output)
    after = resource.getrusage(resource.RUSAGE_SELF)
    if found is not None:
        found.write_parquet(output)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"cpu": cpu, "peak_bytes": peak_bytes()}))


def peak_bytes() -> int:
    """Return the peak of this process since it began; ru_maxrss would count that of the process it was forked from."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 0)
