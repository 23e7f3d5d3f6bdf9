"""A view's life: released, a column more, other values, two majors side by side, and back again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from mlops_assets.cli.app import main
from mlops_assets.features.publication import publish_view
from mlops_assets.features.registry import FeatureRegistry
from mlops_assets.features.versions.rollback import rollback
from mlops_assets.features.versions.schema_diff import Bump
from mlops_assets.features.versions.serving import view_to_compute
from mlops_assets.features.versions.version_check import Standing, VersionRefused
from mlops_assets.features.warehouse import Warehouse
from mlops_assets.kernel.clock import FixedClock
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.parquet.snapshots import Provenance, Snapshot, SnapshotStore
from mlops_assets.storage.sql.database import Database
from tests.features.bars import walk
from tests.features.catalogues import PACE, Views

PRICE = 'pl.col("adjusted_close")'
WIDER = {**PACE, "slower": f"{PRICE}.pct_change(9)"}
OTHER = {**WIDER, "fast": f"{PRICE}.log().diff(1)"}


class Desk:
    """Publishes views as their assets do: by the version that is active."""

    def __init__(self, views: Views, snapshots: SnapshotStore, registry: FeatureRegistry, duckdb_path: Path) -> None:
        self.views, self.snapshots, self.registry, self.path = views, snapshots, registry, duckdb_path

    def release(self) -> None:
        released = self.views.release()
        self.registry.register_release("pace", released.version, released.fingerprint, actor="ana")
        self.registry.set_active("pace", released.version, actor="ana", reason="released")

    def publish(self, name: str = "pace") -> Snapshot:
        views = self.views.all
        view = view_to_compute(views[name], views, registry=self.registry, releases=self.views.releases)
        done = publish_view(view, views, self.snapshots, code_version=view.fingerprint, actor="ana")
        return done.snapshot

    def served(self, name: str, column: str) -> list[float | None]:
        Warehouse(self.path, self.snapshots, list(self.views.all.values())).rebuild()
        with duckdb.connect(self.path, read_only=True) as connection:
            found = connection.execute(f"SELECT {column} FROM features.{name} ORDER BY symbol, date").fetchall()
        return [value for (value,) in found]

    def roll_back(self, to: str) -> None:
        catalogue = self.views.catalogue
        rollback(
            catalogue.feature_views["pace"],
            to,
            releases=self.views.releases,
            active=self.registry,
            readers=catalogue.readers("pace"),
            views=catalogue.feature_views,
            actor="ana",
            reason="log returns confuse the desk",
        )


@pytest.fixture
def desk(tmp_path: Path, snapshots: SnapshotStore, database: Database, ledger: Ledger, clock: FixedClock) -> Desk:
    bars = walk(count=60)
    snapshots.publish("market/bars", bars.to_arrow(), provenance=Provenance(code_version="c", inputs={}), actor="ana")
    views = Views(tmp_path / "catalog")
    views.declare("1.0.0")
    return Desk(views, snapshots, FeatureRegistry(database, ledger, clock), tmp_path / "views.duckdb")


def test_a_view_from_its_first_release_to_two_majors_and_back(desk: Desk, ledger: Ledger):
    views = desk.views
    desk.release()
    first = desk.publish()

    views.declare("1.0.1", WIDER)
    assert (views.check().standing, views.check().demanded) == (Standing.REFUSED, "1.1.0")
    with pytest.raises(VersionRefused, match=r"minor: column slower: added.*at least 1\.1\.0"):
        desk.release()
    views.declare("1.1.0", WIDER)
    desk.release()
    second = desk.publish()
    assert second.schema.keys() - first.schema.keys() == {"slower"}

    views.declare("1.2.0", OTHER)
    verdict = views.check()
    assert (verdict.standing, verdict.demanded) == (Standing.REFUSED, "2.0.0")
    assert [(one.bump, one.column) for one in verdict.differences if one.bump is Bump.MAJOR] == [(Bump.MAJOR, "fast")]
    views.declare("2.0.0", OTHER)
    desk.release()
    third = desk.publish()
    desk.publish("pace_v1")
    assert third.fingerprint != second.fingerprint

    simple, logarithmic = desk.served("pace_v1", "fast"), desk.served("pace_v2", "fast")
    assert desk.served("pace", "fast") == logarithmic
    pairs = [(one, other) for one, other in zip(simple, logarithmic, strict=True) if one is not None]
    assert len(pairs) == 2 * 59
    expected = pl.Series([one for one, _ in pairs]).log1p().to_list()
    assert [other for _, other in pairs] == pytest.approx(expected, abs=1e-12)

    desk.roll_back("1.0.0")
    back = desk.publish()
    assert (back.fingerprint, back.code_version) == (first.fingerprint, first.code_version)
    assert [file.sha256 for file in back.files] == [file.sha256 for file in first.files]
    assert back.details["view_version"] == "1.0.0"
    assert desk.served("pace", "fast") == simple
    assert desk.served("pace_v2", "fast") == logarithmic

    desk.roll_back("2.0.0")
    assert desk.publish().fingerprint == third.fingerprint
    assert ledger.verify().is_intact


def test_a_rollback_by_command_gives_the_first_bytes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    views = Views(tmp_path / "catalog")
    monkeypatch.setenv("MLOPS_CATALOG_PATH", str(views.folder))
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))

    def mlops(*arguments: str) -> Any:
        code = main((*arguments, "--json"))
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return json.loads(captured.out)

    for version, columns in (("1.0.0", PACE), ("2.0.0", {**PACE, "fast": OTHER["fast"]})):
        views.declare(version, columns)
        mlops("features", "release", "pace")
        assert "features/pace" in mlops("up", "--no-serve")["made"]

    back = mlops("features", "rollback", "pace", "1.0.0", "--reason", "log returns confuse the desk")
    assert (back["snapshot"], back["same_bytes_as"]) == ("features/pace@3", ["features/pace@1"])
    assert mlops("up", "--no-serve")["made"] == []
    forward = mlops("features", "rollback", "pace", "2.0.0", "--reason", "they got used to it")
    assert forward["same_bytes_as"] == ["features/pace@2"]
