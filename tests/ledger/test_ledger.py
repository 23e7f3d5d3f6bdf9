from __future__ import annotations

import hashlib
import json
import multiprocessing
import sqlite3
from datetime import timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import FixedClock
from mlops_assets.ledger.entry import GENESIS_HASH
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.parquet.snapshots import Provenance, SnapshotStore
from mlops_assets.storage.sql.database import Database
from tests.ledger.appender import append_some
from tests.ledger.chains import AT, append, change, entries


def test_a_hash_is_sha256_of_the_sorted_compact_json_of_the_entry():
    (entry,) = entries(1)
    # For ASCII keys, strings and small integers RFC 8785 equals sorted compact JSON, so this needs no library of ours.
    content = {
        "seq": 1,
        "at": "2026-01-05T12:00:00.000000+00:00",
        "actor": "ana",
        "action": "report.seal",
        "subject": "reports/r0",
        "before": None,
        "after": "f" * 64,
        "reason": "",
        "details": {"n": 0},
        "previous_hash": GENESIS_HASH,
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert entry.hash == hashlib.sha256(text.encode()).hexdigest()


def test_an_entry_vanishes_with_the_transaction_that_failed(ledger: Ledger, database: Database):
    with pytest.raises(RuntimeError, match="after all"), database.begin() as connection:
        ledger.append(connection, change())
        raise RuntimeError("not after all")
    assert ledger.verify().entries == 0


def test_entries_are_filtered_and_paged(ledger: Ledger, database: Database):
    append(ledger, database, 5)
    assert [entry.seq for entry in ledger.entries(after_seq=2, limit=2)] == [3, 4]
    assert [entry.seq for entry in ledger.entries(subject="reports/r3")] == [4]
    assert list(ledger.entries(actor="eve")) == []


NAMES = st.text(alphabet="aAbB_%*/\\é한\U0001f600", min_size=1, max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(subjects=st.lists(NAMES, min_size=1, max_size=8), asked=NAMES)
def test_a_star_stands_for_any_ending(ledger: Ledger, database: Database, subjects: list[str], asked: str):
    with database.begin() as connection:
        for subject in subjects:
            ledger.append(connection, Change(actor="ana", action="a.b", subject=subject))
    expected = [
        entry.seq
        for entry in ledger.entries()
        if entry.subject == asked or (asked.endswith("*") and entry.subject.startswith(asked[:-1]))
    ]
    assert [entry.seq for entry in ledger.entries(subject=asked)] == expected
    assert [entry.seq for entry in ledger.entries(subject=asked, newest_first=True)] == expected[::-1]


def test_entries_are_filtered_by_time(database: Database):
    for hour in (9, 11, 10):  # a clock that went back
        with database.begin() as connection:
            Ledger(database, FixedClock(at=AT.replace(hour=hour))).append(connection, change(hour))
    ledger = Ledger(database, FixedClock(at=AT))
    ten, eleven = AT.replace(hour=10), AT.replace(hour=11)
    assert [entry.seq for entry in ledger.entries(since=ten)] == [2, 3]
    assert [entry.seq for entry in ledger.entries(since=ten, until=eleven)] == [3]
    in_seoul = eleven.astimezone(timezone(timedelta(hours=9)))
    assert [entry.seq for entry in ledger.entries(until=in_seoul)] == [1, 3]


@pytest.mark.parametrize("newest_first", [False, True])
def test_pages_meet_without_a_gap_or_a_repeat(ledger: Ledger, database: Database, newest_first: bool):
    with database.begin() as connection:
        for number in range(2_003):
            ledger.append(connection, change(number))
    found = [entry.seq for entry in ledger.entries(newest_first=newest_first)]
    assert found == sorted(range(1, 2_004), reverse=newest_first)
    some = [entry.seq for entry in ledger.entries(newest_first=newest_first, limit=1_500, after_seq=1, until_seq=1_900)]
    assert some == sorted(range(2, 1_901), reverse=newest_first)[:1_500]


@pytest.mark.parametrize("asked", [{"subject": "reports/r1"}, {"subject": "reports/*"}, {"actor": "a*"}, {"since": AT}])
def test_filters_are_served_by_an_index(database: Database, asked: dict[str, Any]):
    seen: list[tuple[str, Any]] = []
    ledger = Ledger(database, FixedClock(at=AT))
    listener = lambda _c, _cur, statement, parameters, *_: seen.append((statement, parameters))  # noqa: E731
    sa.event.listen(database.engine, "before_cursor_execute", listener)
    list(ledger.entries(**asked))
    sa.event.remove(database.engine, "before_cursor_execute", listener)
    (statement, parameters) = next(one for one in seen if "FROM ledger_entry" in one[0])
    with database.read() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    assert "SEARCH ledger_entry USING" in str(plan)


def rewrite(database: Database, statement: str) -> None:
    """Change the ledger as somebody who owns the database file can: without its triggers."""
    with database.begin() as connection:
        connection.execute(sa.text("DROP TRIGGER ledger_entry_refuses_update"))
        connection.execute(sa.text("DROP TRIGGER ledger_entry_refuses_delete"))
        connection.execute(sa.text(statement))


def test_a_damaged_row_is_named_and_does_not_stop_the_walk(ledger: Ledger, database: Database):
    append(ledger, database, 3)
    rewrite(database, "UPDATE ledger_entry SET details = '{broken' WHERE seq = 2")
    assert ledger.verify().first_bad == 2


def test_an_end_that_snapshots_name_can_not_be_cut_off_unseen(
    ledger: Ledger, database: Database, snapshots: SnapshotStore
):
    append(ledger, database, 2)
    provenance = Provenance(code_version="c", inputs={})
    snapshots.publish("market/bars", pa.table({"x": [1]}), provenance=provenance, actor="ana")
    assert ledger.verify().is_intact
    with sqlite3.connect(str(database.engine.url.database)) as stranger:  # a connection without our foreign keys
        stranger.execute("DROP TRIGGER ledger_entry_refuses_delete")
        stranger.execute("DELETE FROM ledger_entry WHERE seq > 1")
    verification = ledger.verify()
    assert verification.first_bad == 2
    assert "names entry 3" in verification.problem


def test_processes_that_append_at_once_make_one_chain(ledger: Ledger, database: Database):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.map(append_some, [database.url] * 4, chunksize=1)
    found = ledger.verify()
    assert (found.is_intact, found.entries) == (True, 100)


def test_a_snapshot_published_during_the_walk_is_no_cut(ledger: Ledger, database: Database, snapshots: SnapshotStore):
    append(ledger, database, 2)
    published: list[int] = []

    def publish(_done: int, _all: int) -> None:
        provenance = Provenance(code_version="c", inputs={})
        published.append(len(published))
        snapshots.publish("market/bars", pa.table({"x": published}), provenance=provenance, actor="ana")

    assert ledger.verify(progress=publish).is_intact
    assert published
