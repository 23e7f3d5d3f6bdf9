"""How analysts reach the data in plain SQL: a DuckDB file of views over the published snapshots.

The file is a cache and never the record: it is rebuilt from the manifest at any time and swapped in whole, because
DuckDB lets one process write and refuses readers meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import duckdb

from mlops_assets.features.spec import FeatureView
from mlops_assets.storage.parquet.snapshots import Snapshot, SnapshotStore
from mlops_assets.storage.sweep import alone


class Warehouse:
    """Views `<first segment>.<rest>` over every dataset's head; feature views also by major as `<name>_v<major>`.

    It holds what was published when it was last rebuilt: after each successful run, and at the end of `mlops up`.
    """

    def __init__(self, path: Path, snapshots: SnapshotStore, views: Sequence[FeatureView]) -> None:
        self.path = path
        self._snapshots, self._views = snapshots, tuple(views)

    def rebuild(self) -> list[str]:
        """Make the file anew and return the names of its views."""
        incoming = self.path.with_suffix(".incoming")
        with alone(incoming):
            temporary = incoming / self.path.name
            with duckdb.connect(temporary) as connection:
                names = [self._create(connection, name, head) for name, head in self._named_heads()]
            os.replace(temporary, self.path)
        return names

    def _named_heads(self) -> list[tuple[str, Snapshot]]:
        heads = {head.dataset: head for head in self._snapshots.heads()}
        pinned = [
            (f"{view.dataset}_v{view.major}", heads[view.dataset]) for view in self._views if view.dataset in heads
        ]
        return [*heads.items(), *pinned]

    def _create(self, connection: duckdb.DuckDBPyConnection, dataset: str, head: Snapshot) -> str:
        schema, _, rest = dataset.partition("/")
        name = f"{_identifier(schema)}.{_identifier(rest.replace('/', '__'))}"
        files = ", ".join(_literal(str(path)) for path in self._snapshots.paths(head))
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_identifier(schema)}")
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet([{files}])")  # noqa: S608 - quoted above
        return name


def _identifier(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
