from __future__ import annotations

import json
import statistics as textbook
from datetime import date

import numpy as np
import polars as pl
import pytest

from mlops_assets.features.plots import distributions
from mlops_assets.features.statistics import correlations, statistics
from mlops_assets.kernel.columns import Column, ColumnType
from mlops_assets.orchestration.results import png_bytes


def column(name: str, kind: ColumnType = "float") -> Column:
    return Column(name=name, type=kind, description="A column of a test.", unit="points")


FRAME = pl.DataFrame(
    {
        "number": [4.0, 1.0, None, 3.0, 2.0],
        "constant": [7.0] * 5,
        "nothing": pl.Series([None] * 5, dtype=pl.Float64),
        "count": pl.Series([1, 2, 3, 4, None], dtype=pl.Int64),
        "word": ["bullish", "bearish", "bullish", None, "volatile"],
        "claim": [True, False, True, True, None],
        "day": [date(2020, 1, day) for day in (5, 1, 2, 3, 4)],
        "wild": [float("inf"), 1.0, 2.0, 3.0, float("nan")],
    }
)
COLUMNS = [
    column("number"),
    column("constant"),
    column("nothing"),
    column("count", "integer"),
    column("word", "string"),
    column("claim", "boolean"),
    column("day", "date"),
]


def test_numbers_by_hand():
    found = statistics(FRAME, COLUMNS)["number"]
    assert (found["count"], found["nulls"], found["min"], found["max"]) == (4, 1, 1.0, 4.0)
    assert (found["mean"], found["p50"], found["p25"]) == (2.5, 2.5, 1.75)
    assert found["std"] == pytest.approx(textbook.stdev([1, 2, 3, 4]))


def test_quantiles_are_those_of_numpy():
    values = np.random.default_rng(3).normal(size=997)
    found = statistics(pl.DataFrame({"x": values}), [column("x")])["x"]
    for name, share in (("p01", 1), ("p05", 5), ("p95", 95), ("p99", 99)):
        assert found[name] == pytest.approx(np.percentile(values, share), rel=1e-9)


def test_a_column_without_values_has_no_figures_and_a_constant_one_does_not_spread():
    found = statistics(FRAME, COLUMNS)
    assert found["nothing"] == {**dict.fromkeys(found["number"]), "count": 0, "nulls": 5}
    assert (found["constant"]["std"], found["constant"]["p01"], found["constant"]["max"]) == (0.0, 7.0, 7.0)


def test_words_and_claims_are_counted():
    found = statistics(FRAME, COLUMNS)
    assert found["word"] == {
        "count": 4,
        "nulls": 1,
        "distinct": 3,
        "top": {"bullish": 2, "bearish": 1, "volatile": 1},
    }
    assert found["claim"]["top"] == {"true": 3, "false": 1}
    assert (found["day"]["min"], found["day"]["max"]) == ("2020-01-01", "2020-01-05")


def test_everything_can_be_written_as_json_even_of_wild_and_empty_tables():
    for frame in (FRAME, FRAME.clear()):
        json.dumps(statistics(frame, [*COLUMNS, column("wild")]), allow_nan=False)


def test_correlations_are_those_of_complete_rows():
    generator = np.random.default_rng(1)
    one = generator.normal(size=200)
    frame = pl.DataFrame({"one": one, "other": one + generator.normal(size=200), "still": [1.0] * 200})
    gaps = frame.with_columns(other=pl.when(pl.int_range(pl.len()) > 9).then("other"))
    found = {(row["feature1"], row["feature2"]): row["correlation"] for row in correlations(gaps, frame.columns)}
    complete = gaps.drop_nulls()
    expected = textbook.correlation(complete["one"].to_list(), complete["other"].to_list())
    assert found[("one", "other")] == pytest.approx(expected)
    assert found[("one", "still")] is None
    assert correlations(frame, ["one"]) == []
    assert correlations(frame.clear(), ["one", "other"])[0]["correlation"] is None


@pytest.mark.filterwarnings("error")
def test_every_kind_of_column_can_be_drawn():
    assert len(png_bytes(distributions(FRAME, COLUMNS[:-1]))) > 10_000
    png_bytes(distributions(FRAME.clear(), COLUMNS[:-1]))
    png_bytes(distributions(FRAME, COLUMNS[:1]))
