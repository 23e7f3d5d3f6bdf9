"""Which version of a table is published: immutable Parquet files behind a transactional manifest.

A publish writes each chunk of rows to a file, see `files`, then commits one manifest row, the moved head and the ledger
entry in one transaction. A crash before the commit leaves files that nothing names; the next publish of the dataset
removes them. Versions share the files of chunks that did not change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import fields as dataclass_fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import Conflict, IntegrityViolation, NotFound
from mlops_assets.kernel.fingerprint import Json, file_sha256, fingerprint
from mlops_assets.storage.failpoints import failpoint
from mlops_assets.storage.journal import Journal
from mlops_assets.storage.parquet.files import SnapshotFile, schema_of, write_file
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import dataset_head, snapshot, snapshot_file
from mlops_assets.storage.sweep import sweep_orphans, writing

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What a snapshot was made from: the code's version and the fingerprint of every input.

    `details` says more about it to people; it is kept with the snapshot and is no part of its identity.
    """

    code_version: str
    inputs: Mapping[str, str]
    details: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One immutable version of a dataset. `fingerprint` covers its schema and the hashes of its files.

    `files` are in the order of the chunks that were published.
    """

    dataset: str
    version: int
    parent: int | None
    fingerprint: str
    schema_hash: str
    schema: Mapping[str, str]
    code_version: str
    inputs: Mapping[str, str]
    row_count: int
    byte_count: int
    created_at: datetime
    created_by: str
    ledger_seq: int
    details: Mapping[str, Json]
    files: tuple[SnapshotFile, ...]

    @property
    def id(self) -> str:
        return f"{self.dataset}@{self.version}"


class _Content(NamedTuple):
    """What a publish wrote, and the fingerprint that makes it the same as what another wrote."""

    schema: Mapping[str, str]
    files: tuple[SnapshotFile, ...]
    fingerprint: str


class SnapshotStore:
    """Publishes and reads versions of datasets under one folder and one manifest."""

    def __init__(self, root: Path, database: Database, journal: Journal, clock: Clock) -> None:
        self.root = root
        self._database, self._journal, self._clock = database, journal, clock
        self._heads: dict[str, Snapshot] = {}

    def publish(
        self,
        dataset: str,
        rows: pa.Table | Sequence[pa.Table | SnapshotFile],
        *,
        provenance: Provenance,
        actor: str,
    ) -> Snapshot:
        """Publish `rows` as the next version of `dataset` and return it.

        Publishing what the head already holds, made from the same inputs by the same code, returns the head. What a
        killed publish left behind is removed on the way.

        Args:
            rows: one table, or chunks of one schema in order; each becomes a file. A chunk may be a file of the head:
                it is shared and not written again.

        Raises:
            ValueError: if there is no chunk, or two are equal or differ in schema.
            IntegrityViolation: if a shared file is damaged.
            Conflict: if somebody else published the dataset in the meantime, so that a shared file is not of the head,
                or published it from newer inputs than these; nothing of ours is left behind.
        """
        try:
            with writing(self.root / dataset):
                published = self._publish(dataset, rows, provenance, actor)
            failpoint("snapshot.committed")
            return published
        finally:
            self.sweep(dataset)

    def sweep(self, dataset: str) -> list[Path]:
        """Remove what crashed publishes of `dataset` left behind and return the removed paths."""
        return sweep_orphans(self.root / dataset, lambda: self._referenced(dataset))

    def find_head(self, dataset: str) -> Snapshot | None:
        """Return the version readers get, or None if nothing was published.

        Which one it is is asked each time; what it holds never changes, so it is loaded once.
        """
        with self._database.read() as connection:
            identity = connection.execute(_HEAD_IDENTITY, {"dataset": dataset}).one_or_none()
            known = self._heads.get(dataset)
            if known is not None and identity == (known.version, known.fingerprint, known.ledger_seq):
                return known
            found = _head(connection, dataset)
        if found is not None:
            self._heads[dataset] = found
        return found

    def head(self, dataset: str) -> Snapshot:
        """Return the version readers get.

        Raises:
            NotFound: if nothing was published under that name.
        """
        if (found := self.find_head(dataset)) is None:
            raise NotFound(kind="dataset", name=dataset, remedy=f"Materialise the asset {dataset} first.")
        return found

    def get(self, dataset: str, version: int) -> Snapshot:
        """Return one version, however old.

        Raises:
            NotFound: if there is no such version.
        """
        with self._database.read() as connection:
            found = _load(connection, dataset, version)
        if found is None:
            raise NotFound(
                kind="snapshot", name=f"{dataset}@{version}", remedy="The dataset's history lists its versions."
            )
        return found

    def history(self, dataset: str) -> list[Snapshot]:
        """Return every version, oldest first."""
        with self._database.read() as connection:
            statement = sa.select(snapshot.c.version).where(snapshot.c.dataset == dataset).order_by(snapshot.c.version)
            loaded = (_load(connection, dataset, version) for version in connection.scalars(statement).all())
            return [one for one in loaded if one is not None]

    def heads(self) -> list[Snapshot]:
        """Return the head of every dataset, by name."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(dataset_head).order_by(dataset_head.c.dataset)).all()
            loaded = (_load(connection, row.dataset, row.version) for row in rows)
            return [one for one in loaded if one is not None]

    def read(self, published: Snapshot, columns: Sequence[str] | None = None) -> pa.Table:
        """Return a version's rows, each file checked against its hash first.

        Raises:
            IntegrityViolation: if a file is missing or its bytes are not those that were published.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        wanted = None if columns is None else list(columns)
        paths = [self.verified_path(published, file) for file in published.files]
        return pa.concat_tables(pq.read_table(path, columns=wanted) for path in paths)

    def frame(self, published: Snapshot, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return a version's rows as a polars frame; see `read`."""
        import polars as pl

        return pl.DataFrame(self.read(published, columns))

    def verified_path(self, published: Snapshot, file: SnapshotFile) -> Path:
        """Return where one file of a version is, its bytes checked against its hash.

        Raises:
            IntegrityViolation: if it is missing or its bytes are not those that were published.
        """
        path = self.root / file.path
        found = file_sha256(path) if path.exists() else "no file"
        if found != file.sha256:
            raise IntegrityViolation(
                what=f"{published.id}: {path}",
                expected=file.sha256,
                found=found,
                remedy=f"Restore the file from a backup, or materialise {published.dataset} again.",
            )
        return path

    def paths(self, published: Snapshot) -> list[Path]:
        """Return where a version's files are, in order."""
        return [self.root / file.path for file in published.files]

    def _publish(
        self,
        dataset: str,
        rows: pa.Table | Sequence[pa.Table | SnapshotFile],
        provenance: Provenance,
        actor: str,
    ) -> Snapshot:
        parent = self.find_head(dataset)
        chunks = rows if isinstance(rows, Sequence) else [rows]
        schema = _common_schema(dataset, parent, chunks)
        content = self._write(dataset, parent, schema, chunks)
        failpoint("snapshot.linked")
        if parent is not None and _is_same(parent, content, provenance):
            return parent
        try:
            return self._commit(dataset, parent, content, provenance, actor)
        except Conflict:
            rival = self.find_head(dataset)
            if rival is not None and _is_same(rival, content, provenance):
                return rival
            raise

    def _write(
        self,
        dataset: str,
        parent: Snapshot | None,
        schema: Mapping[str, str],
        chunks: Sequence[pa.Table | SnapshotFile],
    ) -> _Content:
        """Write each chunk under the name of its hash, unless an intact file has that name already."""
        files = list[SnapshotFile]()
        for chunk in chunks:
            if not isinstance(chunk, SnapshotFile):
                files.append(write_file(self.root, dataset, chunk))
            elif parent is not None and chunk in parent.files:
                self.verified_path(parent, chunk)
                files.append(chunk)
            else:
                raise Conflict(
                    f"{dataset}: {chunk.path} is no file of its head (any more). Nothing was published; read the head "
                    "and publish again."
                )
        hashes = [file.sha256 for file in files]
        if len(set(hashes)) < len(hashes):
            raise ValueError(f"{dataset}: two chunks hold the same rows; nothing was published")
        return _Content(schema, tuple(files), fingerprint({"schema": schema, "files": hashes}))

    def _commit(
        self,
        dataset: str,
        parent: Snapshot | None,
        content: _Content,
        provenance: Provenance,
        actor: str,
    ) -> Snapshot:
        version = 1 if parent is None else parent.version + 1
        with self._database.begin() as connection:
            self._refuse_outdated(connection, dataset, parent, provenance)
            self._move_head(connection, dataset, parent, version)
            seq = self._journal.append(
                connection,
                Change(
                    actor=actor,
                    action="snapshot.publish",
                    subject=f"{dataset}@{version}",
                    before=None if parent is None else parent.fingerprint,
                    after=content.fingerprint,
                    details={"code_version": provenance.code_version, "inputs": dict(provenance.inputs)},
                ),
            )
            row = {
                "dataset": dataset,
                "version": version,
                "parent": None if parent is None else parent.version,
                "fingerprint": content.fingerprint,
                "schema_hash": fingerprint(content.schema),
                "schema": dict(content.schema),
                "code_version": provenance.code_version,
                "inputs": dict(provenance.inputs),
                "row_count": sum(file.row_count for file in content.files),
                "byte_count": sum(file.byte_count for file in content.files),
                "created_at": self._clock.now(),
                "created_by": actor,
                "ledger_seq": seq,
                "details": dict(provenance.details),
            }
            connection.execute(sa.insert(snapshot).values(row))
            connection.execute(
                sa.insert(snapshot_file),
                [_file_row(dataset, version, position, file) for position, file in enumerate(content.files)],
            )
            failpoint("snapshot.recorded")
        return Snapshot(**row, files=content.files)

    def _refuse_outdated(
        self, connection: sa.Connection, dataset: str, parent: Snapshot | None, provenance: Provenance
    ) -> None:
        """Refuse to publish over a head that was made from an input's current version if ours was made from another."""
        for name, used in provenance.inputs.items():
            if parent is None or parent.inputs.get(name) in (None, used):
                continue
            current = _head(connection, name)
            if current is not None and parent.inputs[name] == current.fingerprint:
                raise Conflict(
                    f"{dataset}: {parent.id} was made from the current {name} ({current.id}), and this from another "
                    "version of it. Nothing was published; run again to use the current one."
                )

    def _move_head(self, connection: sa.Connection, dataset: str, parent: Snapshot | None, version: int) -> None:
        """Compare and swap: move the head from `parent` to `version`, or refuse because it is no longer there."""
        if parent is None:
            statement = sa.select(dataset_head.c.version).where(dataset_head.c.dataset == dataset)
            is_ours = connection.scalar(statement) is None
            if is_ours:
                connection.execute(sa.insert(dataset_head).values(dataset=dataset, version=version))
        else:
            moved = connection.execute(
                sa.update(dataset_head)
                .where(dataset_head.c.dataset == dataset, dataset_head.c.version == parent.version)
                .values(version=version)
            )
            is_ours = moved.rowcount == 1
        if not is_ours:
            raise Conflict(
                f"{dataset}: somebody else published it after version {parent.version if parent else 0} was read. "
                "Nothing was published; read the new head and publish again."
            )

    def _referenced(self, dataset: str) -> set[str]:
        with self._database.read() as connection:
            paths = connection.scalars(sa.select(snapshot_file.c.path).where(snapshot_file.c.dataset == dataset))
            return {Path(path).name for path in paths}


