from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from mlops_assets.governance import rows
from mlops_assets.kernel.clock import SystemClock
from mlops_assets.kernel.fingerprint import file_sha256
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.parquet.snapshots import SnapshotStore
from mlops_assets.storage.sql.database import Database, SchemaMismatch, alembic_config
from mlops_assets.storage.sql.tables import metadata


def test_the_migrations_make_the_tables_that_the_code_declares(database: Database):
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_migrating_again_changes_nothing(database: Database):
    with database.read() as connection:
        before = connection.execute(sa.text("SELECT sql FROM sqlite_master")).all()
    database.migrate()
    with database.read() as connection:
        assert connection.execute(sa.text("SELECT sql FROM sqlite_master")).all() == before


def test_a_newer_schema_is_refused_in_words(database: Database):
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaMismatch, match="Run the version of mlops_assets that made it"):
        database.migrate()


def test_a_failed_transaction_leaves_no_row(database: Database):
    insert = sa.text("INSERT INTO dataset_head VALUES ('a', 1)")
    with pytest.raises(sa.exc.IntegrityError), database.begin() as connection:
        connection.execute(insert)
        connection.execute(insert)
    with database.read() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM dataset_head")) == 0


def test_commits_are_durable_and_readers_not_blocked(database: Database, tmp_path: Path):
    with database.read() as connection:
        assert connection.scalar(sa.text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(sa.text("PRAGMA synchronous")) == 2
    with database.begin() as connection:
        connection.execute(sa.text("INSERT INTO dataset_head VALUES ('a', 1)"))
        with sqlite3.connect(tmp_path / "platform.db") as other:
            assert other.execute("SELECT count(*) FROM dataset_head").fetchone() == (0,)


def test_a_naive_time_is_refused(database: Database):
    with pytest.raises(sa.exc.StatementError, match="naive"), database.begin() as connection:
        connection.execute(
            sa.insert(metadata.tables["report"]).values(
                sha256="a",
                name="n",
                html_sha256="b",
                inputs={},
                created_at=datetime.now(UTC).replace(tzinfo=None),
                created_by="x",
            )
        )


def test_times_come_back_aware(database: Database):
    at = datetime(2020, 1, 1, 12, tzinfo=UTC)
    table = metadata.tables["report"]
    with database.begin() as connection:
        connection.execute(
            sa.insert(table).values(sha256="a", name="n", html_sha256="b", inputs={}, created_at=at, created_by="x")
        )
    with database.read() as connection:
        assert connection.scalar(sa.select(table.c.created_at)) == at


def test_snapshots_of_the_first_schema_are_read_after_the_migration(tmp_path: Path):
    """A home as 0001 left it: one file a snapshot, no details, no bounds."""
    database = Database(f"sqlite:///{tmp_path / 'old.db'}")
    with database.begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(sa.text("INSERT INTO dataset_head VALUES ('market/bars', 1)"))
        connection.execute(
            sa.text("INSERT INTO ledger_entry VALUES (1, :at, 'a', 'b', 'c', NULL, NULL, '', '{}', 'x', 'y')"),
            {"at": "2024-05-01 00:00:00.000000"},
        )
        sha256 = write_parquet(tmp_path / "market/bars")
        connection.execute(
            sa.text(
                "INSERT INTO snapshot VALUES "
                "('market/bars', 1, NULL, 'f', 's', '{\"value\": \"double\"}', 'c', '{}', 2, 9, :at, 'ana', 1)"
            ),
            {"at": "2024-05-01 00:00:00.000000"},
        )
        connection.execute(
            sa.text("INSERT INTO snapshot_file VALUES ('market/bars', 1, :path, :sha256, 9, 2)"),
            {"path": f"market/bars/{sha256}.parquet", "sha256": sha256},
        )
    database.migrate()
    ledger = Ledger(database, SystemClock())
    store = SnapshotStore(tmp_path, database, ledger, SystemClock())
    old = store.head("market/bars")
    assert (old.details, old.files[0].first_at) == ({}, None)
    assert store.read(old)["value"].to_pylist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("before", "after"),
    [("in_review", "revoked"), ("approved", "revoked"), ("rejected", "rejected"), ("expired", "expired")],
)
def test_requests_of_the_first_schema_are_kept_and_none_stays_open(tmp_path: Path, before: str, after: str):
    """What was bound as a whole becomes a part; an item without evidence does not make the rest unreadable."""
    database = Database(f"sqlite:///{tmp_path / 'old.db'}")
    evidence = '{"items": [{"name": "report", "evidence": null, "note": "none yet"}]}'
    with database.begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        connection.execute(
            sa.text(
                "INSERT INTO approval VALUES ('a', 's', 'bound', 1, :evidence, :state, 2, 'ana', "
                "'2024-05-01 00:00:00.000000', '2024-05-15 00:00:00.000000')"
            ),
            {"evidence": evidence, "state": before},
        )
        connection.execute(
            sa.text(
                "INSERT INTO approval_decision VALUES ('a', 'ben', 'approve', 'fine', '2024-05-02 00:00:00.000000')"
            )
        )
    database.migrate()
    with database.read() as connection:
        (found,) = rows.select(connection)
    assert (found.state, found.is_intact, found.submitted_by) == (after, True, "ana")
    assert [(part.name, part.fingerprint) for part in found.evidence.parts] == [
        ("everything, as it was bound before parts", "bound"),
        ("report", "none"),
    ]
    assert [(one.approver, one.verdict, one.note) for one in found.decisions] == [("ben", "approve", "fine")]
    with pytest.raises(sa.exc.IntegrityError, match="does not move that way"), database.begin() as connection:
        connection.execute(sa.text("UPDATE approval SET state = 'in_review'"))


def write_parquet(folder: Path) -> str:
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"value": [1.0, 2.0]}), folder / "new")
    sha256 = file_sha256(folder / "new")
    (folder / "new").rename(folder / f"{sha256}.parquet")
    return sha256
