"""A few words find the views and columns they are about; words that nothing has are answered with near ones."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets import settings
from mlops_assets.catalog.feature_search import KOREAN, search
from mlops_assets.catalog.loader import load_catalogue
from mlops_assets.features.spec import Feature, FeatureView


def view(name: str, *columns: Feature, description: str = "Numbers.", tags: tuple[str, ...] = ()) -> FeatureView:
    return FeatureView(
        name=name,
        version="1.0.0",
        owner="team:quant",
        description=description,
        warm_up_bars=1,
        columns=columns,
        tags=tags,
        declared_in=Path(__file__),
    )


def column(name: str, description: str = "A number.", *, unit: str = "", formula: str = "") -> Feature:
    return Feature(name=name, expr=pl.col("adjusted_close"), description=description, unit=unit, formula=formula)


VIEWS = (
    view(
        "speed",
        column("rsi_14", "Relative strength index.", unit="points", formula="100 G / (G + L) (Wilder 1978)"),
        column("return_5d", "Return over five sessions.", unit="fraction"),
        tags=("technical",),
    ),
    view("risk", column("volatility_20d", "How far returns scatter."), description="How far a price moves."),
)


def names(words: str) -> list[str]:
    return [hit.name for hit in search(words, VIEWS).hits]


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("rsi_14", "speed.rsi_14"),
        ("speed.rsi_14", "speed.rsi_14"),
        ("risk", "risk"),
        ("wilder", "speed.rsi_14"),
        ("points", "speed.rsi_14"),
        ("volat", "risk.volatility_20d"),
        ("RETURN five", "speed.return_5d"),
        ("수익률", "speed.return_5d"),
        ("변동성을", "risk.volatility_20d"),
        ("상대강도지수", "speed.rsi_14"),
    ],
)
def test_the_best_hit_comes_first(words: str, first: str):
    assert names(words)[0] == first


def test_what_has_more_of_the_words_comes_before_what_has_one_prominently():
    assert names("relative points speed")[0] == "speed.rsi_14"


def test_a_hit_says_where_it_was_found():
    (hit,) = search("wilder", VIEWS).hits
    assert (hit.found_in, hit.matched) == (("formula",), ("wilder",))


def test_words_that_nothing_has_are_answered_with_near_ones():
    found = search("volatilty", VIEWS)
    assert found.hits == ()
    assert "volatility" in found.near
    assert search("zzz", VIEWS).near == ()


@given(words=st.text(max_size=30))
def test_any_words_are_answered_in_the_same_order_each_time(words: str):
    assert search(words, VIEWS) == search(words, tuple(reversed(VIEWS)))


def test_every_column_and_view_of_the_catalogue_is_found_by_its_name():
    views = load_catalogue(settings.PACKAGE / "catalog").feature_views.values()
    for one in views:
        assert search(one.name, views).hits[0].name == one.name
        for feature in one.columns:
            best = {hit.name for hit in search(f"{one.name}.{feature.name}", views).hits[:1]}
            assert best == {f"{one.name}.{feature.name}"}


def test_every_korean_word_finds_something_in_the_catalogue():
    views = load_catalogue(settings.PACKAGE / "catalog").feature_views.values()
    assert [word for word in KOREAN if not search(word, views).hits] == []
