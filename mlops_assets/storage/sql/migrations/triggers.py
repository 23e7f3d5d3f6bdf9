"""What the database itself refuses, whoever asks: conditions on a row, as triggers of SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from alembic import op

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
        body = " ".join(f"IF {when} THEN RAISE EXCEPTION '{_quoted(why)}'; END IF;" for when, why in refuses)
        row = "OLD" if guard.operation == "DELETE" else "NEW"
        op.execute(
            f"CREATE OR REPLACE FUNCTION {guard.trigger}() RETURNS trigger AS "
            f"$$ BEGIN {body} RETURN {row}; END $$ LANGUAGE plpgsql"
        )
        op.execute(f"CREATE TRIGGER {guard.trigger} {event} EXECUTE FUNCTION {guard.trigger}()")
    else:
        body = " ".join(f"SELECT RAISE(ABORT, '{_quoted(why)}') WHERE {when};" for when, why in refuses)
        op.execute(f"CREATE TRIGGER {guard.trigger} {event} BEGIN {body} END")


def _quoted(words: str) -> str:
    return words.replace("'", "''")
