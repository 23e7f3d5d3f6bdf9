"""The pages of the feature views say what is declared and released, and go when their view goes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from mlops_assets import settings
from mlops_assets.catalog.catalogue import Catalogue
from mlops_assets.catalog.loader import load_catalogue
from mlops_assets.cli import feature_docs
from mlops_assets.cli.docs import refresh
from mlops_assets.features.spec import FeatureReference
from mlops_assets.features.versions.releases import ReleaseFolder
from mlops_assets.kernel.errors import Conflict

SHIPPED = settings.PACKAGE / "catalog"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue(SHIPPED)


@pytest.fixture(scope="module")
def pages(catalogue: Catalogue) -> dict[str, str]:
    releases = ReleaseFolder(SHIPPED / "feature_views" / "released")
    return {name: page() for name, page in feature_docs.pages(catalogue, releases).items()}


def test_there_is_an_index_and_a_page_for_each_view(catalogue: Catalogue, pages: dict[str, str]):
    assert set(pages) == {"features.md", *(f"features/{name}.md" for name in catalogue.feature_views)}


def test_a_page_says_all_of_each_column(catalogue: Catalogue, pages: dict[str, str]):
    for view in catalogue.feature_views.values():
        page = pages[f"features/{view.name}.md"].replace("\\|", "|")
        for column in view.columns:
            for said in (f"`{column.name}`", column.unit, column.formula, column.description):
                assert " ".join(said.split()) in page
        assert f"{view.warm_up_bars} bars" in page
        assert f"- version: {view.version}" in page


def test_the_index_says_who_uses_a_view(pages: dict[str, str]):
    (row,) = [line for line in pages["features.md"].splitlines() if line.startswith("| [`momentum`]")]
    assert "model `signal_classifier`" in row


def test_the_examples_name_columns_that_exist(catalogue: Catalogue, pages: dict[str, str]):
    for view in catalogue.feature_views.values():
        page = pages[f"features/{view.name}.md"]
        (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
        (named,) = yaml.safe_load(example)["training_set"]["features"]
        reference = FeatureReference.parse(named)
        assert reference.column in catalogue.feature_views[reference.view].column_names
        (python,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
        compile(python, "example", "exec")


def test_a_page_lists_what_each_release_changed(tmp_path: Path):
    views = tmp_path / "catalog" / "feature_views"
    views.mkdir(parents=True)
    shutil.copy(SHIPPED / "feature_views" / "momentum.py", views)
    releases = ReleaseFolder(views / "released")
    first = load_catalogue(tmp_path / "catalog").feature_views
    releases.write(first["momentum"], first)
    text = (views / "momentum.py").read_text(encoding="utf-8")
    changed = text.replace(f'version="{first["momentum"].version}"', 'version="9.9.9"').replace(
        'owner="team:quant"', 'owner="team:speed"'
    )
    assert changed != text
    (views / "momentum.py").write_text(changed, encoding="utf-8")
    # One patch above, as far as this page is concerned: only the owner differs.
    second = load_catalogue(tmp_path / "catalog")
    releases.write(second.feature_views["momentum"], second.feature_views)
    page = feature_docs.pages(second, releases)["features/momentum.md"]()
    changes = page[page.index("## Released versions") :]
    assert changes.index("### 9.9.9") < changes.index(f"### {first['momentum'].version}")
    assert "team:speed" in changes


def test_a_page_does_not_depend_on_where_the_catalogue_lies(tmp_path: Path, pages: dict[str, str]):
    for name, text in pages.items():
        assert str(settings.SOURCE_TREE) not in text, name


def test_the_page_of_a_view_that_is_gone_is_stale_and_removed(tmp_path: Path):
    head = "<!-- Written by `mlops docs` from the code: do not edit. -->\n\n"
    found = {"features.md": f"{head}# A\n", "features/tempo.md": f"{head}# B\n"}
    assert list(refresh(tmp_path, found, is_check=False).written) == ["features.md", "features/tempo.md"]
    (tmp_path / "features" / "notes.md").write_text("# By hand\n", encoding="utf-8")
    assert refresh(tmp_path, found, is_check=True).written == []
    del found["features/tempo.md"]
    with pytest.raises(Conflict, match=r"features/tempo\.md in docs/reference"):
        refresh(tmp_path, found, is_check=True)
    assert list(refresh(tmp_path, found, is_check=False).removed) == ["features/tempo.md"]
    assert [path.name for path in (tmp_path / "features").iterdir()] == ["notes.md"]
