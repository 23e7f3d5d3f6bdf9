"""Which versions of a model exist: what was trained, from what, by which code, with what result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import NotFound
from mlops_assets.kernel.fingerprint import Json, fingerprint
from mlops_assets.lifecycle.artifact import format_of, require_harmless
from mlops_assets.lifecycle.learner import Kind
from mlops_assets.lifecycle.mirrors.documents import of_version
from mlops_assets.lifecycle.template import require_complete
from mlops_assets.lifecycle.tracking.tracking import Tracking
from mlops_assets.storage.blobs import BlobStore
from mlops_assets.storage.journal import Journal
from mlops_assets.storage.mirror.outbox import MirrorOutbox
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import ledger_entry, model_version

FIRST_STAGE = "experimental"
REGISTER, CONFIRM = "model_version.register", "model_version.confirm"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One trained version. `fingerprint` covers artifact, training set and code: the same three are the same version.

    `metadata` is what the template of its kind asks for; `metrics` are the flat figures that lists and charts use.
    """

    model: str
    version: int
    fingerprint: str
    artifact_sha256: str
    training_set_fingerprint: str
    code_version: str
    run_id: str
    stage: str
    metadata: Mapping[str, Any]
    metrics: Mapping[str, float]
    created_at: datetime
    created_by: str

    @property
    def id(self) -> str:
        return f"models/{self.model}@{self.version}"


class ModelRegistry:
    """Registers and returns versions. Its record is the platform's database; MLflow's registry shows a copy."""

    def __init__(
        self,
        database: Database,
        journal: Journal,
        blobs: BlobStore,
        tracking: Tracking,
        clock: Clock,
        outbox: MirrorOutbox | None = None,
    ) -> None:
        self._database, self._journal, self._blobs = database, journal, blobs
        self._tracking, self._clock, self._outbox = tracking, clock, outbox

    def register(
        self,
        *,
        model: str,
        kind: Kind,
        content: bytes,
        training_set_fingerprint: str,
        code_version: str,
        run_id: str,
        metadata: Mapping[str, Json],
        metrics: Mapping[str, float],
        actor: str,
    ) -> ModelVersion:
        """Register a model by its bytes and make it the latest; the same again is the version that there is.

        Each call leaves an entry in the ledger: the same version again is confirmed.

        Raises:
            IncompleteMetadata: with the list of what the template of `kind` misses.
            UnsafeArtifact: if the bytes could run something when they are read.
        """
        require_complete(model, kind, metadata)
        require_harmless(model, content, format_of(metadata))
        sha256 = self._blobs.put(content)
        same = fingerprint(
            {
                "artifact_sha256": sha256,
                "training_set_fingerprint": training_set_fingerprint,
                "code_version": code_version,
            }
        )
        with self._database.begin() as connection:
            before = _find_latest(connection, model)
            version = _find(connection, model, model_version.c.fingerprint == same)
            if version is None:
                version = _insert(
                    connection,
                    {
                        "model": model,
                        "fingerprint": same,
                        "artifact_sha256": sha256,
                        "training_set_fingerprint": training_set_fingerprint,
                        "code_version": code_version,
                        "run_id": run_id,
                        "stage": FIRST_STAGE,
                        "metadata": dict(metadata),
                        "metrics": dict(metrics),
                        "created_at": self._clock.now(),
                        "created_by": actor,
                    },
                )
            is_new = before is None or before.fingerprint != same
            action = REGISTER if is_new else CONFIRM
            self._record(connection, action, version, before=before, run_id=run_id, actor=actor)
        self.project(version)
        return version

    def latest(self, model: str) -> ModelVersion:
        """Return the version that was registered last.

        Raises:
            NotFound: if the model has none.
        """
        if (found := self.find_latest(model)) is None:
            raise NotFound(kind="model", name=model, remedy=f"Materialise the asset models/{model} first.")
        return found

    def find_latest(self, model: str) -> ModelVersion | None:
        """Return the version that was registered last, or None."""
        with self._database.read() as connection:
            return _find_latest(connection, model)

    def get(self, model: str, version: int) -> ModelVersion:
        """Return one version.

        Raises:
            NotFound: if there is no such version.
        """
        with self._database.read() as connection:
            found = _find(connection, model, model_version.c.version == version)
        if found is None:
            known = ", ".join(str(one.version) for one in self.list(model=model)) or "none"
            raise NotFound(
                kind="model version", name=f"{model}@{version}", remedy=f"Registered versions of {model}: {known}."
            )
        return found

    def list(self, *, model: str | None = None) -> list[ModelVersion]:
        """Return versions by model and number, optionally those of one model."""
        statement = sa.select(model_version).order_by(model_version.c.model, model_version.c.version)
        if model is not None:
            statement = statement.where(model_version.c.model == model)
        with self._database.read() as connection:
            return [ModelVersion(**row) for row in connection.execute(statement).mappings()]

    def load(self, version: ModelVersion) -> bytes:
        """Return the model as it is stored.

        Raises:
            IntegrityViolation: if the stored bytes are not those that were registered.
            UnsafeArtifact: if they could run something when they are read.
        """
        content = self._blobs.get(version.artifact_sha256)
        require_harmless(version.id, content, format_of(version.metadata))
        return content

    def trained_at(self, model: str) -> Sequence[datetime]:
        """Return when a model was trained, oldest first: also when that gave a version that there was."""
        statement = (
            sa.select(ledger_entry.c.at)
            .where(
                ledger_entry.c.subject.startswith(f"models/{model}@", autoescape=True),
                ledger_entry.c.action.in_((REGISTER, CONFIRM)),
            )
            .order_by(ledger_entry.c.seq)
        )
        with self._database.read() as connection:
            return connection.scalars(statement).all()

    def _record(
        self,
        connection: sa.Connection,
        action: str,
        version: ModelVersion,
        *,
        before: ModelVersion | None,
        run_id: str,
        actor: str,
    ) -> None:
        seq = self._journal.append(
            connection,
            Change(
                actor=actor,
                action=action,
                subject=version.id,
                before=None if before is None else before.fingerprint,
                after=version.fingerprint,
                details={
                    "artifact_sha256": version.artifact_sha256,
                    "training_set_fingerprint": version.training_set_fingerprint,
                    "code_version": version.code_version,
                    "run_id": run_id,
                },
            ),
        )
        if self._outbox is not None:
            copy = of_version(version)
            self._outbox.put(connection, copy.kind, copy.id, seq, copy.document)

    def project(self, version: ModelVersion) -> None:
        """Show a version in MLflow's registry, where it is not there yet."""
        self._tracking.project_version(
            model=version.model,
            version=version.version,
            fingerprint=version.fingerprint,
            run_id=version.run_id,
            description=str(version.metadata["description"]),
            tags={
                "mlops.artifact_sha256": version.artifact_sha256,
                "mlops.training_set_fingerprint": version.training_set_fingerprint,
                "mlops.code_version": version.code_version,
            },
        )


