"""REPLACE of SQLite removes the row in its way without a trigger of DELETE: by key, or by the hidden rowid."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_assets.storage.sql.database import Database

ROWS = (
    "INSERT INTO ledger_entry VALUES (1, 't', 'a', 'b', 'c', NULL, NULL, '', '{}', '" + "0" * 64 + "', 'h')",
    "INSERT INTO approval VALUES ('a1', 's', 2, '{}', 'e', 1, 1, NULL, 'draft', 0, '', '[]', 'bob', 't',"
    " NULL, NULL, NULL, NULL, NULL, NULL, 1)",
    "INSERT INTO approval VALUES ('a2', 's', 2, '{}', 'e', 2, 1, NULL, 'draft', 0, '', '[]', 'bob', 't',"
    " NULL, NULL, NULL, NULL, NULL, NULL, 1)",
    "INSERT INTO approval_party VALUES ('a1', 'bob', 'author')",
    "INSERT INTO principal VALUES ('bob', 'person', '', '', 'b', '[]', 1, 'hand', 't', 't', 1)",
    "INSERT INTO principal VALUES ('ann', 'person', '', '', 'a', '[]', 1, 'hand', 't', 't', 1)",
    "INSERT INTO api_token VALUES ('t1', 'bob', 'x1', '[]', '', 't', 'ann', '', 0, 'u', NULL, 1)",
    "INSERT INTO api_token VALUES ('t2', 'bob', 'x2', '[]', '', 't', 'ann', '', 0, 'u', NULL, 1)",
    "INSERT INTO feature_release VALUES ('v', '1', 'f', 't', 'a', 1)",
)
REFUSED = {
    "a party": "INSERT OR REPLACE INTO approval_party (rowid, approval_id, principal, part) VALUES (1, 'a2', 'z', 'x')",
    "a release": 'INSERT OR REPLACE INTO feature_release (rowid, "view", version, fingerprint, registered_at,'
    " registered_by, ledger_seq) VALUES (1, 'w', '2', 'f', 't', 'a', 1)",
    "a request by its row": "UPDATE OR REPLACE approval SET rowid = 1 WHERE id = 'a2'",
    "a token by its id": "UPDATE OR REPLACE api_token SET id = 't2' WHERE id = 't1'",
    "a token by its row": "UPDATE OR REPLACE api_token SET rowid = 2, revoked_at = 't' WHERE id = 't1'",
    "a principal by its name": "UPDATE OR REPLACE principal SET name = 'ann' WHERE name = 'bob'",
    "a principal by its subject": "UPDATE OR REPLACE principal SET oidc_subject = 'a' WHERE name = 'bob'",
    "a new principal": "INSERT OR REPLACE INTO principal VALUES"
    " ('eve', 'person', '', '', 'a', '[]', 1, 'hand', 't', 't', 1)",
    "who issued a token": "UPDATE api_token SET issued_by = 'bob' WHERE id = 't1'",
    "what a token was issued with": "UPDATE api_token SET issued_with = 'x', revoked_at = 't' WHERE id = 't1'",
    "a verdict before its request": "INSERT INTO approval_decision VALUES ('a9', 'x', 'approve', '', 'e', '', '', 't')",
    "an override before its request": "INSERT INTO approval_override VALUES ('a9', 'x', 'e', '', '', 't')",
}


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody with the file and SQLite's own defaults: no foreign keys, no recursive triggers."""
    database = Database(f"sqlite:///{tmp_path / 'platform.db'}")
    database.migrate()
    database.dispose()
    connection = sqlite3.connect(tmp_path / "platform.db", isolation_level=None)
    for row in ROWS:
        connection.execute(row)
    yield connection
    connection.close()


@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED)
def test_nothing_is_replaced_or_put_in_before_its_time(stranger: sqlite3.Connection, statement: str):
    before = list(stranger.iterdump())
    with pytest.raises(sqlite3.IntegrityError):
        stranger.execute(statement)
    assert list(stranger.iterdump()) == before
