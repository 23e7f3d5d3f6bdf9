from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.kernel.change import Change
from mlops_assets.ledger.entry import GENESIS_HASH, Entry, chain, verify_chain
from mlops_assets.ledger.store import Ledger, read_export
from mlops_assets.storage.parquet.snapshots import Provenance, SnapshotStore
from mlops_assets.storage.sql.database import Database

AT = datetime(2026, 1, 5, 12, tzinfo=UTC)


def change(number: int = 1) -> Change:
    return Change(
        actor="ana", action="report.seal", subject=f"reports/r{number}", after="f" * 64, details={"n": number}
    )


def entries(count: int) -> list[Entry]:
    made: list[Entry] = []
    for number in range(count):
        made.append(chain(change(number), after=made[-1] if made else None, at=AT))
    return made


def append(ledger: Ledger, database: Database, count: int) -> None:
    for number in range(count):
        with database.begin() as connection:
            ledger.append(connection, change(number))


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


TAMPERINGS: dict[str, Callable[[list[Entry], int], list[Entry]]] = {
    "edit": lambda chained, at: [*chained[:at], replace(chained[at], actor="eve"), *chained[at + 1 :]],
    "remove": lambda chained, at: chained[:at] + chained[at + 1 :],
    "repeat": lambda chained, at: [*chained[: at + 1], chained[at], *chained[at + 1 :]],
    "swap": lambda chained, at: [*chained[:at], chained[at + 1], chained[at], *chained[at + 2 :]],
}


@given(kind=st.sampled_from(sorted(TAMPERINGS)), at=st.integers(min_value=0, max_value=7))
def test_every_tampering_before_the_end_is_found_and_located(kind: str, at: int):
    verification = verify_chain(TAMPERINGS[kind](entries(9), at))
    assert not verification.is_intact
    assert verification.entries in {at, at + 1}
    assert verify_chain(entries(9)).is_intact


def test_a_resealed_edit_breaks_the_link_of_the_next_entry():
    chained = entries(3)
    forged = chain(Change(actor="eve", action="report.seal", subject="reports/x"), after=chained[0], at=AT)
    verification = verify_chain([chained[0], forged, chained[2]])
    assert verification.first_bad == 3


@pytest.mark.parametrize("statement", ["UPDATE ledger_entry SET actor = 'eve'", "DELETE FROM ledger_entry"])
def test_the_database_refuses_to_change_the_ledger(ledger: Ledger, database: Database, statement: str):
    append(ledger, database, 2)
    with pytest.raises(sa.exc.IntegrityError, match="append-only"), database.begin() as connection:
        connection.execute(sa.text(statement))
    assert ledger.verify().entries == 2


def test_an_entry_vanishes_with_the_transaction_that_failed(ledger: Ledger, database: Database):
    with pytest.raises(RuntimeError, match="after all"), database.begin() as connection:
        ledger.append(connection, change())
        raise RuntimeError("not after all")
    assert ledger.verify().entries == 0


def test_an_export_verifies_without_the_database(ledger: Ledger, database: Database, tmp_path: Path):
    append(ledger, database, 5)
    exported = tmp_path / "ledger.jsonl"
    assert ledger.export(exported) == 5
    assert verify_chain(read_export(exported)) == ledger.verify()
    exported.write_text(exported.read_text().replace("reports/r2", "reports/r9"))
    assert verify_chain(read_export(exported)).first_bad == 3


def test_entries_are_filtered_and_paged(ledger: Ledger, database: Database):
    append(ledger, database, 5)
    assert [entry.seq for entry in ledger.entries(after_seq=2, limit=2)] == [3, 4]
    assert [entry.seq for entry in ledger.entries(subject="reports/r3")] == [4]
    assert list(ledger.entries(actor="eve")) == []


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


@pytest.mark.parametrize("line", [b"no json", b'{"seq": 2}', b"[]", b"\xff"])
def test_a_damaged_line_of_an_export_is_named(ledger: Ledger, database: Database, tmp_path: Path, line: bytes):
    append(ledger, database, 3)
    exported = tmp_path / "ledger.jsonl"
    ledger.export(exported)
    lines = exported.read_bytes().splitlines()
    exported.write_bytes(b"\n".join([lines[0], line, lines[2]]))
    assert verify_chain(read_export(exported)).first_bad == 2


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


def test_a_checkpoint_shows_a_cut_end_and_a_rewritten_chain(ledger: Ledger, database: Database):
    append(ledger, database, 3)
    seen = ledger.verify()
    append(ledger, database, 1)
    assert ledger.holds(seen.entries, seen.head_hash)
    rewrite(database, "DELETE FROM ledger_entry WHERE seq > 2")
    assert ledger.verify().is_intact
    assert not ledger.holds(seen.entries, seen.head_hash)