def _is_same(parent: Snapshot, content: _Content, provenance: Provenance) -> bool:
    return (parent.fingerprint, parent.code_version, dict(parent.inputs)) == (
        content.fingerprint,
        provenance.code_version,
        dict(provenance.inputs),
    )


def _common_schema(
    dataset: str, parent: Snapshot | None, chunks: Sequence[pa.Table | SnapshotFile]
) -> Mapping[str, str]:
    """Return the schema of every chunk; a shared file has that of the head."""
    if not chunks:
        raise ValueError(f"{dataset}: there is no chunk to publish; publish an empty table if it shall be empty")
    shared = {} if parent is None else parent.schema
    first, *others = (shared if isinstance(chunk, SnapshotFile) else schema_of(chunk) for chunk in chunks)
    for position, other in enumerate(others, start=2):
        if list(other.items()) != list(first.items()):
            differing = sorted({name for name, _ in {*first.items()} ^ {*other.items()}}) or ["their order"]
            raise ValueError(
                f"{dataset}: chunk {position} has another schema than the first, see {', '.join(differing)}; "
                "nothing was published"
            )
    return first


def _file_row(dataset: str, version: int, position: int, file: SnapshotFile) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "version": version,
        "position": position,
        "path": file.path,
        "sha256": file.sha256,
        "byte_count": file.byte_count,
        "row_count": file.row_count,
        "first_at": file.first_at,
        "last_at": file.last_at,
    }


