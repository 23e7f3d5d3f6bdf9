from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mlops_assets.catalog.feature_views.momentum import VIEW
from mlops_assets.features.knowledge import (
    Known,
    compute_known,
    group_of,
    known_as_of,
    latest_known,
)
from mlops_assets.features.spec import Feature, FeatureView, Partition
from mlops_assets.features.table_shape import MalformedTable
from mlops_assets.features.view import compute_view, with_upstream
from mlops_assets.kernel.errors import MissingColumns
from tests.features.bars import sessions

DAYS = sessions(7)
SYMBOLS = ("AAA", "BBB", "INDEX")
PRICE, INDEX_PRICE = pl.col("adjusted_close"), pl.col("index_adjusted_close")


def view(name: str, partition: Partition, **columns: pl.Expr) -> FeatureView:
    features = tuple(Feature(name=column, expr=expr, description="x") for column, expr in columns.items())
    return replace(VIEW, name=name, columns=features, partition=partition, warm_up_bars=3)


SMOOTH = view(
    "smooth",
    Partition.SYMBOL,
    smoothed=PRICE.ewm_mean(alpha=0.5, adjust=False),
    mean_2=PRICE.rolling_mean(2),
    volume_or_zero=pl.col("volume").cast(pl.Float64).fill_null(-1.0),
)
VIEWS = {
    "smooth": SMOOTH,
    "relation": view("relation", Partition.SYMBOL, excess=PRICE.pct_change() - INDEX_PRICE.pct_change()),
    "ranks": view("ranks", Partition.DATE, rank=PRICE.rank()),
    "regime": view("regime", Partition.INDEX, trend=PRICE.ewm_mean(alpha=0.3, adjust=False)),
    "ranked_smooth": view("ranked_smooth", Partition.DATE, rank=pl.col("smooth.smoothed").rank()),
}


def close(day: date, hour: int = 21) -> datetime:
    return datetime.combine(day, time(hour), tzinfo=UTC)


@dataclass(frozen=True)
class Event:
    """What a vendor did to one bar `after` days later: another value, or none any more."""

    symbol: str
    day: int
    after: int
    value: float | None


def knowledge(
    prices: dict[tuple[str, int], float], events: list[Event], late: dict[tuple[str, int], int]
) -> pl.DataFrame:
    """Return rows of bars with `known_at` and `superseded_at`, as the ingestion keeps them."""
    rows = list[dict[str, object]]()
    for (symbol, day), price in prices.items():
        known = close(DAYS[day], 22) + timedelta(days=late.get((symbol, day), 0))
        versions: list[tuple[datetime, float | None]] = [(known, price)]
        for event in sorted((one for one in events if (one.symbol, one.day) == (symbol, day)), key=lambda e: e.after):
            at = close(DAYS[day], 23) + timedelta(days=late.get((symbol, day), 0) + event.after)
            if at > versions[-1][0] and versions[-1][1] is not None:
                versions.append((at, event.value))
        for (known_at, value), stopped in zip(versions, [*(at for at, _ in versions[1:]), None], strict=True):
            if value is not None:
                rows.append(
                    {
                        "symbol": symbol,
                        "date": DAYS[day],
                        "event_at": close(DAYS[day]),
                        "known_at": known_at,
                        "adjusted_close": value,
                        "volume": 5 if symbol == "AAA" else None,
                        "is_index": symbol == "INDEX",
                        "superseded_at": stopped,
                    }
                )
    schema = {"volume": pl.Int64, "superseded_at": pl.Datetime("us", "UTC")}
    return pl.DataFrame(rows, schema_overrides=schema).sample(fraction=1.0, shuffle=True, seed=7)


prices = st.dictionaries(
    st.tuples(st.sampled_from(SYMBOLS), st.integers(0, len(DAYS) - 1)), st.floats(1, 100), min_size=8, max_size=21
)
events = st.lists(
    st.builds(
        Event,
        symbol=st.sampled_from(SYMBOLS),
        day=st.integers(0, len(DAYS) - 1),
        after=st.integers(0, 9),
        value=st.none() | st.floats(1, 100),
    ),
    max_size=5,
)
late = st.dictionaries(
    st.tuples(st.sampled_from(SYMBOLS), st.integers(0, len(DAYS) - 1)), st.integers(1, 6), max_size=2
)
worlds = st.builds(knowledge, prices, events, late)


