"""How rows become a Parquet file whose name is the hash of its bytes, and what is kept of it in the manifest.

Which files make a version does not belong here: see `snapshots`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.kernel.fingerprint import file_sha256
from mlops_assets.storage.failpoints import failpoint
from mlops_assets.storage.files import publish_file, sync, temporary_file

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP_ROWS = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFile:
    """One Parquet file; `path` is relative to the store's root.

    `first_at` and `last_at` bound the column `event_at`; None where the table has none, or no row.
    """

    path: str
    sha256: str
    byte_count: int
    row_count: int
    first_at: datetime | None = None
    last_at: datetime | None = None


def write_file(root: Path, dataset: str, table: pa.Table) -> SnapshotFile:
    """Write rows under a temporary name, sync them and name the file by its hash; an intact one of that name stays."""
    folder = root / dataset
    with temporary_file(folder) as temporary:
        _write_parquet(table, temporary)
        failpoint("snapshot.written")
        sha256, byte_count = file_sha256(temporary), temporary.stat().st_size
        final = folder / f"{sha256}.parquet"
        if final.exists() and file_sha256(final) == sha256:
            sync(folder)  # whoever wrote it may have been killed before its name was durable
        else:
            publish_file(temporary, final)
    first_at, last_at = _event_bounds(table)
    return SnapshotFile(
        path=str(final.relative_to(root)),
        sha256=sha256,
        byte_count=byte_count,
        row_count=table.num_rows,
        first_at=first_at,
        last_at=last_at,
    )


def schema_of(table: pa.Table) -> dict[str, str]:
    """Return the names and types of the columns, in order."""
    return {field.name: str(field.type) for field in table.schema}


def _event_bounds(table: pa.Table) -> tuple[datetime | None, datetime | None]:
    """Return the least and the greatest `event_at`; a naive one is no instant and has no bounds."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if "event_at" not in table.column_names:
        return None, None
    type_ = table.schema.field("event_at").type
    if not pa.types.is_timestamp(type_) or type_.tz is None:
        return None, None
    instants = pc.cast(table["event_at"], pa.timestamp("us", tz="UTC"), safe=False)
    bounds = pc.call_function("min_max", [instants]).as_py()
    return bounds["min"], bounds["max"]


def _write_parquet(table: pa.Table, path: Path) -> None:
    """Write one file whose bytes depend on the rows alone: no pandas metadata, fixed encoding and row groups."""
    import pyarrow.parquet as pq

    pq.write_table(
        table.replace_schema_metadata(None),
        path,
        compression="zstd",
        row_group_size=ROW_GROUP_ROWS,
        coerce_timestamps="us",
        store_schema=True,
    )