_HEAD_IDENTITY = (
    sa.select(snapshot.c.version, snapshot.c.fingerprint, snapshot.c.ledger_seq)
    .join(dataset_head, (dataset_head.c.dataset == snapshot.c.dataset) & (dataset_head.c.version == snapshot.c.version))
    .where(dataset_head.c.dataset == sa.bindparam("dataset"))
)


def _head(connection: sa.Connection, dataset: str) -> Snapshot | None:
    version = connection.scalar(sa.select(dataset_head.c.version).where(dataset_head.c.dataset == dataset))
    return None if version is None else _load(connection, dataset, version)


def _load(connection: sa.Connection, dataset: str, version: int) -> Snapshot | None:
    where = (snapshot.c.dataset == dataset, snapshot.c.version == version)
    row = connection.execute(sa.select(snapshot).where(*where)).mappings().one_or_none()
    return None if row is None else Snapshot(**row, files=tuple(_files(connection, dataset, version)))


def _files(connection: sa.Connection, dataset: str, version: int) -> Iterator[SnapshotFile]:
    names = (one.name for one in dataclass_fields(SnapshotFile))
    statement = (
        sa.select(*(snapshot_file.c[name] for name in names))
        .where(snapshot_file.c.dataset == dataset, snapshot_file.c.version == version)
        .order_by(snapshot_file.c.position)
    )
    for row in connection.execute(statement).mappings():
        yield SnapshotFile(**row)
