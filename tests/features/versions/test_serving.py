"""The asset of a view computes what readers are to get, and fixes a release the first time it does."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa

from mlops_assets import settings
from mlops_assets.catalog.loader import load_catalogue
from mlops_assets.features.registry import FeatureRegistry
from mlops_assets.features.spec import FeatureReference, FeatureView, Folds, Label, TrainingSet
from mlops_assets.features.versions.releases import ReleaseFolder
from mlops_assets.features.versions.serving import (
    archived_among,
    fix_release,
    problem_of_release,
    refuse_archived,
    view_to_compute,
)
from mlops_assets.features.view_status import ReleaseChanged, ReleaseGone
from mlops_assets.kernel.clock import FixedClock
from mlops_assets.kernel.errors import Conflict
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import feature_view


@pytest.fixture
def registry(database: Database, ledger: Ledger, clock: FixedClock) -> FeatureRegistry:
    return FeatureRegistry(database, ledger, clock)


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    views = tmp_path / "catalog" / "feature_views"
    views.mkdir(parents=True)
    shutil.copy(settings.PACKAGE / "catalog" / "feature_views" / "trend.py", views)
    return tmp_path / "catalog"


def declared(catalog: Path) -> dict[str, FeatureView]:
    return dict(load_catalogue(catalog).feature_views)


def releases_of(catalog: Path) -> ReleaseFolder:
    return ReleaseFolder(catalog / "feature_views" / "released")


def rewrite(catalog: Path, old: str, new: str) -> None:
    file = catalog / "feature_views" / "trend.py"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_a_version_that_is_not_released_is_computed_and_not_fixed(catalog: Path, registry: FeatureRegistry):
    views, releases = declared(catalog), releases_of(catalog)
    assert view_to_compute(views["trend"], views, registry=registry, releases=releases) is views["trend"]
    fix_release(views["trend"], registry=registry, releases=releases, actor="dagster")
    assert registry.releases("trend") == []


def test_a_release_is_fixed_once_and_another_content_under_it_is_refused(catalog: Path, registry: FeatureRegistry):
    views = declared(catalog)
    release = releases_of(catalog).write(views["trend"], views)
    for _ in range(2):
        fix_release(views["trend"], registry=registry, releases=releases_of(catalog), actor="dagster")
    (registered,) = registry.releases("trend")
    assert (registered.version, registered.fingerprint) == (release.version, release.fingerprint)
    assert len(registry.history("trend")) == 1
    rewrite(catalog, 'owner="team:quant"', 'owner="team:speed"')
    with pytest.raises(ReleaseChanged, match="a released version never changes"):
        fix_release(declared(catalog)["trend"], registry=registry, releases=releases_of(catalog), actor="dagster")


def test_after_a_rollback_the_older_source_is_computed_until_the_newer_is_active_again(
    catalog: Path, registry: FeatureRegistry
):
    first = declared(catalog)
    version = first["trend"].version
    releases_of(catalog).write(first["trend"], first)
    fix_release(first["trend"], registry=registry, releases=releases_of(catalog), actor="dagster")
    rewrite(catalog, f'version="{version}"', 'version="1.9.0"')
    second, releases = declared(catalog), releases_of(catalog)
    releases.write(second["trend"], second)
    fix_release(second["trend"], registry=registry, releases=releases, actor="dagster")

    def computed() -> str:
        return view_to_compute(second["trend"], second, registry=registry, releases=releases).version

    assert computed() == "1.9.0"
    registry.set_active("trend", version, actor="ann", reason="1.9.0 is worse")
    assert computed() == version
    registry.set_active("trend", "1.9.0", actor="ann", reason="it is not")
    assert computed() == "1.9.0"


def test_a_new_version_is_computed_until_it_is_activated_however_often_it_is_published(
    catalog: Path, registry: FeatureRegistry
):
    first = declared(catalog)
    version = first["trend"].version
    releases_of(catalog).write(first["trend"], first)
    fix_release(first["trend"], registry=registry, releases=releases_of(catalog), actor="dagster")
    registry.set_active("trend", version, actor="ann", reason="the first one")
    rewrite(catalog, f'version="{version}"', 'version="1.9.0"')
    second, releases = declared(catalog), releases_of(catalog)
    releases.write(second["trend"], second)
    for _ in range(2):
        computed = view_to_compute(second["trend"], second, registry=registry, releases=releases)
        assert computed.version == "1.9.0"
        fix_release(computed, registry=registry, releases=releases, actor="dagster")


def test_a_registered_version_whose_record_is_gone_is_not_published_again(catalog: Path, registry: FeatureRegistry):
    first = declared(catalog)
    releases_of(catalog).write(first["trend"], first)
    fix_release(first["trend"], registry=registry, releases=releases_of(catalog), actor="dagster")
    shutil.rmtree(releases_of(catalog).folder / "trend")
    rewrite(catalog, 'owner="team:quant"', 'owner="team:speed"')
    changed = declared(catalog)["trend"]
    with pytest.raises(ReleaseGone, match=r"trend/1\.0\.0\. Restore it from Git"):
        fix_release(changed, registry=registry, releases=releases_of(catalog), actor="dagster")
    assert "its record is gone" in problem_of_release(changed, registry=registry, releases=releases_of(catalog))


def test_the_problem_of_a_release_is_said_without_registering_anything(catalog: Path, registry: FeatureRegistry):
    views, releases = declared(catalog), releases_of(catalog)
    assert problem_of_release(views["trend"], registry=registry, releases=releases) == ""
    releases.write(views["trend"], views)
    assert problem_of_release(views["trend"], registry=registry, releases=releases) == ""
    assert registry.releases("trend") == []
    registry.register_release("trend", views["trend"].version, "f" * 64, actor="dagster")
    said = problem_of_release(views["trend"], registry=registry, releases=releases)
    assert "was released as ffffffffffff" in said


def test_no_training_set_reads_a_view_that_was_put_away(registry: FeatureRegistry, database: Database):
    spec = TrainingSet(
        name="pace_daily",
        owner="team:quant",
        description="For a test.",
        features=(FeatureReference(view="trend_v1", column="sma_20"), FeatureReference(view="pace", column="fast")),
        label=Label(horizon_sessions=5),
        folds=Folds(train_until=date(2020, 1, 1), valid_until=date(2021, 1, 1), embargo_sessions=5),
        declared_in=Path("models/pace.yaml"),
    )
    refuse_archived(spec, registry)
    registry.register_release("trend", "1.0.0", "f" * 64, actor="dagster")
    registry.set_active("trend", "1.0.0", actor="ann", reason="the first one")
    with database.begin() as connection:
        connection.execute(sa.update(feature_view).values(status="archived"))
    assert archived_among(("trend", "trend_v1", "pace"), registry) == ["trend", "trend_v1"]
    with pytest.raises(Conflict, match=r"training set pace_daily in models/pace\.yaml reads trend_v1, archived"):
        refuse_archived(spec, registry)
