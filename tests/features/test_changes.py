"""What is computed anew is enough: however readings come, the files are those of a full computation."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import polars as pl
import pytest

from mlops_assets.catalog.feature_views.momentum import VIEW
from mlops_assets.features.changes import bits
from mlops_assets.features.knowledge import compute_known
from mlops_assets.features.publication import publish_view
from mlops_assets.features.spec import Feature, FeatureView, Partition
from mlops_assets.market_data.bars import BAR_COLUMNS, BARS, arrow_schema, to_table
from mlops_assets.market_data.knowledge import bar_details, read_held, read_knowledge
from mlops_assets.market_data.restatements import RESTATEMENT_COLUMNS, RESTATEMENTS, revise
from mlops_assets.storage.parquet.snapshots import Provenance, SnapshotStore
from mlops_assets.storage.parquet.years import year_chunks
from tests.features.bars import sessions

PRICE, INDEX_PRICE = pl.col("adjusted_close"), pl.col("index_adjusted_close")
DAYS = sessions(9, date(2018, 12, 26))
SYMBOLS = ("AAA", "BBB", "CCC", "INDEX")
CHUNK_ROWS = 10

World = dict[tuple[str, date], float]


def view(name: str, partition: Partition, **columns: pl.Expr) -> FeatureView:
    features = tuple(Feature(name=column, expr=expr, description="x") for column, expr in columns.items())
    return replace(VIEW, name=name, columns=features, partition=partition)


VIEWS = {
    one.name: one
    for one in (
        view(
            "smooth", Partition.SYMBOL, smoothed=PRICE.ewm_mean(alpha=0.5, adjust=False), mean_2=PRICE.rolling_mean(2)
        ),
        view("relation", Partition.SYMBOL, excess=PRICE.pct_change() - INDEX_PRICE.pct_change()),
        view("ranks", Partition.DATE, rank=pl.col("smooth.smoothed").rank()),
        view("gaps", Partition.DATE, gap=PRICE - INDEX_PRICE),
        view("chain", Partition.SYMBOL, kept=pl.col("ranks.rank").ewm_mean(alpha=0.3, adjust=False)),
        view("regime", Partition.INDEX, trend=PRICE.ewm_mean(alpha=0.3, adjust=False)),
        view("mixed", Partition.DATE, rank=(pl.col("regime.trend") + pl.col("chain.kept")).rank()),
    )
}


def readings(chance: random.Random) -> Iterator[tuple[datetime, World]]:
    """Yield what a source held at some instants: new days, corrections, gaps, late and vanished bars, new bases."""
    world, reached = World(), chance.randint(2, 4)
    for day in DAYS[:reached]:
        world |= _new_day(chance, day)
    for minute in range(chance.randint(3, 6)):
        if chance.random() < 0.6 and reached < len(DAYS):
            world |= _new_day(chance, DAYS[reached])
            reached += 1
        for _ in range(chance.randint(0, 3)):
            _change(chance, world, reached)
        yield datetime.combine(DAYS[reached - 1], time(22, 30 + minute), tzinfo=UTC), dict(world)


def _new_day(chance: random.Random, day: date) -> World:
    return {(symbol, day): _price(chance) for symbol in SYMBOLS if chance.random() < 0.85}


def _change(chance: random.Random, world: World, reached: int) -> None:
    what, (symbol, day) = chance.choice(["correct", "vanish", "appear", "rebase"]), chance.choice(sorted(world))
    if what == "correct":
        world[symbol, day] = _price(chance)
    elif what == "vanish" and len(world) > len(SYMBOLS):
        del world[symbol, day]
    elif what == "appear":
        world.setdefault((chance.choice(SYMBOLS), DAYS[chance.randrange(reached)]), _price(chance))
    elif what == "rebase":
        for key in [key for key in world if key[0] == symbol and key[1] < DAYS[reached - 1]]:
            world[key] *= 0.5


def _price(chance: random.Random) -> float:
    return round(chance.uniform(1, 100), 2)


def read(snapshots: SnapshotStore, world: World, at: datetime) -> None:
    """Publish what a reading makes of the bars, as the ingestion does."""
    rows = [
        {
            "symbol": symbol,
            "date": day,
            "event_at": datetime.combine(day, time(21), tzinfo=UTC),
            "known_at": datetime.combine(day, time(22), tzinfo=UTC),
            "adjusted_close": price,
            "is_index": symbol == "INDEX",
        }
        for (symbol, day), price in sorted(world.items())
    ]
    bars = pl.DataFrame(rows, schema=pl.DataFrame(arrow_schema(BAR_COLUMNS).empty_table()).schema)
    revision = revise(bars, read_held(snapshots, "source/test"), read_at=at)
    made = Provenance(code_version="c", inputs={"source/test": str(at)})
    superseded = to_table(revision.superseded, RESTATEMENT_COLUMNS)
    restatements = snapshots.publish(RESTATEMENTS, superseded, provenance=made, actor="test")
    known = replace(made, details=bar_details(timedelta(hours=1), restatements))
    chunks = [to_table(chunk, BAR_COLUMNS) for chunk in year_chunks(revision.bars, CHUNK_ROWS)]
    snapshots.publish(BARS, chunks, provenance=known, actor="test")


@pytest.mark.parametrize("seed", range(12))
def test_files_are_those_of_a_full_computation_after_any_readings(seed: int, snapshots: SnapshotStore):
    chance = random.Random(seed)
    for at, world in readings(chance):
        read(snapshots, world, at)
        if chance.random() < 0.3:  # a reading that nobody waited for
            continue
        for name, one in VIEWS.items():
            done = publish_view(one, VIEWS, snapshots, code_version="c", actor="test", chunk_rows=CHUNK_ROWS)
            upstream = {
                read: pl.DataFrame(snapshots.read(snapshots.head(VIEWS[read].dataset))) for read in one.upstream_views
            }
            full = compute_known(one, read_knowledge(snapshots).rows, upstream)
            chunks = year_chunks(full, CHUNK_ROWS)
            assert [file.row_count for file in done.snapshot.files] == [chunk.height for chunk in chunks], name
            stored = pl.DataFrame(snapshots.read(done.snapshot))
            assert bits(stored).equals(bits(pl.concat(chunks))), name
            assert done.rows.equals(stored)
            assert done.restated_rows == full.height - full.select("symbol", "date").n_unique()


def test_a_new_day_is_told_from_the_files_that_two_versions_do_not_share(snapshots: SnapshotStore):
    evenings = [datetime.combine(day, time(23), tzinfo=UTC) for day in DAYS]
    world = {(symbol, day): 10.0 + number for symbol in SYMBOLS for number, day in enumerate(DAYS[:7])}
    read(snapshots, world, evenings[6])
    for name in ("smooth", "ranks"):
        publish_view(VIEWS[name], VIEWS, snapshots, code_version="c", actor="test", chunk_rows=CHUNK_ROWS)
    before = snapshots.head(BARS)
    read(snapshots, world | {(symbol, DAYS[7]): 30.0 for symbol in SYMBOLS}, evenings[7])
    (shared,) = {*before.files} & {*snapshots.head(BARS).files}
    publish_view(VIEWS["smooth"], VIEWS, snapshots, code_version="c", actor="test", chunk_rows=CHUNK_ROWS)
    done = publish_view(VIEWS["ranks"], VIEWS, snapshots, code_version="c", actor="test", chunk_rows=CHUNK_ROWS)
    assert shared.last_at is not None
    assert shared.last_at.year == 2018
    assert (done.groups_computed, len(done.snapshot.files)) == (1, 2)


def test_bits_tell_zeros_apart():
    zeros = pl.DataFrame({"value": [0.0, None]}), pl.DataFrame({"value": [-0.0, None]})
    assert zeros[0].equals(zeros[1])
    assert not bits(zeros[0]).equals(bits(zeros[1]))
