from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
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


V1 = VIEW
V2 = replace(VIEW, version="2.0.0")
V1_BESIDE = replace(VIEW, name="momentum_v1")


def publish_by(snapshots: SnapshotStore, view_version: str, *values: int, dataset: str = "features/momentum") -> None:
    provenance = Provenance(code_version=view_version, inputs={}, details={"view_version": view_version})
    snapshots.publish(dataset, pa.table({"value": list(values)}), provenance=provenance, actor="ana")


def test_two_majors_are_served_side_by_side(snapshots: SnapshotStore, tmp_path: Path):
    warehouse = Warehouse(tmp_path / "views.duckdb", snapshots, [V2, V1_BESIDE])
    publish_by(snapshots, "1.0.0", 1)
    publish_by(snapshots, "2.0.0", 2)
    publish_by(snapshots, "1.0.0", 1, dataset="features/momentum_v1")
    assert sorted(warehouse.rebuild()) == [f'"features"."momentum{suffix}"' for suffix in ("", "_v1", "_v2")]
    found = {suffix: rows(warehouse.path, f"features.momentum{suffix}") for suffix in ("", "_v1", "_v2")}
    assert found == {"": [(2,)], "_v1": [(1,)], "_v2": [(2,)]}


def test_an_older_major_is_served_before_it_is_published_under_its_own_name(snapshots: SnapshotStore, tmp_path: Path):
    warehouse = Warehouse(tmp_path / "views.duckdb", snapshots, [V2, V1_BESIDE])
    publish_by(snapshots, "1.1.0", 1)
    assert set(warehouse.rebuild()) == {'"features"."momentum"', '"features"."momentum_v1"'}
    publish_by(snapshots, "2.0.0", 2)
    warehouse.rebuild()
    assert rows(warehouse.path, "features.momentum_v1") == [(1,)]


def test_after_a_rollback_the_declared_major_stays_pinned(snapshots: SnapshotStore, tmp_path: Path):
    warehouse = Warehouse(tmp_path / "views.duckdb", snapshots, [V2])
    for version, value in (("1.0.0", 1), ("2.0.0", 2), ("2.1.0", 3), ("1.0.0", 1)):
        publish_by(snapshots, version, value)
    warehouse.rebuild()
    assert rows(warehouse.path, "features.momentum") == [(1,)]
    assert rows(warehouse.path, "features.momentum_v2") == [(3,)]


def test_a_retired_major_is_served_no_longer(snapshots: SnapshotStore, tmp_path: Path):
    publish_by(snapshots, "1.0.0", 1, dataset="features/momentum_v1")
    publish_by(snapshots, "2.0.0", 2)
    assert set(Warehouse(tmp_path / "views.duckdb", snapshots, [V2]).rebuild()) == {
        '"features"."momentum"',
        '"features"."momentum_v2"',
    }


def test_of_restated_bars_the_latest_known_row_is_served_and_every_row_is_history(
    snapshots: SnapshotStore, tmp_path: Path
):
    bars = pa.table(
        {
            "symbol": ["A", "A", "A", "B"],
            "date": [1, 1, 2, 1],
            "known_at": [10, 30, 20, 10],
            "value": [1, 2, 3, 4],
        }
    )
    details = {"view_version": "1.0.0", "restated_rows": 1}
    snapshots.publish(
        "features/momentum", bars, provenance=Provenance(code_version="c", inputs={}, details=details), actor="ana"
    )
    warehouse = Warehouse(tmp_path / "views.duckdb", snapshots, [V1])
    assert '"features"."momentum_history"' in warehouse.rebuild()
    assert rows(warehouse.path, "features.momentum") == [(2,), (3,), (4,)]
    assert rows(warehouse.path, "features.momentum_v1") == [(2,), (3,), (4,)]
    assert rows(warehouse.path, "features.momentum_history") == [(1,), (2,), (3,), (4,)]
