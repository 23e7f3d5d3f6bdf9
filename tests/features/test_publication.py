"""What is published in steps is what is published at once, and a step writes no more than it must."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.catalog.feature_views.momentum import VIEW
from mlops_assets.features.knowledge import latest_known
from mlops_assets.features.publication import PublishedView, publish_view
from mlops_assets.features.spec import Feature, FeatureView, Partition
from mlops_assets.features.view import compute_view
from mlops_assets.ledger.store import Ledger
from mlops_assets.market_data.bars import BAR_COLUMNS, BARS, to_table, to_tables
from mlops_assets.market_data.calendar import TradingCalendar
from mlops_assets.market_data.ingestion import ingest
from mlops_assets.market_data.knowledge import bar_details, read_held
from mlops_assets.market_data.restatements import RESTATEMENT_COLUMNS, RESTATEMENTS, revise
from mlops_assets.market_data.sample import BundledSample
from mlops_assets.storage.parquet.snapshots import Provenance, SnapshotStore
from mlops_assets.storage.sql.database import Database

LAG = timedelta(hours=1)
PRICE = pl.col("adjusted_close")
SMOOTH = replace(
    VIEW,
    name="smooth",
    columns=(Feature(name="smoothed", expr=PRICE.ewm_mean(alpha=0.1, adjust=False), description="x"),),
)
RANKS = replace(
    SMOOTH,
    name="ranks",
    columns=(Feature(name="rank", expr=pl.col("smooth.smoothed").rank(), description="x"),),
    partition=Partition.DATE,
)
VIEWS: dict[str, FeatureView] = {"momentum": VIEW, "smooth": SMOOTH, "ranks": RANKS}


@pytest.fixture(scope="module")
def sample() -> pl.DataFrame:
    at = datetime(2024, 5, 1, tzinfo=UTC)
    return ingest(BundledSample(), TradingCalendar(), as_of=at, progress=lambda _: None).bars


def store(home: Path, clock: object) -> SnapshotStore:
    database = Database(f"sqlite:///{home / 'platform.db'}")
    database.migrate()
    return SnapshotStore(home / "snapshots", database, Ledger(database, clock), clock)  # pyright: ignore[reportArgumentType]


def read(snapshots: SnapshotStore, bars: pl.DataFrame, at: datetime) -> None:
    """Publish what a reading at an instant makes of the bars, as the ingestion does."""
    revision = revise(bars, read_held(snapshots, "source/test"), read_at=at)
    made = Provenance(code_version="c", inputs={"source/test": str(at)})
    superseded = to_table(revision.superseded, RESTATEMENT_COLUMNS)
    restatements = snapshots.publish(RESTATEMENTS, superseded, provenance=made, actor="test")
    made = replace(made, details=bar_details(LAG, restatements))
    snapshots.publish(BARS, to_tables(revision.bars, BAR_COLUMNS), provenance=made, actor="test")


def publish(snapshots: SnapshotStore, code_version: str = "c") -> dict[str, PublishedView]:
    return {
        name: publish_view(view, VIEWS, snapshots, code_version=code_version, actor="test")
        for name, view in VIEWS.items()
    }


def test_a_new_day_and_a_restatement_give_the_bytes_of_a_full_build(
    sample: pl.DataFrame, tmp_path: Path, clock: object
):
    days = sample["date"].unique().sort()
    evening = [datetime.combine(day, datetime.min.time(), tzinfo=UTC) + timedelta(hours=23) for day in days[-3:]]
    corrected = (pl.col("symbol") == "AAPL") & (pl.col("date") == days[-30])
    restated = sample.with_columns(adjusted_close=pl.when(corrected).then(PRICE * 1.01).otherwise(PRICE))
    readings = [
        (sample.filter(pl.col("date") <= days[-2]), evening[1]),
        (sample, evening[2]),
        (restated, evening[2] + timedelta(hours=1)),
    ]
    stepwise, at_once = store(tmp_path / "steps", clock), store(tmp_path / "once", clock)
    steps = list[dict[str, PublishedView]]()
    for bars, at in readings:
        read(stepwise, bars, at)
        read(at_once, bars, at)
        steps.append(publish(stepwise))
    full = publish(at_once)

    for name in VIEWS:
        assert steps[-1][name].snapshot.fingerprint == full[name].snapshot.fingerprint, name
    # A new day: every stock's series, but one day of the ranks; a corrected stock: that stock alone.
    assert [step["smooth"].groups_computed for step in steps] == [None, None, 1]
    assert steps[1]["ranks"].groups_computed == 1
    assert steps[2]["ranks"].groups_computed == 30
    files = [set(step["smooth"].snapshot.files) for step in steps]
    assert [len(one) for one in files] == [2, 2, 2]
    assert len(files[0] & files[1]) == 1
    assert full["smooth"].restated_rows == full["smooth"].snapshot.details["restated_rows"] == 30
    assert latest_known(full["momentum"].rows).drop("known_at").equals(compute_view(VIEW, restated).drop("known_at"))


def test_the_same_inputs_make_no_version_and_other_code_computes_all(
    sample: pl.DataFrame, tmp_path: Path, clock: object
):
    snapshots = store(tmp_path, clock)
    read(snapshots, sample.filter(pl.col("date").dt.year() >= 2020), datetime(2023, 1, 1, tzinfo=UTC))
    first, again, other = publish(snapshots), publish(snapshots), publish(snapshots, code_version="d")
    assert [again[name].snapshot for name in VIEWS] == [first[name].snapshot for name in VIEWS]
    assert [again[name].groups_computed for name in VIEWS] == [0, 0, 0]
    assert [other[name].snapshot.version for name in VIEWS] == [2, 2, 2]
    assert other["smooth"].groups_computed is None


def test_a_damaged_snapshot_is_computed_and_written_again(sample: pl.DataFrame, tmp_path: Path, clock: object):
    snapshots = store(tmp_path, clock)
    read(snapshots, sample.filter(pl.col("date").dt.year() >= 2020), datetime(2023, 1, 1, tzinfo=UTC))
    first = publish(snapshots)["smooth"].snapshot
    (path,) = snapshots.paths(first)
    path.write_bytes(path.read_bytes()[:-1])
    assert publish(snapshots)["smooth"].snapshot == first
    assert snapshots.read(first).num_rows == first.row_count


def test_columns_that_a_source_lacks_the_inputs_of_are_reported(sample: pl.DataFrame, tmp_path: Path, clock: object):
    shares = Feature(name="traded", expr=pl.col("volume") * PRICE, description="x")
    view = replace(SMOOTH, columns=(*SMOOTH.columns, shares))
    snapshots = store(tmp_path, clock)
    read(snapshots, sample.filter(pl.col("date").dt.year() >= 2022), datetime(2023, 1, 1, tzinfo=UTC))
    done = publish_view(view, VIEWS, snapshots, code_version="c", actor="test")
    assert done.lacking == {"traded": ("volume",)}
    assert done.snapshot.details["unavailable"] == {"traded": ["volume"]}
    assert done.snapshot.details["view_version"] == view.version
