"""What the database itself refuses, whoever asks: conditions on a row, as triggers of SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from alembic import op

_HIDDEN_KEY = {
    "INSERT": ("EXISTS (SELECT 1 FROM {table} o WHERE o.rowid = NEW.rowid)", "{table} holds this row already"),
    "UPDATE": ("NEW.rowid <> OLD.rowid", "a row of {table} keeps its place"),
}
"""Rows of SQLite have a second key, and REPLACE removes the row that holds it without a trigger of DELETE."""

_AS_CONSTRAINT = "USING ERRCODE = 'integrity_constraint_violation'"

Condition = tuple[str, str]
"""What must not be true of NEW (and OLD), and the words of the refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Refuses an operation on a table where a condition holds; without conditions, always."""

    table: str
    operation: Literal["INSERT", "UPDATE", "DELETE"]
    name: str
    refuses: Sequence[Condition]

    @property
    def trigger(self) -> str:
        return f"{self.table}_{self.name}"


def create(guard: Guard) -> None:
    """Make the guard's trigger."""
    refuses = guard.refuses or (("1 = 1", f"{guard.table} is never changed or deleted"),)
    event = f"BEFORE {guard.operation} ON {guard.table} FOR EACH ROW"
    if op.get_bind().dialect.name == "postgresql":
        body = " ".join(
            f"IF {when} THEN RAISE EXCEPTION '{_quoted(why)}' {_AS_CONSTRAINT}; END IF;" for when, why in refuses
        )
        row = "OLD" if guard.operation == "DELETE" else "NEW"
        op.execute(
            f"CREATE OR REPLACE FUNCTION {guard.trigger}() RETURNS trigger AS "
            f"$$ BEGIN {body} RETURN {row}; END $$ LANGUAGE plpgsql"
        )
        op.execute(f"CREATE TRIGGER {guard.trigger} {event} EXECUTE FUNCTION {guard.trigger}()")
    else:
        if guard.refuses and guard.operation in _HIDDEN_KEY:
            refuses = (*refuses, tuple(words.format(table=guard.table) for words in _HIDDEN_KEY[guard.operation]))
        body = " ".join(f"SELECT RAISE(ABORT, '{_quoted(why)}') WHERE {when};" for when, why in refuses)
        op.execute(f"CREATE TRIGGER {guard.trigger} {event} BEGIN {body} END")


def refuse_truncation(*tables: str) -> None:
    """Refuse TRUNCATE of PostgreSQL, which fires no trigger of a row; SQLite's DELETE of everything is one of rows."""
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute(
        "CREATE OR REPLACE FUNCTION refuses_truncate() RETURNS trigger AS $$ BEGIN "
        f"RAISE EXCEPTION '% is never emptied', TG_TABLE_NAME {_AS_CONSTRAINT}; END $$ LANGUAGE plpgsql"
    )
    for table in tables:
        op.execute(
            f"CREATE TRIGGER {table}_refuses_truncate BEFORE TRUNCATE ON {table} EXECUTE FUNCTION refuses_truncate()"
        )


def refuses_another(table: str, *keys: Sequence[str]) -> Guard:
    """Return the guard that refuses a row whose key is taken: INSERT OR REPLACE of SQLite fires no DELETE trigger."""
    same = (" AND ".join(f"o.{name} = NEW.{name}" for name in key) for key in keys)
    taken = " OR ".join(f"EXISTS (SELECT 1 FROM {table} o WHERE {one})" for one in same)
    refusal = (taken, f"{table} holds this row already and is never written over")
    return Guard(table=table, operation="INSERT", name="refuses_another", refuses=(refusal,))


def _quoted(words: str) -> str:
    return words.replace("'", "''")