def _insert(connection: sa.Connection, row: dict[str, Any]) -> ModelVersion:
    highest = connection.scalar(
        sa.select(sa.func.max(model_version.c.version)).where(model_version.c.model == row["model"])
    )
    version = ModelVersion(**row, version=(highest or 0) + 1)
    connection.execute(sa.insert(model_version).values(version=version.version, **row))
    return version


def _find(connection: sa.Connection, model: str, where: sa.ColumnElement[bool]) -> ModelVersion | None:
    row = connection.execute(sa.select(model_version).where(model_version.c.model == model, where)).mappings().first()
    return None if row is None else ModelVersion(**row)


def _find_latest(connection: sa.Connection, model: str) -> ModelVersion | None:
    """Return the version that the newest ledger entry of `model` registered: a version registered again is the latest.

    The highest number is not it: a declaration that is reverted is an older version again.
    """
    number = sa.cast(model_version.c.version, sa.String)
    its_id = sa.literal(f"models/{model}@") + number
    statement = (
        sa.select(model_version)
        .join(ledger_entry, (ledger_entry.c.subject == its_id) & (ledger_entry.c.action == REGISTER))
        .where(model_version.c.model == model)
        .order_by(ledger_entry.c.seq.desc())
        .limit(1)
    )
    row = connection.execute(statement).mappings().one_or_none()
    return None if row is None else ModelVersion(**row)
