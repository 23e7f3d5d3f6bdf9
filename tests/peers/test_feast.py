"""The feature store answers as Feast does, row by row, on random histories made to hit every rule at once.

Three ways of asking are comparable. Feast's default knows no time of knowledge beyond breaking ties: it is our
`with_hindsight`. Feast's own cut-off `filter_by_created_timestamp` is our default. Our `as_of` is that cut-off on the
rows which existed and were known on the date.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mlops_assets.features.retrieval import FeatureStore
from mlops_assets.storage.parquet.snapshots import SnapshotStore
from tests.features.published import HOUR, START, TIME, publish, rows_of, view_of
from tests.peers.environment import run_feast

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MICROSECOND = timedelta(microseconds=1)
VIEWS = (
    view_of("hourly", "trend", "shared", ttl=3 * HOUR),
    view_of("daily", "swing", "shared", ttl=24 * HOUR),
    view_of("ageless", "since", ttl=timedelta(0)),
)
SEEDS = (1, 2, 3, 4)
HOURS = 60


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way of asking: ours by `as_of` and `with_hindsight`, Feast's by its filter and the rows it is given."""

    name: str
    with_hindsight: bool = False
    as_of: datetime | None = None


WAYS = (
    Way(name="default", with_hindsight=True),
    Way(name="created", with_hindsight=False),
    Way(name="as_of", as_of=START + 40 * HOUR),
)


def near(rng: random.Random, hour: int) -> datetime:
    """Return a full hour, or a microsecond beside it: the bounds of every TTL are hit and missed by the least step."""
    return START + hour * HOUR + rng.choice([0, 0, 0, -1, 1]) * MICROSECOND


def history(rng: random.Random, columns: tuple[str, ...]) -> pl.DataFrame:
    """Return rows with restatements, late knowledge, gaps, null values and rows whose knowledge nobody recorded."""
    rows: dict[tuple[str, datetime, datetime | None], tuple[float | None, ...]] = {}
    for symbol in "abcdef":
        for _ in range(60):
            event = near(rng, rng.randrange(HOURS))
            for _ in range(rng.choice([1, 1, 2, 4])):
                late = rng.choice([timedelta(0), MICROSECOND, 1 * HOUR, 5 * HOUR, 30 * HOUR, None])
                values = tuple(rng.choice([None, rng.random(), rng.random()]) for _ in columns)
                rows[symbol, event, None if late is None else event + late] = values
    keys = rows_of([(*key, None) for key in rows], columns[0]).drop(columns[0])
    values = pl.DataFrame(list(rows.values()), schema=dict.fromkeys(columns, pl.Float64), orient="row")
    return pl.concat([keys, values], how="horizontal")


def questions(rng: random.Random) -> pl.DataFrame:
    """Return rows with duplicates, symbols without history, no symbol, and times before and after everything."""
    asked = [(rng.choice([*"abcdef", "never", None]), near(rng, rng.randrange(-5, HOURS + 40))) for _ in range(400)]
    asked += rng.choices(asked, k=50)
    frame = pl.DataFrame(asked, schema={"symbol": pl.String, "at": TIME}, orient="row")
    return frame.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))


def feast_job(folder: Path, way: Way, histories: dict[str, pl.DataFrame], asked: pl.DataFrame) -> dict[str, Any]:
    folder.mkdir(parents=True)
    asked.rename({"at": "event_timestamp"}).write_parquet(folder / "entities.parquet")
    for name, rows in histories.items():
        limit = way.as_of
        seen = rows if limit is None else rows.filter((pl.col("known_at") <= limit) & (pl.col("event_at") <= limit))
        seen.write_parquet(folder / f"{name}.parquet")
    return {
        "folder": str(folder),
        "views": [
            {
                "name": view.name,
                "path": str(folder / f"{view.name}.parquet"),
                "columns": view.column_names,
                "ttl_seconds": view.ttl.total_seconds(),
            }
            for view in VIEWS
        ],
        "entities": str(folder / "entities.parquet"),
        "features": [f"{view.name}:{column}" for view in VIEWS for column in view.column_names],
        "full_names": True,
        "filter_by_created": not way.with_hindsight,
        "output": str(folder / "output.parquet"),
    }


def test_every_row_is_the_one_that_feast_returns(snapshots: SnapshotStore, tmp_path: Path):
    jobs, ours = list[dict[str, Any]](), list[pl.DataFrame]()
    for seed in SEEDS:
        rng = random.Random(seed)
        histories = {view.name: history(rng, view.column_names) for view in VIEWS}
        asked = questions(rng)
        for view in VIEWS:
            publish(snapshots, view, histories[view.name], borders=(START + 20 * HOUR, START + 41 * HOUR))
        store = FeatureStore(snapshots, VIEWS)
        abroad = asked.with_columns(pl.col("at").dt.convert_time_zone("Asia/Seoul"))
        for way in WAYS:
            jobs.append(feast_job(tmp_path / f"{seed}-{way.name}", way, histories, asked))
            names = [view.name for view in VIEWS]
            found = store.training_set(
                abroad, names, full_names=True, as_of=way.as_of, with_hindsight=way.with_hindsight
            )
            ours.append(found.rows.drop("at"))
    run_feast(jobs, tmp_path)
    for job, found in zip(jobs, ours, strict=True):
        theirs = pl.read_parquet(job["output"]).sort("row").select(found.columns)
        assert found.select(pl.exclude("row", "symbol").null_count()).sum_horizontal().item() > 0, "nothing was missed"
        assert found.drop("row", "symbol").null_count().sum_horizontal().item() < found.height * 5, "nothing was found"
        assert found.equals(theirs), job["folder"]
