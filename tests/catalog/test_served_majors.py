"""Older major versions of a view are served beside the declared one, until somebody retires them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.features.spec import FeatureView
from mlops_assets.graph import build_defs
from mlops_assets.kernel.errors import InvalidDeclaration
from mlops_assets.services import ServiceFactory
from mlops_assets.settings import load_settings
from tests.features.catalogues import PACE, Views

SLOWER = {"fast": PACE["fast"], "slower": 'pl.col("adjusted_close").pct_change(9)'}


@pytest.fixture
def views(tmp_path: Path) -> Views:
    """Released: 1.0.0, 1.1.0 with a column more, 2.0.0; declared: 3.0.0."""
    made = Views(tmp_path / "catalog")
    for version, columns in (("1.0.0", PACE), ("1.1.0", {**PACE, **SLOWER}), ("2.0.0", SLOWER)):
        made.declare(version, columns)
        made.release()
    made.declare("3.0.0", {"slower": SLOWER["slower"]})
    return made


def test_each_older_major_is_served_by_its_latest_release(views: Views):
    served = {name: (view.version, view.column_names) for name, view in views.all.items()}
    assert served == {
        "pace": ("3.0.0", ("slower",)),
        "pace_v1": ("1.1.0", ("fast", "slow", "slower")),
        "pace_v2": ("2.0.0", ("fast", "slower")),
    }
    assert views.all["pace_v1"].declared_in == views.releases.get("pace", "1.1.0").source
    assert views.all["pace_v1"].dataset == "features/pace_v1"


def test_an_older_major_is_an_asset_like_any_other(views: Views, tmp_path: Path):
    defs = build_defs(ServiceFactory(load_settings(home=tmp_path, catalog_path=views.folder)))
    assert dg.AssetKey(["features", "pace_v1"]) in defs.resolve_all_asset_keys()


def test_a_retired_major_is_gone(views: Views):
    views.releases.retire("pace", 1, reason="nobody reads it", at=datetime(2026, 1, 5, tzinfo=UTC), by="ana")
    assert set(views.all) == {"pace", "pace_v2"}


def test_a_view_may_read_an_older_major_by_its_name(views: Views):
    views.declare("1.0.0", {"twice": '2 * pl.col("pace_v1.slow")'}, name="double")
    assert views.catalogue.readers("pace_v1") == {"slow": ("view double",)}
    assert views.catalogue.readers("pace") == {}


@pytest.mark.parametrize("name", ["pace_v1", "pace_v12", "pace_history"])
def test_a_declared_view_does_not_take_such_a_name(views: Views, name: str):
    views.declare("1.0.0", name=name)
    with pytest.raises(InvalidDeclaration, match="older major version"):
        views.catalogue  # noqa: B018 - loading is the act


def test_a_served_older_major_still_computes_what_it_promised(views: Views):
    verdicts = {name: views.check(name) for name in views.all}
    assert {name: verdict.is_refused for name, verdict in verdicts.items()} == dict.fromkeys(verdicts, False)


def test_a_changed_formula_below_a_served_older_major_is_refused(tmp_path: Path):
    """The source of the old version calls a function whose meaning changed since."""
    views = Views(tmp_path / "catalog")
    shared = tmp_path / "shared_window.txt"
    shared.write_text("5")
    source = f'pl.col("adjusted_close").pct_change(int(Path("{shared}").read_text()))'
    views.declare("1.0.0", {"slow": source})
    views.release()
    views.declare("2.0.0", SLOWER)
    assert not views.check("pace_v1").is_refused
    shared.write_text("6")
    verdict = views.check("pace_v1")
    assert verdict.is_refused
    assert "pace_v1" in verdict.message
    assert "column slow" in verdict.message
    assert "mlops features retire pace 1" in verdict.message


def test_the_shipped_catalogue_has_every_view_by_one_name_each():
    shipped = load_settings().catalog_path
    for view in Views(shipped).all.values():
        assert isinstance(view, FeatureView)
        assert view.declared_in.is_relative_to(shipped)
