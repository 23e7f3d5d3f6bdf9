from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pytest

from mlops_assets.catalog.feature_views.momentum import VIEW
from mlops_assets.features.look_ahead import certify
from mlops_assets.features.quality import out_of_range
from mlops_assets.features.spec import FeatureView
from mlops_assets.features.view import BrokenView, compute_view
from mlops_assets.kernel.columns import Column
from mlops_assets.kernel.errors import InvalidDeclaration, MissingColumns
from tests.features.bars import walk


def view_of(compute: Callable[[pl.DataFrame], pl.DataFrame], *names: str) -> FeatureView:
    columns = tuple(Column(name=name, type="float", description=name, is_nullable=True) for name in names)
    return replace(VIEW, columns=columns, compute=compute, warm_up_bars=5)


def one_column(make: Callable[[pl.Series], pl.Series]) -> FeatureView:
    return view_of(lambda bars: pl.DataFrame({"x": make(bars["adjusted_close"])}), "x")


def test_a_symbols_values_do_not_depend_on_its_neighbours():
    bars = walk(("AAA", "BBB"))
    alone = compute_view(VIEW, bars.filter(pl.col("symbol") == "BBB"))
    together = compute_view(VIEW, bars).filter(pl.col("symbol") == "BBB")
    assert together.equals(alone)


def test_the_index_gets_no_features_and_every_bar_keeps_its_row():
    bars = walk(("AAA", "BBB"), count=30)
    values = compute_view(VIEW, bars.sample(fraction=1.0, shuffle=True, seed=3))
    assert values["symbol"].unique().sort().to_list() == ["AAA", "BBB"]
    assert values.height == 60
    assert values["return_1d"].null_count() == 2


def test_the_momentum_view_is_certified_and_in_range():
    certificate = certify(VIEW, walk())
    assert certificate.is_clean
    assert certificate.rows_compared > 1_000
    assert out_of_range(compute_view(VIEW, walk()), VIEW.columns) == []


LEAKS: dict[str, Callable[[pl.Series], pl.Series]] = {
    "centred window": lambda price: price.rolling_mean(5, center=True),
    "full-sample z-score": lambda price: (price - price.mean()) / price.std(),
    "future join": lambda price: price.shift(-1) / price - 1,
    "backward fill": lambda price: price.rolling_mean(30).fill_null(strategy="backward"),
}


@pytest.mark.parametrize("leak", sorted(LEAKS))
def test_a_view_that_peeks_is_caught_and_named(leak: str):
    certificate = certify(one_column(LEAKS[leak]), walk())
    assert not certificate.is_clean
    assert {peek.column for peek in certificate.peeks} == {"x"}


def test_a_view_that_only_looks_back_is_not_accused():
    assert certify(one_column(lambda price: price.rolling_std(20)), walk()).is_clean


@pytest.mark.parametrize(
    ("compute", "problem"),
    [
        (lambda bars: pl.DataFrame({"y": bars["adjusted_close"]}), "returned columns"),
        (lambda bars: pl.DataFrame({"x": bars["adjusted_close"].drop_nulls().head(3)}), "returned 3 rows for 30 bars"),
        (lambda bars: pl.DataFrame({"x": bars["adjusted_close"].cast(pl.Float32)}), "not 64-bit floats"),
        (lambda bars: pl.DataFrame({"x": bars["adjusted_close"] / 0.0}), "NaN or infinity"),
    ],
)
def test_a_function_that_breaks_its_declaration_is_named(compute: Callable[[pl.DataFrame], pl.DataFrame], problem: str):
    with pytest.raises(BrokenView, match=problem) as raised:
        compute_view(view_of(compute, "x"), walk(count=30))
    assert "symbol AAA" in str(raised.value)


def test_a_column_the_source_lacks_is_reported_not_invented():
    with pytest.raises(MissingColumns, match=r"momentum needs close, volume.*adjusted_close"):
        compute_view(replace(VIEW, inputs=("close", "volume")), walk(count=30))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "Bad Name"}, "name"),
        ({"version": "1.0"}, "version"),
        ({"owner": ""}, "owner"),
        ({"columns": ()}, "columns"),
        ({"columns": VIEW.columns * 2}, "columns"),
        ({"inputs": ()}, "inputs"),
        ({"warm_up_bars": -1}, "warm_up_bars"),
    ],
)
def test_a_declaration_that_is_wrong_names_its_field(change: dict[str, object], field: str):
    with pytest.raises(InvalidDeclaration, match=rf"momentum.py: field '{field}'"):
        replace(VIEW, **change)
