"""How analysts reach the data in plain SQL: a DuckDB file of views over the published snapshots.

The file is a cache and never the record: it is rebuilt from the manifest at any time and swapped in whole, because
DuckDB lets one process write and refuses readers meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from mlops_assets.features.spec import FeatureView
from mlops_assets.features.versions.releases import is_older_major
from mlops_assets.features.versions.schema_diff import pinned
from mlops_assets.kernel.semantic_version import parse_version
from mlops_assets.storage.parquet.snapshots import Snapshot, SnapshotStore
from mlops_assets.storage.sweep import alone

_LATEST_KNOWN = "QUALIFY row_number() OVER (PARTITION BY symbol, date ORDER BY known_at DESC) = 1"


class Warehouse:
    """Views `<first segment>.<rest>` over every dataset's head; feature views also by major as `<name>_v<major>`.

    Where bars of a feature view were restated, they show the latest known row of each, and `<name>_history` every row.
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
                names = [one for name, head in self._named() for one in self._create(connection, name, head)]
            os.replace(temporary, self.path)
        return names

    def _named(self) -> list[tuple[str, Snapshot]]:
        """Return every dataset's head, and each feature view once more by the major version it is pinned to."""
        heads = {head.dataset: head for head in self._snapshots.heads() if not self._is_retired(head.dataset)}
        pins = {pin: self._pinned(view, heads) for view in self._views if (pin := _pin(view)) not in heads}
        return [*heads.items(), *((pin, found) for pin, found in pins.items() if found is not None)]

    def _is_retired(self, dataset: str) -> bool:
        """Tell whether a dataset holds a major version of a declared view that is no longer served."""
        served = {view.dataset for view in self._views}
        return dataset not in served and pinned(dataset)[1] is not None and pinned(dataset)[0] in served

    def _pinned(self, view: FeatureView, heads: Mapping[str, Snapshot]) -> Snapshot | None:
        """Return the newest snapshot made by the view's major version.

        An older major version may not be published under its own name yet; a snapshot that does not say what made it
        counts as the declared version's.
        """
        dataset = view.dataset.removesuffix(f"_v{view.major}")
        head = heads.get(dataset)
        if head is None or _major(head) == view.major:
            return head
        if _major(head) is None:
            return None if is_older_major(view) else head
        return next((one for one in reversed(self._snapshots.history(dataset)) if _major(one) == view.major), None)

    def _create(self, connection: duckdb.DuckDBPyConnection, dataset: str, head: Snapshot) -> list[str]:
        """Create the view of a dataset; where bars were restated, of the latest known rows, and one of all rows."""
        schema, _, rest = dataset.partition("/")
        files = ", ".join(_literal(str(path)) for path in self._snapshots.paths(head))
        every = f"SELECT * FROM read_parquet([{files}])"  # noqa: S608 - quoted
        texts = {rest: every}
        if schema == "features" and head.details.get("restated_rows"):
            texts = {rest: f"{every} {_LATEST_KNOWN}", f"{rest}_history": every}
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_identifier(schema)}")
        names = {f"{_identifier(schema)}.{_identifier(one.replace('/', '__'))}": text for one, text in texts.items()}
        for name, text in names.items():
            connection.execute(f"CREATE VIEW {name} AS {text}")
        return list(names)


def _pin(view: FeatureView) -> str:
    return view.dataset if is_older_major(view) else f"{view.dataset}_v{view.major}"


def _major(snapshot: Snapshot) -> int | None:
    """Return the major version of the view that made a snapshot, if it says so."""
    version = snapshot.details.get("view_version")
    return parse_version(version).major if isinstance(version, str) else None


def _identifier(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
