"""Which evaluations are remembered, and which versions passed: SQL rows, each with its ledger entry."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa

from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import NotFound
from mlops_assets.kernel.fingerprint import Json, fingerprint
from mlops_assets.kernel.identity import Principal
from mlops_assets.prompts.grade import Evaluation
from mlops_assets.prompts.spec import PromptVersion
from mlops_assets.storage.blobs import BlobStore
from mlops_assets.storage.journal import Journal
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import ledger_entry, prompt_evaluation

_ACTION = "prompt_evaluation.record"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRecord:
    """A remembered evaluation. `findings` holds the summary and the SHA-256 of the whole evaluation's blob."""

    id: str
    prompt_id: str
    version: str
    prompt_fingerprint: str
    outputs_fingerprint: str
    is_passed: bool
    findings: dict[str, Any]
    created_at: datetime
    created_by: str

    @property
    def evaluation_sha256(self) -> str:
        """Return the name of the blob with every claim and finding."""
        return str(self.findings["evaluation_sha256"])


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledPrompt:
    """A version that passed its evaluation, and the hashes that say what exactly passed."""

    prompt_id: str
    version: str
    prompt_fingerprint: str
    outputs_fingerprint: str
    evaluation_id: str
    evaluation_sha256: str


class PromptStore:
    """Evaluations of prompt versions, in the order of their ledger entries."""

    def __init__(self, database: Database, journal: Journal, blobs: BlobStore, clock: Clock) -> None:
        self._database, self._journal, self._blobs, self._clock = database, journal, blobs, clock

    def record(self, evaluation: Evaluation, *, actor: Principal) -> EvaluationRecord:
        """Remember an evaluation; recording again what the latest one of the version says returns that."""
        content = json.dumps(evaluation.as_json(), ensure_ascii=False, indent=1, sort_keys=True).encode()
        sha256 = self._blobs.put(content)
        with self._database.begin() as connection:
            latest = _latest(connection, evaluation.prompt_id, evaluation.version)
            if latest is not None and _is_same(latest, evaluation, sha256):
                return latest
            record = self._new(evaluation, sha256, latest, actor)
            connection.execute(
                sa.insert(prompt_evaluation).values(
                    {name: getattr(record, name) for name in EvaluationRecord.__slots__}
                )
            )
            self._journal.append(
                connection,
                Change(
                    actor=actor.name,
                    action=_ACTION,
                    subject=_subject(record.prompt_id, record.version),
                    before=None if latest is None else latest.id,
                    after=record.id,
                    details={"is_passed": record.is_passed, "evaluation_sha256": sha256},
                ),
            )
        return record

    def latest(self, prompt_id: str, version: str) -> EvaluationRecord:
        """Return the latest evaluation of a version.

        Raises:
            NotFound: if it was never evaluated.
        """
        with self._database.read() as connection:
            found = _latest(connection, prompt_id, version)
        if found is None:
            raise NotFound(
                kind="evaluation",
                name=f"{prompt_id}@{version}",
                remedy=f"Materialise prompt_evaluations/{prompt_id} for partition {version}.",
            )
        return found

    def evaluations(self, prompt_id: str) -> list[EvaluationRecord]:
        """Return every evaluation of a prompt, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(_ordered().where(prompt_evaluation.c.prompt_id == prompt_id)).mappings()
            return [EvaluationRecord(**row) for row in rows]

    def bundle(self, versions: Sequence[PromptVersion]) -> list[BundledPrompt]:
        """Return those of the declared versions whose latest evaluation passed with exactly their present content."""
        with self._database.read() as connection:
            found = [(version, _latest(connection, version.id, version.version)) for version in versions]
        return [
            BundledPrompt(
                prompt_id=record.prompt_id,
                version=record.version,
                prompt_fingerprint=record.prompt_fingerprint,
                outputs_fingerprint=record.outputs_fingerprint,
                evaluation_id=record.id,
                evaluation_sha256=record.evaluation_sha256,
            )
            for version, record in found
            if record is not None and record.is_passed and record.prompt_fingerprint == version.fingerprint
        ]

    def _new(
        self, evaluation: Evaluation, sha256: str, latest: EvaluationRecord | None, actor: Principal
    ) -> EvaluationRecord:
        identity: dict[str, Json] = {
            "prompt": [evaluation.prompt_id, evaluation.version, evaluation.prompt_fingerprint],
            "outputs": evaluation.outputs_fingerprint,
            "evaluation": sha256,
            "after": None if latest is None else latest.id,
        }
        return EvaluationRecord(
            id=fingerprint(identity),
            prompt_id=evaluation.prompt_id,
            version=evaluation.version,
            prompt_fingerprint=evaluation.prompt_fingerprint,
            outputs_fingerprint=evaluation.outputs_fingerprint,
            is_passed=evaluation.is_passed,
            findings={
                "evaluation_sha256": sha256,
                "report_sha256": evaluation.report_sha256,
                "rules": dict(evaluation.rules),
                "failures": list(evaluation.failures),
                "claim_count": len(evaluation.claims),
                "origins": [one.statement for one in evaluation.origins],
            },
            created_at=self._clock.now(),
            created_by=actor.name,
        )


def _is_same(latest: EvaluationRecord, evaluation: Evaluation, sha256: str) -> bool:
    return (latest.prompt_fingerprint, latest.outputs_fingerprint, latest.evaluation_sha256) == (
        evaluation.prompt_fingerprint,
        evaluation.outputs_fingerprint,
        sha256,
    )


def _subject(prompt_id: str, version: str) -> str:
    return f"prompt_evaluations/{prompt_id}@{version}"


def _ordered() -> sa.Select[Any]:
    """Select evaluations in the order of their ledger entries: clocks may stand still or go back, the ledger not."""
    is_entry = sa.and_(ledger_entry.c.after == prompt_evaluation.c.id, ledger_entry.c.action == _ACTION)
    return (
        sa.select(prompt_evaluation)
        .select_from(prompt_evaluation.join(ledger_entry, is_entry))
        .order_by(ledger_entry.c.seq)
    )


def _latest(connection: sa.Connection, prompt_id: str, version: str) -> EvaluationRecord | None:
    statement = (
        _ordered()
        .where(ledger_entry.c.subject == _subject(prompt_id, version))
        .order_by(None)
        .order_by(ledger_entry.c.seq.desc())
        .limit(1)
    )
    row = connection.execute(statement).mappings().one_or_none()
    return None if row is None else EvaluationRecord(**cast("dict[str, Any]", dict(row)))
