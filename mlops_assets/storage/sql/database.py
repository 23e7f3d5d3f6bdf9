"""How the platform talks to SQL: one engine, serialised write transactions, migrations by Alembic.

SQLite in write-ahead mode by default, PostgreSQL by URL. Which tables there are is said in `tables.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event

from mlops_assets.kernel.errors import PlatformError

_MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_TIMEOUT_MS = 30_000
_WRITE_LOCK_KEY = 7_306_031


class SchemaMismatch(PlatformError):
    """The database was made by another version of the platform."""

    code = "schema_mismatch"


class Database:
    """One SQL database. Safe to share between threads; every process opens its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine: sa.Engine | None = None
        self._lock = threading.Lock()

    @property
    def engine(self) -> sa.Engine:
        """The engine, made at first use so that building the object graph does no I/O."""
        with self._lock:
            if self._engine is None:
                self._engine = _engine(self.url)
            return self._engine

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Open a write transaction. Writers are serialised from its first statement to its commit."""
        with self.engine.connect() as connection:
            connection = connection.execution_options(writes=True)
            with connection.begin():
                if connection.dialect.name == "postgresql":
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITE_LOCK_KEY)))
                yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a consistent read; never blocked by a writer."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    def migrate(self) -> None:
        """Bring the schema to this code's version.

        Raises:
            SchemaMismatch: if the database is newer than this code.
        """
        from alembic import command
        from alembic.util.exc import CommandError

        if self.engine.dialect.name == "sqlite" and (name := self.engine.url.database) and name != ":memory:":
            Path(name).parent.mkdir(parents=True, exist_ok=True)
        try:
            with self.begin() as connection:
                config = alembic_config()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except CommandError as error:
            raise SchemaMismatch(
                f"{self.engine.url.render_as_string()} has a schema this version does not know ({error}). "
                "Run the version of mlops_assets that made it, or a newer one."
            ) from error

    def dispose(self) -> None:
        """Close every pooled connection."""
        if self._engine is not None:
            self._engine.dispose()


def alembic_config():  # noqa: ANN201 - the type would import Alembic for every reader of this module
    """Return Alembic's configuration for the migrations that ship with the package."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config


def _engine(url: str) -> sa.Engine:
    # Errors show statements without values: a value may be the hash of a token, or the words of an alert.
    engine = sa.create_engine(url, pool_pre_ping=not url.startswith("sqlite"), hide_parameters=True)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _tune_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _tune_sqlite(connection, _record) -> None:  # noqa: ANN001 - the driver's own connection
    """Hand transactions to SQLAlchemy and make commits durable (recipe of SQLAlchemy's pysqlite page)."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    """Take the write lock at once: a read that later writes would fail instead of waiting."""
    is_write = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")
