"""What the database itself refuses, whoever asks: SQLite always, PostgreSQL where a server is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import FixedClock
from mlops_assets.ledger.entry import GENESIS_HASH
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import metadata
from tests.ledger.chains import AT, append, entries
from tests.ledger.databases import has_postgres, postgres_cluster

needs_postgres = pytest.mark.skipif(not has_postgres(), reason="no PostgreSQL server is installed here")
VALUES = "(seq, at, actor, action, subject, reason, details, previous_hash, hash) VALUES "
ROW = "({seq}, '2026-01-05 12:00:00', 'eve', 'a.b', 's', '', '{{}}', '{previous}', '{hash}')"


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with postgres_cluster() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def guarded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A migrated database of each kind, empty for each test."""
    if request.param == "sqlite":
        made = Database(f"sqlite:///{tmp_path / 'platform.db'}")
        made.migrate()
        yield made
        return
    cluster: str = request.getfixturevalue("cluster")
    name = f"t{abs(hash(request.node.name)):x}"
    admin = sa.create_engine(cluster, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    made = Database(cluster.removesuffix("postgres") + name)
    made.migrate()
    yield made
    made.dispose()
    admin.dispose()


@pytest.fixture
def guarded_ledger(guarded: Database) -> Ledger:
    ledger = Ledger(guarded, FixedClock(at=AT))
    append(ledger, guarded, 3)
    return ledger


def hashes() -> list[str]:
    return [GENESIS_HASH, *(entry.hash for entry in entries(3))]


def insert(verb: str, *, seq: str, previous: str, own: str) -> str:
    return f"{verb} INTO ledger_entry {VALUES}" + ROW.format(seq=seq, previous=previous, hash=own)


NEW = "e" * 64
REFUSED = {
    "an edit": lambda: "UPDATE ledger_entry SET actor = 'eve' WHERE seq = 2",
    "a deletion": lambda: "DELETE FROM ledger_entry WHERE seq = 2",
    "a deletion of everything": lambda: "DELETE FROM ledger_entry",
    "a second beginning": lambda: insert("INSERT", seq="0", previous=GENESIS_HASH, own=NEW),
    "a beginning again": lambda: insert("INSERT", seq="1", previous=GENESIS_HASH, own=NEW),
    "a gap": lambda: insert("INSERT", seq="5", previous=hashes()[3], own=NEW),
    "an entry without number": lambda: insert("INSERT", seq="NULL", previous=hashes()[3], own=NEW),
    "a fork": lambda: insert("INSERT", seq="4", previous=hashes()[2], own=NEW),
    "a hash that is taken": lambda: insert("INSERT", seq="4", previous=hashes()[3], own=hashes()[2]),
    "two that do not follow": lambda: (
        insert("INSERT", seq="4", previous=hashes()[3], own=NEW)
        + ", "
        + ROW.format(seq="6", previous=NEW, hash="d" * 64)
    ),
}
ONLY_SQLITE = {
    "a replacement": lambda: insert("INSERT OR REPLACE", seq="2", previous=hashes()[1], own=NEW),
    "a replacement of the last": lambda: insert("INSERT OR REPLACE", seq="3", previous=hashes()[2], own=NEW),
    "a replacement by hash": lambda: insert("INSERT OR REPLACE", seq="4", previous=hashes()[3], own=hashes()[1]),
    "an update that replaces": lambda: "UPDATE OR REPLACE ledger_entry SET seq = 1 WHERE seq = 2",
    "an upsert": lambda: (
        insert("INSERT", seq="2", previous=hashes()[1], own=NEW) + " ON CONFLICT (seq) DO UPDATE SET actor = 'eve'"
    ),
}
ONLY_POSTGRES = {
    "a truncation": lambda: "TRUNCATE ledger_entry CASCADE",
    "an upsert": ONLY_SQLITE["an upsert"],
}


def attempts() -> Iterator[object]:
    for kind, cases in (("sqlite", {**REFUSED, **ONLY_SQLITE}), ("postgresql", {**REFUSED, **ONLY_POSTGRES})):
        marks = [needs_postgres] if kind == "postgresql" else []
        for name, statement in cases.items():
            yield pytest.param(kind, statement, id=f"{kind}: {name}", marks=marks)


@pytest.mark.parametrize(("guarded", "statement"), list(attempts()), indirect=["guarded"])
def test_the_database_refuses(guarded: Database, guarded_ledger: Ledger, statement):
    with pytest.raises(sa.exc.DatabaseError), guarded.begin() as connection:
        connection.execute(sa.text(statement().replace(":", r"\:")))
    found = guarded_ledger.verify()
    assert (found.is_intact, found.head_hash) == (True, hashes()[3])


def test_entries_that_follow_are_let_through(guarded: Database, guarded_ledger: Ledger):
    with guarded.begin() as connection:
        for number in (4, 5):
            assert (
                guarded_ledger.append(connection, Change(actor="ana", action="a.b", subject="s", before=None)) == number
            )
    found = guarded_ledger.verify()
    assert (found.is_intact, found.entries) == (True, 5)
    assert [entry.seq for entry in guarded_ledger.entries(subject="reports/*", newest_first=True)] == [3, 2, 1]


def test_details_of_every_shape_verify(guarded: Database, guarded_ledger: Ledger):
    details = {"x": 0.1, "big": 1e22, "whole": 2.0, "words": "한 \U0001f600 \"'\\", "nested": [{"b": None, "a": True}]}
    with guarded.begin() as connection:
        guarded_ledger.append(connection, Change(actor="ana", action="a.b", subject="s", details=details))
    assert guarded_ledger.verify().is_intact
    assert next(guarded_ledger.entries(after_seq=3)).details == details


def test_the_schema_is_the_declared_one(guarded: Database):
    with guarded.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata) == []


def test_what_is_written_once_is_not_written_over(tmp_path: Path):
    """INSERT OR REPLACE of SQLite deletes the older row without a trigger of DELETE."""
    made = Database(f"sqlite:///{tmp_path / 'platform.db'}")
    made.migrate()
    ledger = Ledger(made, FixedClock(at=AT))
    append(ledger, made, 1)
    row = "INTO feature_release VALUES ('momentum', '1.0.0', '{}', '2026-01-05', 'ana', 1)"
    with made.begin() as connection:
        connection.execute(sa.text("INSERT " + row.format("a" * 64)))
    with pytest.raises(sa.exc.IntegrityError, match="never written over"), made.begin() as connection:
        connection.execute(sa.text("INSERT OR REPLACE " + row.format("b" * 64)))


@needs_postgres
@pytest.mark.parametrize("guarded", ["postgresql"], indirect=True)
def test_nothing_that_is_kept_for_ever_is_emptied(guarded: Database):
    for table in ("approval", "approval_decision", "principal", "api_token", "feature_release", "alert"):
        with pytest.raises(sa.exc.IntegrityError, match="never emptied"), guarded.begin() as connection:
            connection.execute(sa.text(f"TRUNCATE {table} CASCADE"))
