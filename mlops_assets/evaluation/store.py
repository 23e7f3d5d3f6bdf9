"""What was replayed and which reports were sealed: rows in SQL, bytes in blobs, one ledger entry each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from mlops_assets.evaluation.checks import Verdict
from mlops_assets.evaluation.evaluate import Evaluation
from mlops_assets.evaluation.report import Kpi, SealedReport
from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import Conflict, NotFound, near_misses
from mlops_assets.storage.blobs import BlobStore
from mlops_assets.storage.journal import Journal
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import ledger_entry, replay, report, report_kpi

SEAL = "report.seal"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRecord:
    """What is remembered of one replay; its curve and fills are snapshots."""

    id: str
    scenario: str
    candidate: str
    result_fingerprint: str
    metrics: Mapping[str, float | None]
    verdicts: tuple[Verdict, ...]
    inputs: Mapping[str, str]
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReport:
    """One sealed report; the record and the HTML are blobs under their own hashes."""

    sha256: str
    name: str
    html_sha256: str
    inputs: Mapping[str, str]
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealing:
    """That a report was made the latest of its name; `runs` are the replays of its candidates, by candidate."""

    report: StoredReport
    runs: Mapping[str, str]


class ReportStore:
    """Remembers replays and sealed reports. Saving the same thing twice changes nothing."""

    def __init__(self, database: Database, journal: Journal, blobs: BlobStore, clock: Clock) -> None:
        self._database, self._journal, self._blobs, self._clock = database, journal, blobs, clock

    def save_replay(self, evaluation: Evaluation, *, actor: str) -> ReplayRecord:
        """Remember a replay, or return it if it is known.

        Raises:
            Conflict: if the same inputs gave another result before: then something that decides it is not named.
        """
        with self._database.begin() as connection:
            known = _find_replay(connection, evaluation.id)
            if known is None:
                known = self._insert_replay(connection, evaluation, actor)
        if known.result_fingerprint != evaluation.result.fingerprint:
            raise Conflict(
                f"replay {known.id} of {known.candidate} in {known.scenario} gave {known.result_fingerprint} on "
                f"{known.created_at:%Y-%m-%d} and {evaluation.result.fingerprint} now, from the same inputs. Compare "
                "the machine and its libraries with those of that day; the earlier result is kept."
            )
        return known

    def replay(self, replay_id: str) -> ReplayRecord:
        """Return one replay.

        Raises:
            NotFound: if there is none of that id.
        """
        with self._database.read() as connection:
            found = _find_replay(connection, replay_id)
        if found is None:
            raise NotFound(kind="replay", name=replay_id, remedy="Materialise its evaluation asset.")
        return found

    def seal(self, sealed: SealedReport, *, actor: str) -> StoredReport:
        """Keep a report and make it the latest of its name; sealing the latest again changes nothing."""
        self._blobs.put(sealed.record)
        html_sha256 = self._blobs.put(sealed.html)
        with self._database.begin() as connection:
            before = _find_latest(connection, sealed.name)
            if before is not None and before.sha256 == sealed.sha256:
                return before
            found = _find_report(connection, sealed.sha256)
            if found is None:
                found = self._insert_report(connection, sealed, html_sha256, actor)
            self._journal.append(
                connection,
                Change(
                    actor=actor,
                    action=SEAL,
                    subject=f"reports/{sealed.name}",
                    before=None if before is None else before.sha256,
                    after=sealed.sha256,
                    details={"html_sha256": found.html_sha256, "runs": _runs_of(sealed)},
                ),
            )
        return found

    def find_latest(self, name: str) -> StoredReport | None:
        """Return the report sealed last under `name`, or None."""
        with self._database.read() as connection:
            return _find_latest(connection, name)

    def latest(self, name: str) -> StoredReport:
        """Return the report sealed last under `name`.

        Raises:
            NotFound: if there is none.
        """
        if (found := self.find_latest(name)) is None:
            raise NotFound(kind="report", name=name, remedy=f"Materialise the asset reports/{name} first.")
        return found

    def get(self, sha256: str) -> StoredReport:
        """Return the report of that hash.

        Raises:
            NotFound: if there is none.
        """
        with self._database.read() as connection:
            found = _find_report(connection, sha256)
        if found is None:
            raise NotFound(kind="report", name=sha256, remedy="The history lists every sealed report.")
        return found

    def history(self, name: str | None = None) -> list[StoredReport]:
        """Return every sealed report, or those of one name, in the order of their first sealing."""
        statement = sa.select(report).order_by(report.c.created_at, report.c.sha256)
        if name is not None:
            statement = statement.where(report.c.name == name)
        with self._database.read() as connection:
            return [StoredReport(**row) for row in connection.execute(statement).mappings()]

    def sealings(self, name: str | None = None) -> list[Sealing]:
        """Return every sealing, or those of one name, the last first: the first of a name is of its latest report."""
        statement = (
            sa.select(*report.c, ledger_entry.c.details)
            .join(report, report.c.sha256 == ledger_entry.c.after)
            .where(ledger_entry.c.action == SEAL)
            .order_by(ledger_entry.c.seq.desc())
        )
        if name is not None:
            statement = statement.where(report.c.name == name)
        with self._database.read() as connection:
            rows = [dict(row) for row in connection.execute(statement).mappings()]
        return [Sealing(runs=row.pop("details")["runs"], report=StoredReport(**row)) for row in rows]

    def kpis(self, sha256: str) -> dict[str, Kpi]:
        """Return the KPIs of a report, by key."""
        statement = sa.select(report_kpi).where(report_kpi.c.report_sha256 == sha256).order_by(report_kpi.c.key)
        with self._database.read() as connection:
            rows = connection.execute(statement).all()
        return {row.key: Kpi(key=row.key, value=row.value, unit=row.unit) for row in rows}

    def kpi(self, key: str) -> Kpi:
        """Return a KPI `<scenario>.<candidate>.<metric>` from the latest report of its scenario.

        Raises:
            NotFound: if there is no such report or KPI; a metric that is undefined has no KPI.
        """
        known = self.kpis(self.latest(key.split(".", maxsplit=1)[0]).sha256)
        if key not in known:
            near = near_misses(key, known)
            remedy = f"Did you mean {' or '.join(near)}?" if near else "The report lists its KPI keys."
            raise NotFound(kind="KPI", name=key, remedy=remedy)
        return known[key]

    def record(self, sha256: str) -> dict[str, Any]:
        """Return a report's record, verified against its hash."""
        content: dict[str, Any] = json.loads(self._blobs.get(sha256))
        return content

    def makers(self, sha256: str) -> frozenset[str]:
        """Name who sealed a report first and who ran its replays."""
        runs = [result["replay"] for result in self.record(sha256)["results"].values()]
        statement = sa.select(replay.c.created_by).where(replay.c.id.in_(runs))
        with self._database.read() as connection:
            replayed = connection.scalars(statement).all()
        return frozenset({self.get(sha256).created_by, *replayed})

    def html(self, sha256: str) -> bytes:
        """Return the HTML of the report whose record has that hash."""
        return self._blobs.get(self.get(sha256).html_sha256)

    def _insert_replay(self, connection: sa.Connection, evaluation: Evaluation, actor: str) -> ReplayRecord:
        record = ReplayRecord(
            id=evaluation.id,
            scenario=evaluation.scenario,
            candidate=evaluation.candidate,
            result_fingerprint=evaluation.result.fingerprint,
            metrics=dict(evaluation.metrics),
            verdicts=evaluation.verdicts,
            inputs=dict(evaluation.inputs),
            created_at=self._clock.now(),
            created_by=actor,
        )
        connection.execute(
            sa.insert(replay).values(
                id=record.id,
                scenario=record.scenario,
                candidate=record.candidate,
                result_fingerprint=record.result_fingerprint,
                metrics=record.metrics,
                checks=[verdict.as_json() for verdict in record.verdicts],
                inputs=record.inputs,
                created_at=record.created_at,
                created_by=actor,
            )
        )
        self._journal.append(
            connection,
            Change(
                actor=actor,
                action="replay.run",
                subject=f"evaluation/{record.scenario}/{record.candidate}",
                after=record.result_fingerprint,
                details={"replay": record.id, "inputs": dict(record.inputs)},
            ),
        )
        return record

    def _insert_report(
        self, connection: sa.Connection, sealed: SealedReport, html_sha256: str, actor: str
    ) -> StoredReport:
        stored = StoredReport(
            sha256=sealed.sha256,
            name=sealed.name,
            html_sha256=html_sha256,
            inputs=dict(sealed.inputs),
            created_at=self._clock.now(),
            created_by=actor,
        )
        connection.execute(
            sa.insert(report).values(
                sha256=stored.sha256,
                name=stored.name,
                html_sha256=html_sha256,
                inputs=dict(sealed.inputs),
                created_at=stored.created_at,
                created_by=actor,
            )
        )
        rows = [
            {"report_sha256": sealed.sha256, "key": kpi.key, "value": kpi.value, "unit": kpi.unit}
            for kpi in sealed.kpis
        ]
        connection.execute(sa.insert(report_kpi), rows)
        return stored


