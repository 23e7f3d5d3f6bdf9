"""Requests, errors and latencies of what serves: percentiles against numpy, workers added up, nothing lost quietly."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from mlops_assets.lifecycle.serving.health import HealthStore, ServingHealth, Window, health_status, merged
from mlops_assets.lifecycle.serving.request_recorder import RequestRecorder
from mlops_assets.storage.sql.database import Database

AT = datetime(2026, 1, 5, 12, 0, 30, tzinfo=UTC)
MINUTE = AT.replace(second=0)
PRECISION = 0.001
"""Three significant digits."""

FEW = settings(max_examples=25)
latencies = st.lists(st.integers(min_value=1, max_value=50_000_000), min_size=1, max_size=150)


@dataclass
class MovingClock:
    at: datetime

    def now(self) -> datetime:
        return self.at


class Kept:
    """A store that remembers what was written, and fails on demand."""

    def __init__(self) -> None:
        self.windows: dict[tuple[str, datetime, str], Window] = {}
        self.writes, self.is_down = 0, False

    def write(self, windows: Sequence[Window]) -> None:
        self.writes += 1
        if self.is_down:
            raise OperationalError("INSERT", {}, Exception("database is locked"))
        self.windows |= {(one.deployment_id, one.started_at, one.worker): one for one in windows}

    def health(self) -> ServingHealth:
        return merged(self.windows.values())


def recorder(store: Kept | HealthStore, clock: MovingClock | None = None, worker: str = "one") -> RequestRecorder:
    return RequestRecorder(store, clock or MovingClock(AT), worker=worker, flush_seconds=None)


def nearest_rank(values: Sequence[int], percentile: float) -> float:
    """The smallest value that at least this share of all values does not exceed, as numpy has it."""
    return float(np.percentile(values, percentile, method="inverted_cdf"))


@FEW
@given(values=latencies)
def test_mean_and_percentiles_are_numpys_within_three_significant_digits(values: list[int]):
    kept = Kept()
    counting = recorder(kept)
    for value in values:
        counting.answered("d", value / 1e6)
    counting.flush()
    found = kept.health()
    assert (found.request_count, found.error_count) == (len(values), 0)
    assert found.mean_ms == pytest.approx(float(np.mean(values)) / 1e3, rel=PRECISION, abs=0.001)
    for name, percentile in (("p95_ms", 95), ("p99_ms", 99)):
        expected = nearest_rank(values, percentile) / 1e3
        assert getattr(found, name) == pytest.approx(expected, rel=PRECISION, abs=0.001), (name, sorted(values))


@FEW
@given(one=latencies, other=latencies)
def test_two_workers_merged_are_one_worker_that_saw_it_all(one: list[int], other: list[int]):
    apart, whole = Kept(), Kept()
    workers = [recorder(apart, worker="one"), recorder(apart, worker="two")]
    together = recorder(whole)
    for counting, values in zip(workers, (one, other), strict=True):
        for value in values:
            counting.answered("d", value / 1e6)
            together.answered("d", value / 1e6)
        counting.failed("d")
        together.failed("d")
    for each in (*workers, together):
        each.flush()
    assert len(apart.windows) == 2
    assert apart.health() == whole.health()


def test_errors_and_refusals_are_requests_without_a_latency(database: Database):
    store = HealthStore(database)
    counting = recorder(store)
    counting.answered("d", 0.002)
    counting.failed("d")
    counting.refused("d")
    counting.refused("other")
    counting.flush()
    found = store.of("d")
    assert (found.request_count, found.error_count, found.error_rate) == (3, 1, pytest.approx(1 / 3))
    assert (found.mean_ms, found.p99_ms) == (pytest.approx(2.0, rel=PRECISION), pytest.approx(2.0, rel=PRECISION))
    assert found.last_updated == AT
    assert store.of("other") == ServingHealth(
        request_count=1, error_count=0, mean_ms=None, p95_ms=None, p99_ms=None, last_updated=AT
    )
    nothing = store.of("nobody")
    assert (nothing.request_count, nothing.error_rate, nothing.last_updated) == (0, None, None)


def test_health_is_asked_since_a_minute_and_old_minutes_are_forgotten(database: Database):
    clock, store = MovingClock(AT), HealthStore(database)
    counting = recorder(store, clock)
    for days in (0, 1, 29, 31):
        clock.at = AT + timedelta(days=days)
        counting.answered("d", 0.001 * (days + 1))
        counting.flush()
    assert store.of("d").request_count == 3
    assert store.of("d", since=AT + timedelta(days=29)).request_count == 1  # the minute began before
    assert store.of("d", since=MINUTE + timedelta(days=29)).request_count == 2


def test_a_minute_is_written_again_whole_and_counted_once(database: Database):
    store = HealthStore(database)
    counting = recorder(store)
    for _ in range(3):
        counting.answered("d", 0.001)
        counting.flush()
        counting.flush()
    assert store.of("d").request_count == 3


def test_a_prediction_writes_nothing_and_a_database_that_is_down_loses_nothing():
    kept, clock = Kept(), MovingClock(AT)
    counting = recorder(kept, clock)
    counting.answered("d", 0.001)
    assert kept.writes == 0
    kept.is_down = True
    counting.flush()
    clock.at = AT + timedelta(minutes=5)
    counting.answered("d", 0.001)
    kept.is_down = False
    counting.flush()
    assert (kept.health().request_count, len(kept.windows)) == (2, 2)


def test_threads_that_count_at_once_lose_nothing():
    kept = Kept()
    counting = recorder(kept)

    def count(number: int) -> None:
        for _ in range(200):
            counting.answered("d", 0.001)
            if number == 0:
                counting.flush()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(count, range(8)))
    counting.close()
    assert kept.health().request_count == 8 * 200


_WORKER = """
import sys
from mlops_assets.kernel.clock import SystemClock
from mlops_assets.lifecycle.serving.request_recorder import RequestRecorder
from mlops_assets.lifecycle.serving.health import HealthStore
from mlops_assets.storage.sql.database import Database

