from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from mlops_assets.catalog.feature_views.momentum import VIEW
from mlops_assets.features.look_ahead import certify
from mlops_assets.features.quality import out_of_range
from mlops_assets.features.spec import Feature, FeatureView
from mlops_assets.features.view import BrokenView, compute_view, unavailable
from mlops_assets.kernel.errors import InvalidDeclaration
from tests.features.bars import walk

PRICE = pl.col("adjusted_close")


def one_column(expr: pl.Expr) -> FeatureView:
    return replace(VIEW, columns=(Feature(name="xx", expr=expr, description="x"),), warm_up_bars=5)


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


LEAKS = {
    "centred window": PRICE.rolling_mean(5, center=True),
    "full-sample z-score": (PRICE - PRICE.mean()) / PRICE.std(),
    "future join": PRICE.shift(-1) / PRICE - 1,
    "backward fill": PRICE.rolling_mean(30).fill_null(strategy="backward"),
}


@pytest.mark.parametrize("leak", sorted(LEAKS))
def test_a_view_that_peeks_is_caught_and_named(leak: str):
    certificate = certify(one_column(LEAKS[leak]), walk())
    assert not certificate.is_clean
    assert {peek.column for peek in certificate.peeks} == {"xx"}


def test_a_view_that_only_looks_back_is_not_accused():
    assert certify(one_column(PRICE.rolling_std(20)), walk()).is_clean


@pytest.mark.parametrize(
    ("expr", "problem"),
    [
        (PRICE.cast(pl.Float32), "column xx is Float32, declared float"),
        (PRICE / 0.0, "NaN or infinite for AAA on 2019-01-02"),
        (PRICE.str.to_uppercase(), "an expression fails"),
    ],
)
def test_an_expression_that_breaks_its_declaration_is_named(expr: pl.Expr, problem: str):
    with pytest.raises(BrokenView, match=problem) as raised:
        compute_view(one_column(expr), walk(count=30))
    assert "momentum.py" in str(raised.value)


def test_a_column_whose_inputs_a_source_lacks_is_null_and_reported():
    columns = (*one_column(PRICE).columns, Feature(name="shares", expr=pl.col("volume") * PRICE, description="x"))
    view = replace(VIEW, columns=columns)
    bars = walk(count=30)
    values = compute_view(view, bars)
    assert unavailable(view, bars) == {"shares": ("volume",)}
    assert values["shares"].null_count() == values.height == 60
    assert values["xx"].null_count() == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "Bad Name"}, "name"),
        ({"version": "1.0"}, "version"),
        ({"owner": ""}, "owner"),
        ({"columns": ()}, "columns"),
        ({"columns": VIEW.columns * 2}, "columns"),
        ({"columns": (Feature(name="xx", expr=pl.lit(1.0), description="x"),)}, "columns.xx"),
        ({"warm_up_bars": -1}, "warm_up_bars"),
    ],
)
def test_a_declaration_that_is_wrong_names_its_field(change: dict[str, object], field: str):
    with pytest.raises(InvalidDeclaration, match=rf"momentum.py: field '{field}'"):
        replace(VIEW, **change)
