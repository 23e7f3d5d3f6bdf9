"""A catalogue of feature views on a temporary folder, edited as its users edit theirs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlops_assets.catalog.catalogue import Catalogue
from mlops_assets.catalog.loader import RELEASED, load_catalogue
from mlops_assets.features.spec import FeatureView
from mlops_assets.features.versions.releases import Release, ReleaseFolder
from mlops_assets.features.versions.schema_diff import Difference
from mlops_assets.features.versions.version_check import Verdict, check_view, compare, release_view

PACE = {"fast": 'pl.col("adjusted_close").pct_change(1)', "slow": 'pl.col("adjusted_close").pct_change(5)'}


@dataclass(frozen=True)
class Views:
    """The views of a catalogue and their releases."""

    folder: Path

    @property
    def catalogue(self) -> Catalogue:
        return load_catalogue(self.folder)

    @property
    def all(self) -> dict[str, FeatureView]:
        return dict(self.catalogue.feature_views)

    @property
    def releases(self) -> ReleaseFolder:
        return ReleaseFolder(self.folder / "feature_views" / RELEASED)

    def declare(
        self, version: str, columns: dict[str, str] = PACE, *, name: str = "pace", owner: str = "team:ana"
    ) -> Path:
        """Write a view's file, its columns given as source text, and return the path."""
        listed = "\n".join(
            f'        Feature(name="{column}", expr={source}, description="{column}."),'
            for column, source in columns.items()
        )
        text = f'''"""{name}, for a test."""

from pathlib import Path

import polars as pl

from mlops_assets.features.spec import Feature, FeatureView

VIEW = FeatureView(
    name="{name}",
    version="{version}",
    owner="{owner}",
    description="For a test.",
    warm_up_bars=5,
    columns=(
{listed}
    ),
    declared_in=Path(__file__),
)
'''
        file = self.folder / "feature_views" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def check(self, name: str = "pace") -> Verdict:
        catalogue = self.catalogue
        return check_view(
            catalogue.feature_views[name], catalogue.feature_views, self.releases, catalogue.readers(name)
        )

    def release(self, name: str = "pace") -> Release:
        catalogue = self.catalogue
        return release_view(
            catalogue.feature_views[name], catalogue.feature_views, self.releases, catalogue.readers(name)
        )

    def differences(self, version: str, name: str = "pace") -> list[Difference]:
        return compare(self.releases.get(name, version), self.all[name], self.all, self.releases)