def published(name: str, bars: pl.DataFrame) -> pl.DataFrame:
    """Return a view's rows, from the published rows of those it reads."""
    read = {one: published(one, bars) for one in VIEWS[name].upstream_views}
    return compute_known(VIEWS[name], bars, read)


def instants(bars: pl.DataFrame) -> list[datetime]:
    times = {*bars["known_at"], *bars["superseded_at"].drop_nulls()}
    return sorted(times | {at - timedelta(minutes=1) for at in times})


def seen(bars: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """Return the bars as known at an instant, the slow way."""
    best = dict[tuple[str, date], dict[str, object]]()
    for row in sorted(bars.iter_rows(named=True), key=lambda one: one["known_at"]):
        if row["known_at"] <= at and (row["superseded_at"] is None or row["superseded_at"] > at):
            best[row["symbol"], row["date"]] = row
    return pl.DataFrame(list(best.values()), schema=bars.schema).drop("superseded_at").sort("symbol", "date")


@pytest.mark.parametrize("name", sorted(VIEWS))
@settings(max_examples=30, phases=[Phase.explicit, Phase.generate])
@given(bars=worlds)
def test_what_was_known_at_any_instant_is_what_the_view_gives_for_the_bars_known_then(name: str, bars: pl.DataFrame):
    rows = published(name, bars)
    assert not rows.select("symbol", "date", "known_at").is_duplicated().any()
    for at in instants(bars):
        known = seen(bars, at)
        stocks = known.filter(~pl.col("is_index"))
        if stocks.is_empty():
            continue
        expected = with_upstream(VIEWS[name], VIEWS, known)
        told = known_as_of(rows, at)
        both = expected.join(told, on=["symbol", "date"], how="inner", suffix="_told")
        for column in set(VIEWS[name].column_names) - {"volume_or_zero"}:  # null until any stock has a volume
            assert both[column].to_list() == both[f"{column}_told"].to_list(), (column, at)
        if name == "smooth":  # nothing but a stock's own bar delays it
            assert both.height == expected.height


@pytest.mark.parametrize("name", sorted(VIEWS))
@settings(max_examples=30, phases=[Phase.explicit, Phase.generate])
@given(bars=worlds, drawn=st.data())
def test_some_groups_computed_apart_have_the_rows_of_a_full_computation(
    name: str, bars: pl.DataFrame, drawn: st.DataObject
):
    one = VIEWS[name]
    read = {name: published(name, bars) for name in one.upstream_views}
    full = Known.of(one, bars, read).compute(None)
    if full.is_empty():
        return
    group = group_of(one)
    groups = drawn.draw(st.sets(st.sampled_from(full[group].unique().sort().to_list()), min_size=1))
    apart = Known.of(one, bars, read, groups=groups)
    if not apart.lacking:
        assert apart.compute(groups).equals(full.filter(pl.col(group).is_in(list(groups))))


def test_of_a_bar_that_vanished_nothing_is_known_any_more():
    bars = knowledge({("AAA", 0): 10.0, ("AAA", 1): 20.0, ("AAA", 2): 30.0}, [Event("AAA", 1, 3, None)], {})
    vanished_at = close(DAYS[1], 23) + timedelta(days=3)
    rows = compute_known(SMOOTH, bars).select("date", "known_at", "mean_2", "volume_or_zero").rows()
    assert rows == [
        (DAYS[0], close(DAYS[0], 22), None, 5.0),
        (DAYS[1], close(DAYS[1], 22), 15.0, 5.0),
        (DAYS[1], vanished_at, None, None),
        (DAYS[2], close(DAYS[2], 22), 25.0, 5.0),
        (DAYS[2], vanished_at, 20.0, 5.0),
    ]


def test_a_restated_bar_by_hand():
    """Two-day means of 10, 20, 30; on the third evening the second day turns out to be 26."""
    bars = knowledge(
        {("AAA", 0): 10.0, ("AAA", 1): 20.0, ("AAA", 2): 30.0, ("AAA", 3): 40.0},
        [Event("AAA", 1, 1, 26.0)],
        {},
    )
    restated_at = close(DAYS[1], 23) + timedelta(days=1)
    rows = compute_known(SMOOTH, bars).select("date", "known_at", "mean_2").rows()
    assert rows == [
        (DAYS[0], close(DAYS[0], 22), None),
        (DAYS[1], close(DAYS[1], 22), 15.0),
        (DAYS[1], restated_at, 18.0),
        (DAYS[2], close(DAYS[2], 22), 25.0),
        (DAYS[2], restated_at, 28.0),
        (DAYS[3], close(DAYS[3], 22), 35.0),
    ]


def test_a_bar_that_came_late_is_not_seen_before_it_came():
    bars = knowledge({("AAA", 0): 10.0, ("AAA", 1): 20.0, ("AAA", 2): 30.0}, [], {("AAA", 1): 4})
    rows = compute_known(SMOOTH, bars).select("date", "known_at", "mean_2").rows()
    came_at = close(DAYS[1], 22) + timedelta(days=4)
    assert rows == [
        (DAYS[0], close(DAYS[0], 22), None),
        (DAYS[1], came_at, 15.0),
        (DAYS[2], close(DAYS[2], 22), 20.0),
        (DAYS[2], came_at, 25.0),
    ]


def test_a_value_is_known_when_the_last_bar_it_reads_is():
    bars = knowledge({(symbol, day): 10.0 + day for symbol in SYMBOLS for day in range(3)}, [], {})
    slow_index = pl.when("is_index").then(pl.col("known_at") + timedelta(minutes=20)).otherwise("known_at")
    bars = bars.with_columns(known_at=slow_index)
    assert set(compute_known(VIEWS["relation"], bars)["known_at"].dt.minute()) == {20}
    assert set(compute_known(SMOOTH, bars)["known_at"].dt.minute()) == {0}


BAD_BARS: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], type[Exception], str]] = {
    "a missing column": (lambda one: one.drop("known_at"), MissingColumns, "known_at"),
    "a naive time": (
        lambda one: one.with_columns(pl.col("known_at").dt.replace_time_zone(None)),
        MalformedTable,
        "zone",
    ),
    "a repeated key": (lambda one: pl.concat([one, one.head(1)]), MalformedTable, "2 rows share their key"),
    "known before it happened": (
        lambda one: one.with_columns(known_at=pl.col("event_at") - timedelta(seconds=1)),
        MalformedTable,
        "known before they happened",
    ),
}


@pytest.mark.parametrize("name", BAD_BARS)
def test_bars_of_another_shape_are_refused(name: str):
    spoil, error, words = BAD_BARS[name]
    bars = knowledge({(symbol, day): 10.0 + day for symbol in SYMBOLS for day in range(5)}, [], {})
    with pytest.raises(error, match=f"market/bars.*{words}"):
        compute_known(SMOOTH, spoil(bars))


def test_without_restatements_the_rows_are_those_of_the_view():
    bars = knowledge({(symbol, day): 10.0 + day for symbol in SYMBOLS for day in range(5)}, [], {})
    assert compute_known(SMOOTH, bars).equals(compute_view(SMOOTH, bars.drop("superseded_at")))


def test_latest_known_is_one_row_for_each_bar():
    bars = knowledge({("AAA", 0): 1.0, ("BBB", 0): 2.0}, [Event("AAA", 0, 2, 3.0)], {})
    assert latest_known(bars)["adjusted_close"].to_list() == [3.0, 2.0]
    assert known_as_of(bars, close(DAYS[0], 22))["adjusted_close"].to_list() == [1.0, 2.0]
    assert known_as_of(bars, close(DAYS[0], 20)).is_empty()