recorder = RequestRecorder(HealthStore(Database(sys.argv[1])), SystemClock())
recorder.answered("d", 0.001)
"""


def test_a_worker_that_ends_writes_what_it_counted(database: Database):
    done = subprocess.run([sys.executable, "-c", _WORKER, database.url], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert HealthStore(database).of("d").request_count == 1


def test_a_worker_that_is_killed_loses_what_came_after_its_last_flush_and_no_more(database: Database):
    code = f"{_WORKER}\nrecorder.flush()\nrecorder.answered('d', 0.001)\nimport os\nos._exit(9)"
    done = subprocess.run([sys.executable, "-c", code, database.url], capture_output=True, text=True, check=False)
    assert done.returncode == 9, done.stderr
    assert HealthStore(database).of("d").request_count == 1


@dataclass(frozen=True)
class Limits:
    max_error_rate: float = 0.02
    max_p99_ms: float = 250.0


@pytest.mark.parametrize(
    ("requests", "errors", "p99_ms", "status"),
    [
        (0, 0, None, None),
        (1_000, 0, 100.0, "healthy"),
        (1_000, 10, 125.0, "healthy"),  # half of each limit is still well
        (1_000, 11, 100.0, "degraded"),
        (1_000, 0, 126.0, "degraded"),
        (1_000, 20, 250.0, "degraded"),  # at the limit is not beyond it
        (1_000, 21, 100.0, "unhealthy"),
        (1_000, 0, 251.0, "unhealthy"),
        (19, 19, None, "degraded"),  # too few to tell
        (20, 1, 100.0, "unhealthy"),
        (99, 0, 251.0, "degraded"),
        (100, 0, 251.0, "unhealthy"),
    ],
)
def test_health_is_judged_by_the_limits_of_the_plan(
    requests: int, errors: int, p99_ms: float | None, status: str | None
):
    health = ServingHealth(
        request_count=requests, error_count=errors, mean_ms=p99_ms, p95_ms=p99_ms, p99_ms=p99_ms, last_updated=AT
    )
    assert health_status(health, Limits()) == status
