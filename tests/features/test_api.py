from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.features.api import DatasetFacts, DatasetPages
from tests.features.freeze import COUNT, freeze, store


def test_a_frozen_set_is_shown_with_its_features_figures_query_and_snapshots(tmp_path: Path):
    snapshots = store(tmp_path)
    frozen = freeze(snapshots)
    facts = DatasetFacts(description="A set of a test.", owner="team:quant")
    pages = DatasetPages(snapshots=snapshots, declared={frozen.dataset: facts})
    shown = pages.detail("datasets.pace_daily")
    assert shown.features == ["mean_10d", "return_1d"]
    assert shown.views == {"pace": "1.2.0"}
    assert len(shown.sample_data) == 100
    assert shown.query["label"]["horizon_sessions"] == 3
    assert [one["dataset"] for one in shown.snapshots] == ["market/bars", "features/pace"]
    assert shown.statistics["mean_10d"]["count"] == 2 * (COUNT - 9)
    rows = pl.DataFrame(snapshots.read(frozen)).drop_nulls(["mean_10d", "return_1d", "forward_return"])
    (pair,) = [one for one in shown.correlation_matrix if (one.feature1, one.feature2) == ("mean_10d", "return_1d")]
    assert pair.correlation == pytest.approx(rows.select(pl.corr("mean_10d", "return_1d")).item())
    json.dumps(shown.model_dump(mode="json", by_alias=True), allow_nan=False)


def test_the_first_rows_are_those_of_the_file(tmp_path: Path):
    snapshots = store(tmp_path)
    frozen = freeze(snapshots)
    shown = DatasetPages(snapshots=snapshots, declared={}).detail("datasets.pace_daily")
    first = pl.DataFrame(snapshots.read(frozen)).row(50, named=True)
    assert shown.sample_data[50]["symbol"] == first["symbol"]
    assert shown.sample_data[50]["mean_10d"] == first["mean_10d"]
    assert shown.sample_data[0]["mean_10d"] is None


def test_a_view_is_shown_with_the_figures_of_its_snapshot(tmp_path: Path):
    snapshots = store(tmp_path)
    freeze(snapshots)
    shown = DatasetPages(snapshots=snapshots, declared={}).detail("features.pace")
    assert shown.features == ["return_1d", "mean_10d"]
    assert shown.statistics["return_1d"]["nulls"] == 2
    assert [one.feature2 for one in shown.correlation_matrix] == ["mean_10d"]
