"""What the figures of the asset pages show."""

from __future__ import annotations

import polars as pl

from mlops_assets.features.plots import distributions
from mlops_assets.features.spec import Feature


def test_every_column_has_a_panel_and_no_panel_is_empty():
    columns = [Feature(name=f"c{number}", expr=pl.col("close"), description="x") for number in range(4)]
    values = pl.DataFrame({column.name: [1.0, 2.0, 4.0] for column in columns})
    shown = [axis for axis in distributions(values, columns).axes if axis.get_visible()]
    assert [axis.get_title() for axis in shown] == ["c0", "c1", "c2", "c3"]
