from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from mlops_assets.catalog.feature_views.momentum import VIEW
from mlops_assets.features.warehouse import Warehouse
from mlops_assets.storage.parquet.snapshots import Provenance, SnapshotStore


@pytest.fixture
def warehouse(snapshots: SnapshotStore, tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path / "views.duckdb", snapshots, [VIEW])


def publish(snapshots: SnapshotStore, dataset: str, *values: int) -> None:
    provenance = Provenance(code_version="c", inputs={})
    snapshots.publish(dataset, pa.table({"value": list(values)}), provenance=provenance, actor="ana")


def rows(path: Path, view: str) -> list[tuple[int, ...]]:
    with duckdb.connect(path, read_only=True) as connection:
        return connection.execute(f"SELECT value FROM {view} ORDER BY value").fetchall()


def test_every_dataset_is_a_view_and_feature_views_also_by_major(warehouse: Warehouse, snapshots: SnapshotStore):
    publish(snapshots, "features/momentum", 1, 2)
    publish(snapshots, "evaluation/covid_crash/signal_ml", 3)
    assert set(warehouse.rebuild()) == {
        '"features"."momentum"',
        '"features"."momentum_v1"',
        '"evaluation"."covid_crash__signal_ml"',
    }
    assert rows(warehouse.path, "features.momentum") == rows(warehouse.path, "features.momentum_v1") == [(1,), (2,)]
    assert rows(warehouse.path, "evaluation.covid_crash__signal_ml") == [(3,)]


def test_a_rebuild_follows_the_head_while_readers_keep_what_they_opened(warehouse: Warehouse, snapshots: SnapshotStore):
    publish(snapshots, "features/momentum", 1)
    warehouse.rebuild()
    with duckdb.connect(warehouse.path, read_only=True) as reader:
        publish(snapshots, "features/momentum", 2)
        warehouse.rebuild()
        assert reader.execute("SELECT value FROM features.momentum").fetchall() == [(1,)]
    assert rows(warehouse.path, "features.momentum") == [(2,)]


def test_rebuilds_at_the_same_time_wait_for_each_other(warehouse: Warehouse, snapshots: SnapshotStore):
    publish(snapshots, "features/momentum", 1)
    with ThreadPoolExecutor(4) as pool:
        assert len({tuple(names) for names in pool.map(lambda _: warehouse.rebuild(), range(8))}) == 1
    assert rows(warehouse.path, "features.momentum") == [(1,)]


def test_a_killed_rebuild_leaves_nothing_that_the_next_does_not_clean(warehouse: Warehouse, snapshots: SnapshotStore):
    publish(snapshots, "features/momentum", 1)
    incoming = warehouse.path.with_suffix(".incoming")
    incoming.mkdir()
    (incoming / "views.duckdb").write_bytes(b"half")
    warehouse.rebuild()
    assert {path.name for path in incoming.iterdir()} == {".lock"}
