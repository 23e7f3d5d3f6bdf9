from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import polars as pl
import pytest

from mlops_assets.catalog.feature_views.momentum import VIEW
from mlops_assets.features.bar_rows import BarRows, BrokenBars
from mlops_assets.features.look_ahead import certify
from mlops_assets.features.quality import out_of_range
from mlops_assets.features.spec import Feature, FeatureView, Partition
from mlops_assets.features.view import BrokenView, compute_view, unavailable, with_upstream
from mlops_assets.kernel.errors import InvalidDeclaration, MissingColumns, PlatformError
from tests.features.bars import ohlcv_walk, walk

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
        (PRICE.drop_nulls().head(3), "6 values for 60 rows"),
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


def test_the_order_of_the_rows_does_not_matter():
    bars = ohlcv_walk(count=80)
    for view in (VIEW, of_day(), of_index()):
        sorted_rows = compute_view(view, bars)
        assert sorted_rows.equals(compute_view(view, bars.sample(fraction=1.0, shuffle=True, seed=5)))
        assert sorted_rows.equals(compute_view(view, bars.reverse()))
        assert sorted_rows.select("symbol", "date").equals(sorted_rows.select("symbol", "date").sort("symbol", "date"))


def of_day() -> FeatureView:
    rank = (PRICE.rank() - 1) / PRICE.count()
    return replace(one_column(rank), partition=Partition.DATE)


def of_index() -> FeatureView:
    return replace(one_column(PRICE.rolling_mean(3)), partition=Partition.INDEX)


def test_a_view_of_days_compares_the_stocks_of_a_day_and_leaves_out_the_index():
    bars = ohlcv_walk(("AAA", "BBB", "CCC", "DDD"), count=20)
    for (_,), rows in compute_view(of_day(), bars).group_by("date"):
        assert sorted(rows["xx"].to_list()) == [0.0, 0.25, 0.5, 0.75]


def test_one_value_for_a_day_stands_for_all_its_stocks():
    bars = ohlcv_walk(("AAA", "BBB", "CCC"), count=20)
    values = compute_view(replace(of_day(), columns=one_column(PRICE.max()).columns), bars)
    highest = bars.filter(~pl.col("is_index")).group_by("date").agg(pl.col("adjusted_close").max())
    assert values["xx"].to_list() == values.join(highest, on="date", how="left")["adjusted_close"].to_list()


def test_a_view_of_the_index_gives_every_stock_the_days_value():
    bars = ohlcv_walk(count=20)
    index = bars.filter("is_index").sort("date")
    expected = dict(zip(index["date"], index["adjusted_close"].rolling_mean(3), strict=True))
    values = compute_view(of_index(), bars)
    assert values.height == 60
    assert values["xx"].to_list() == [expected[day] for day in values["date"]]


def test_bars_prepared_once_serve_several_views():
    bars = ohlcv_walk(count=60)
    prepared = BarRows(bars)
    for view in (VIEW, of_day(), of_index()):
        assert compute_view(view, prepared).equals(compute_view(view, bars))


def test_columns_that_share_a_struct_are_what_they_are_alone():
    bars = ohlcv_walk(count=60)
    together = compute_view(VIEW, bars)
    for column in VIEW.columns:
        alone = compute_view(replace(VIEW, columns=(column,)), bars)
        assert alone[column.name].equals(together[column.name])


def test_inputs_are_adjusted_as_the_close_is():
    bars = ohlcv_walk(("AAA",), count=50)
    stock = bars.filter(~pl.col("is_index"))
    for name in ("open", "high", "low"):
        found = compute_view(one_column(pl.col(f"adjusted_{name}") * 1.0), bars)["xx"]
        expected = stock[name] * stock["adjusted_close"] / stock["close"]
        assert (found / expected - 1).abs().max() < 1e-14  # pyright: ignore[reportOperatorIssue]
    splits = compute_view(one_column(pl.col("split_factor") * 1.0), bars)["xx"]
    assert splits.to_list() == stock["split_coefficient"].cum_prod().to_list()


def test_a_bar_without_a_split_coefficient_has_no_split():
    bars = ohlcv_walk(("AAA",), count=50)
    expected = bars.with_columns(split_coefficient=pl.lit(1.0))
    factor = one_column(pl.col("split_factor") * 1.0)
    for lacking in (bars.drop("split_coefficient"), bars.with_columns(split_coefficient=pl.lit(None, pl.Float64))):
        assert compute_view(factor, lacking).equals(compute_view(factor, expected))


def test_of_several_indexes_the_first_by_name_counts():
    bars = ohlcv_walk(("AAA",), count=20)
    second = bars.filter("is_index").with_columns(symbol=pl.lit("ZZZ"), adjusted_close=pl.lit(1.0))
    assert compute_view(of_index(), pl.concat([second, bars])).equals(compute_view(of_index(), bars))


def test_without_an_index_its_columns_are_null_and_reported():
    bars = ohlcv_walk(("AAA", "BBB"), count=20).filter(~pl.col("is_index"))
    to_index = one_column(PRICE / pl.col("index_adjusted_close"))
    assert unavailable(of_index(), bars) == {"xx": ("adjusted_close",)}
    assert unavailable(to_index, bars) == {"xx": ("index_adjusted_close",)}
    for view in (of_index(), to_index):
        values = compute_view(view, bars)
        assert values.height == values["xx"].null_count() == 40


