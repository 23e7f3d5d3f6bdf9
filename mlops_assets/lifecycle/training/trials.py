"""Which parameters were ever tried on a model: every trial of every sweep, once, failed ones too.

Their number deflates a Sharpe ratio later: the best of many tries is good by luck alone. So none is ever forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa

from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import Conflict
from mlops_assets.kernel.fingerprint import Json, fingerprint
from mlops_assets.storage.journal import Journal
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import ledger_entry, trial

FINISH = "sweep.finish"

Values = Mapping[str, int | float]
"""Parameters by name."""


class TrialState(StrEnum):
    """How a trial ended."""

    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One set of parameters that was tried. `value` is its loss, lower is better; None if it failed."""

    study: str
    number: int
    model: str
    parameters: Values
    value: float | None
    state: TrialState
    training_set_fingerprint: str
    run_id: str
    at: datetime
    by: str


class TrialLedger:
    """Keeps trials; the database refuses to change or delete one."""

    def __init__(self, database: Database, journal: Journal, clock: Clock) -> None:
        self._database, self._journal, self._clock = database, journal, clock

    def record(
        self,
        *,
        study: str,
        number: int,
        model: str,
        parameters: Values,
        value: float | None,
        training_set_fingerprint: str,
        run_id: str,
        by: str,
    ) -> Trial:
        """Keep a trial that ended; without a value it failed.

        Raises:
            Conflict: if that trial is kept already: another process runs the same sweep.
        """
        made = Trial(
            study=study,
            number=number,
            model=model,
            parameters=dict(parameters),
            value=value,
            state=TrialState.FAILED if value is None else TrialState.COMPLETE,
            training_set_fingerprint=training_set_fingerprint,
            run_id=run_id,
            at=self._clock.now(),
            by=by,
        )
        with self._database.begin() as connection:
            same = (trial.c.study == study, trial.c.number == number)
            if connection.scalar(sa.select(trial.c.by).where(*same)) is not None:
                raise Conflict(
                    f"Trial {number} of study {study[:12]} of {model} is recorded already: another process runs the "
                    "same sweep. Wait until it is done, then ask again; what is finished is not repeated."
                )
            connection.execute(sa.insert(trial).values(asdict(made)))
        return made

    def of_study(self, study: str) -> list[Trial]:
        """Return a study's trials by number."""
        return self._select(trial.c.study == study)

    def list(self, model: str) -> list[Trial]:
        """Return every trial of a model, oldest study first."""
        return self._select(trial.c.model == model)

    def count(self, model: str) -> int:
        """Return how many trials a model ever had, failed ones too."""
        with self._database.read() as connection:
            found = connection.scalar(sa.select(sa.func.count()).select_from(trial).where(trial.c.model == model))
        return found or 0

    def finish(self, *, study: str, model: str, best: Trial | None, by: str) -> int | None:
        """Write into the ledger that a sweep has nothing left to do; return the entry's number.

        A sweep that is asked for again and finds nothing new to try writes nothing and returns None.
        """
        subject = f"sweeps/{model}@{study[:12]}"
        latest = (
            sa.select(ledger_entry.c.after)
            .where(ledger_entry.c.action == FINISH, ledger_entry.c.subject == subject)
            .order_by(ledger_entry.c.seq.desc())
            .limit(1)
        )
        with self._database.begin() as connection:
            rows = _trials(connection, trial.c.study == study)
            before, after = connection.scalar(latest), fingerprint([_identity(one) for one in rows])
            if before == after:
                return None
            details: dict[str, Json] = {
                "study": study,
                "trials": len(rows),
                "failed": sum(one.state is TrialState.FAILED for one in rows),
                "best": None if best is None else _identity(best),
            }
            change = Change(actor=by, action=FINISH, subject=subject, before=before, after=after, details=details)
            return self._journal.append(connection, change)

    def _select(self, where: sa.ColumnElement[bool]) -> list[Trial]:
        with self._database.read() as connection:
            return _trials(connection, where)


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Return the trial with the lowest loss, the first of equals, or None if all failed."""
    complete = [(one.value, one.number, one) for one in trials if one.value is not None]
    return min(complete)[2] if complete else None


def _trials(connection: sa.Connection, where: sa.ColumnElement[bool]) -> list[Trial]:
    first_of_study = sa.func.min(trial.c.at).over(partition_by=trial.c.study)
    ordered = sa.select(trial).where(where).order_by(first_of_study, trial.c.study, trial.c.number)
    return [Trial(**{**row, "state": TrialState(row["state"])}) for row in connection.execute(ordered).mappings()]


def _identity(one: Trial) -> dict[str, Json]:
    return {"number": one.number, "parameters": dict(one.parameters), "value": one.value, "state": one.state.value}
