"""Serving reads say what training sets say, see a new snapshot at once, and keep to their memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_assets.features.online import Remembered, skew
from mlops_assets.features.requested import InvalidRequest
from mlops_assets.features.retrieval import FeatureStore
from mlops_assets.kernel.errors import IntegrityViolation, UnknownReference
from mlops_assets.storage.parquet.snapshots import SnapshotStore
from tests.features.published import HOUR, START, TIME, publish, rows_of, view_of
from tests.features.test_retrieval import DAYS, MOMENTUM, VOLATILITY, Counting, history

SYMBOLS = [*"fabcde", "never", None, "a"]
NAMES = ["momentum__return_1d", "momentum__rsi_14", "volatility__atr_14", "volatility__return_1d"]


@pytest.fixture
def store(snapshots: SnapshotStore) -> FeatureStore:
    for seed, view in enumerate((MOMENTUM, VOLATILITY)):
        publish(snapshots, view, history(seed, view), borders=DAYS)
    return FeatureStore(snapshots, [MOMENTUM, VOLATILITY])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moment=st.datetimes(datetime(2023, 12, 31), datetime(2024, 1, 9)))  # noqa: DTZ001
def test_online_equals_offline_at_any_time(store: FeatureStore, moment: datetime):
    at = moment.replace(tzinfo=START.tzinfo)
    time = pl.lit(at, dtype=TIME)
    online = store.latest(SYMBOLS, ["momentum", "volatility"], as_of=at, full_names=True).rows.with_columns(at=time)
    asked = pl.DataFrame({"symbol": SYMBOLS}).with_columns(at=time)
    offline = store.training_set(asked, ["momentum", "volatility"], full_names=True).rows
    assert skew(online, offline, NAMES).is_none
    assert online.select(NAMES).equals(offline.select(NAMES))


def test_the_newest_row_is_told_with_its_times_whatever_its_age(snapshots: SnapshotStore):
    later = START + 30 * HOUR
    rows = rows_of(
        [("a", START, START, 1.0), ("a", later, later + HOUR, 2.0), ("b", START, START + HOUR, 3.0)], "rsi_14"
    )
    view = view_of("momentum", "rsi_14", ttl=HOUR)
    publish(snapshots, view, rows, borders=[later])
    found = FeatureStore(snapshots, [view]).latest(["b", "a", "c"], ["momentum.rsi_14"], with_times=True).rows
    assert found.columns == ["symbol", "rsi_14", "momentum__event_at", "momentum__known_at"]
    assert found.rows() == [
        ("b", 3.0, START, START + HOUR),
        ("a", 2.0, later, later + HOUR),
        ("c", None, None, None),
    ]


def test_a_new_snapshot_is_seen_by_the_next_call(snapshots: SnapshotStore, store: FeatureStore):
    before = store.latest(["a"], ["momentum.rsi_14"])
    newest = history(0, MOMENTUM).vstack(
        pl.DataFrame(
            [("a", DAYS[3] + 90 * HOUR, DAYS[3] + 90 * HOUR, 0.5, 77.0)],
            schema=history(0, MOMENTUM).schema,
            orient="row",
        )
    )
    publish(snapshots, MOMENTUM, newest, borders=DAYS)
    after = store.latest(["a"], ["momentum.rsi_14"])
    assert before.retrieval.views[0].snapshot == 1
    assert after.retrieval.views[0].snapshot == 2
    assert after.rows["rsi_14"].to_list() == [77.0]


def test_a_file_is_read_once_and_shared_by_snapshots(snapshots: SnapshotStore, store: FeatureStore):
    counting = Counting(snapshots)
    served = FeatureStore(counting, [MOMENTUM])
    for _ in range(3):
        served.latest(SYMBOLS, ["momentum"], as_of=DAYS[0] + 5 * HOUR)
    assert len(counting.opened) == len(set(counting.opened)) > 0
    opened = len(counting.opened)
    extended = history(0, MOMENTUM).filter(pl.col("event_at") < DAYS[2])
    publish(snapshots, MOMENTUM, extended, borders=DAYS)
    served.latest(SYMBOLS, ["momentum"], as_of=DAYS[0] + 5 * HOUR)
    assert len(counting.opened) == opened, "the files of those days did not change"


def test_memory_is_bounded_and_answers_stay(snapshots: SnapshotStore, store: FeatureStore):
    small = FeatureStore(snapshots, [MOMENTUM], remembered=Remembered(limit_bytes=1))
    for day in DAYS:
        at = day + 3 * HOUR
        assert small.latest(SYMBOLS, ["momentum"], as_of=at).rows.equals(
            store.latest(SYMBOLS, ["momentum"], as_of=at).rows
        )


def test_threads_share_one_memory(store: FeatureStore):
    moments = [START + hour * HOUR for hour in range(0, 140, 3)]
    expected = [store.latest(SYMBOLS, ["momentum"], as_of=at).rows for at in moments]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda at: store.latest(SYMBOLS, ["momentum"], as_of=at).rows, moments * 3))
    assert all(one.equals(other) for one, other in zip(found, expected * 3, strict=True))


def test_a_damaged_file_is_not_served(snapshots: SnapshotStore, store: FeatureStore):
    newest = max(snapshots.head(MOMENTUM.dataset).files, key=lambda file: file.last_at or START)
    path: Path = snapshots.root / newest.path
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(IntegrityViolation):
        store.latest(["a"], ["momentum"])


def test_wrong_questions_are_refused(store: FeatureStore):
    with pytest.raises(InvalidRequest, match=r"\['a'\]"):
        store.latest("a", ["momentum"])
    with pytest.raises(InvalidRequest, match="time zone"):
        store.latest(["a"], ["momentum"], as_of=datetime(2024, 1, 1))  # noqa: DTZ001
    with pytest.raises(InvalidRequest, match="7 is no ticker"):
        store.latest([7], ["momentum"])  # pyright: ignore[reportArgumentType]
    with pytest.raises(UnknownReference, match="did you mean"):
        store.latest(["a"], ["momentun"])


def test_no_symbols_get_no_rows(store: FeatureStore):
    found = store.latest([], ["momentum"]).rows
    assert found.height == 0
    assert found.columns == ["symbol", "return_1d", "rsi_14"]


def test_skew_names_what_differs():
    online = pl.DataFrame(
        {"symbol": ["a", "b", "c"], "at": [START] * 3, "x": [1.0, None, float("nan")], "y": [1, 2, 3]}
    )
    assert skew(online, online, ["x", "y"]).is_none
    offline = online.with_columns(x=pl.Series([1.0, 5.0, float("nan")]), y=pl.Series([1, 2, 4]))
    found = skew(online, offline, ["x", "y"])
    assert (found.rows, dict(found.differing), found.is_none) == (3, {"x": 1, "y": 1}, False)
    assert found.examples[0].startswith("b at 2024-01-01")
    assert "x is None online and 5.0 offline" in found.examples[0]
    with pytest.raises(ValueError, match="not those of the same"):
        skew(online, offline.reverse(), ["x"])
    with pytest.raises(ValueError, match="not those of the same"):
        skew(online, offline.with_columns(pl.col("at") + timedelta(hours=1)), ["x"])