@pytest.mark.parametrize("view", [VIEW, of_day(), of_index()], ids=["stock", "day", "index"])
def test_no_bars_give_no_rows_with_the_declared_types(view: FeatureView):
    values = compute_view(view, ohlcv_walk(count=20).clear())
    assert values.is_empty()
    assert values.schema == compute_view(view, ohlcv_walk(count=20)).schema


TWICE = "two rows for AAA on 2019-01-02.*latest_known"
BAD_BARS: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], str]] = {
    "no known_at": (lambda bars: bars.drop("known_at"), "needs known_at"),
    "no is_index": (lambda bars: bars.drop("is_index"), "needs is_index"),
    "naive": (
        lambda bars: bars.with_columns(pl.col("event_at").dt.replace_time_zone(None)),
        "event_at is Datetime.*replace_time_zone",
    ),
    "date as text": (lambda bars: bars.with_columns(pl.col("date").cast(pl.String)), "column date is String, it must"),
    "single precision": (
        lambda bars: bars.with_columns(pl.col("adjusted_close").cast(pl.Float32)),
        "column adjusted_close is Float32",
    ),
    "volume as float": (lambda bars: bars.with_columns(pl.col("volume").cast(pl.Float64)), "column volume is Float64"),
    "no symbol": (
        lambda bars: bars.with_columns(symbol=pl.when(pl.int_range(pl.len()) != 3).then("symbol")),
        "column symbol is null in row 3",
    ),
    "a bar twice": (lambda bars: pl.concat([bars, bars.head(1)]), TWICE),
    "restated": (
        lambda bars: pl.concat([bars, bars.head(1).with_columns(pl.col("known_at").dt.offset_by("1d"))]).reverse(),
        TWICE,
    ),
    "the index twice": (lambda bars: pl.concat([bars, bars.filter("is_index")]), "two rows for INDEX on 2019-01-02"),
}


@pytest.mark.parametrize("fault", sorted(BAD_BARS))
def test_bars_that_are_not_bars_are_refused_with_a_remedy(fault: str):
    spoil, message = BAD_BARS[fault]
    with pytest.raises(PlatformError, match=message):
        compute_view(VIEW, spoil(ohlcv_walk(count=20)))


def test_a_price_of_zero_is_refused_by_name():
    bars = ohlcv_walk(("AAA",), count=20).with_columns(
        adjusted_close=pl.when(pl.int_range(pl.len()) == 4).then(0.0).otherwise("adjusted_close")
    )
    with pytest.raises(BrokenView, match=r"return_1d is NaN or infinite for AAA on 2019-01-09"):
        compute_view(VIEW, bars)


READER = replace(
    one_column(pl.col("momentum.return_1d") * 2),
    name="reader",
)


def test_a_view_reads_the_columns_of_another_row_by_row():
    bars = ohlcv_walk(count=20)
    values = with_upstream(READER, {"momentum": VIEW}, bars)
    assert values["xx"].to_list() == (compute_view(VIEW, bars)["return_1d"] * 2).to_list()


def test_a_row_that_the_other_view_lacks_is_null():
    bars = ohlcv_walk(("AAA",), count=20)
    upstream = compute_view(VIEW, bars)
    values = compute_view(READER, bars, {"momentum": upstream.filter(pl.int_range(pl.len()) != 7).reverse()})
    assert values["xx"].is_null().arg_true().to_list() == [0, 7]


def test_another_view_that_is_missing_or_not_one_row_a_bar_is_named():
    bars = ohlcv_walk(("AAA",), count=20)
    upstream = compute_view(VIEW, bars)
    with pytest.raises(MissingColumns, match=r"momentum\.return_1d.*Materialise momentum first"):
        compute_view(READER, bars)
    with pytest.raises(MissingColumns, match=r"needs momentum\.return_1d"):
        compute_view(READER, bars, {"momentum": upstream.drop("return_1d")})
    with pytest.raises(BrokenView, match="momentum has two rows for AAA on 2019-01-02"):
        compute_view(READER, bars, {"momentum": pl.concat([upstream, upstream.head(1)])})


def test_broken_bars_have_a_code_of_their_own():
    assert BrokenBars.code == "broken_bars"


def test_a_view_of_the_calendar_gives_every_stock_the_days_value_and_reads_nothing_else():
    day = Feature(name="weekday", type="integer", expr=pl.col("date").dt.weekday().cast(pl.Int64), description="x")
    view = replace(VIEW, columns=(day,), partition=Partition.CALENDAR)
    bars = walk(count=30).filter((pl.col("symbol") != "BBB") | (pl.col("date") > date(2019, 1, 10)))
    values = compute_view(view, bars)
    assert values["weekday"].to_list() == [one.isoweekday() for one in values["date"].to_list()]
    assert values.height == bars.filter(~pl.col("is_index")).height
    with pytest.raises(InvalidDeclaration, match=r"columns.xx.*reads adjusted_close.*date alone"):
        replace(one_column(PRICE), partition=Partition.CALENDAR)