def _runs_of(sealed: SealedReport) -> dict[str, str]:
    results: Mapping[str, Any] = json.loads(sealed.record)["results"]
    return {name: result["replay"] for name, result in results.items() if result["role"] == "candidate"}


def _find_replay(connection: sa.Connection, replay_id: str) -> ReplayRecord | None:
    row = connection.execute(sa.select(replay).where(replay.c.id == replay_id)).mappings().one_or_none()
    if row is None:
        return None
    kept = dict(row)
    verdicts = tuple(Verdict(**check) for check in kept.pop("checks"))
    return ReplayRecord(**kept, verdicts=verdicts)


def _find_report(connection: sa.Connection, sha256: str) -> StoredReport | None:
    row = connection.execute(sa.select(report).where(report.c.sha256 == sha256)).mappings().one_or_none()
    return None if row is None else StoredReport(**row)


def _find_latest(connection: sa.Connection, name: str) -> StoredReport | None:
    """Return the report that the newest ledger entry of `name` sealed: a report sealed again is the latest again."""
    statement = (
        sa.select(ledger_entry.c.after)
        .where(ledger_entry.c.action == SEAL, ledger_entry.c.subject == f"reports/{name}")
        .order_by(ledger_entry.c.seq.desc())
        .limit(1)
    )
    sha256 = connection.scalar(statement)
    return None if sha256 is None else _find_report(connection, sha256)
