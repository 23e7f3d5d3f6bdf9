"""Where the columns of views and training sets come from, read off their declarations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mlops_assets.features.spec import Feature, FeatureView, TrainingSet
from mlops_assets.market_data.bars import BARS

ColumnSources = Mapping[str, list[tuple[str, str]]]
"""For each column, the datasets and columns it is computed from, sorted."""

MADE_OF: Mapping[str, tuple[str, ...]] = {
    "adjusted_open": ("adjusted_close", "close", "open"),
    "adjusted_high": ("adjusted_close", "close", "high"),
    "adjusted_low": ("adjusted_close", "close", "low"),
    "split_factor": ("split_coefficient",),
    "index_adjusted_close": ("adjusted_close",),
}
"""The columns of a bar behind each input that is derived from it."""


def view_sources(view: FeatureView) -> ColumnSources:
    """Return where each column of a view comes from; a derived input comes from what it is made of."""
    return {column.name: sorted(set(_sources(column))) for column in view.columns}


def training_set_sources(spec: TrainingSet) -> ColumnSources:
    """Return where each feature and the label of a training set come from."""
    return {
        **{feature.column: [(f"features/{feature.view}", feature.column)] for feature in spec.features},
        **{name: [(BARS, "adjusted_close")] for name in ("forward_return", "label")},
    }


def _sources(column: Feature) -> Iterator[tuple[str, str]]:
    for name in column.bar_inputs:
        yield from ((BARS, source) for source in MADE_OF.get(name, (name,)))
    yield from ((f"features/{one.view}", one.column) for one in column.upstream)
