from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.catalog.feature_views.momentum import VIEW
from mlops_assets.features.cuts import choose_cuts
from mlops_assets.features.knowledge import compute_known, latest_known
from mlops_assets.features.look_ahead import ROWS, Certificate, certify, known_with_upstream
from mlops_assets.features.spec import Feature, FeatureView, Partition
from mlops_assets.features.view import compute_view, with_upstream
from mlops_assets.kernel.columns import ColumnType
from tests.features.bars import sessions, walk

PRICE, CLOSE, DAY = pl.col("adjusted_close"), pl.col("close"), pl.col("date")


def view(
    name: str = "planted", partition: Partition = Partition.SYMBOL, kind: ColumnType = "float", **columns: pl.Expr
) -> FeatureView:
    return FeatureView(
        name=name,
        version="1.0.0",
        owner="team:quant",
        description="A view of a test.",
        columns=tuple(Feature(name=one, expr=expr, type=kind, description="x") for one, expr in columns.items()),
        warm_up_bars=0,
        partition=partition,
        declared_in=Path(__file__),
    )


HONEST = view(honest=PRICE / PRICE.shift(3) - 1)
UPSTREAM = view("upstream", level=PRICE.rolling_mean(5))


def broken_bars(count: int = 400) -> pl.DataFrame:
    """Bars with what real ones have: a long closure, a suspension, missing closes, a late listing and an end."""
    bars = walk(("AAA", "BBB", "CCC", "DDD"), count=count)
    days = sessions(count)
    closure = pl.col("date").is_between(days[300], days[306])
    suspended = (pl.col("symbol") == "BBB") & pl.col("date").is_in([days[200], days[201], days[202]])
    late = (pl.col("symbol") == "CCC") & (pl.col("date") < days[150])
    dead = (pl.col("symbol") == "DDD") & (pl.col("date") > days[170])
    no_close = (pl.col("symbol") == "AAA") & pl.col("date").is_in([days[77], days[78], days[251]])
    kept = bars.filter(~(closure | suspended | late | dead))
    return kept.with_columns(close=pl.when(no_close | pl.col("is_index")).then(None).otherwise(PRICE))


def peeks_of(certificate: Certificate) -> set[tuple[str, str]]:
    return {(peek.view, peek.column) for peek in certificate.peeks}


def peek_at_the_next(values: pl.Series) -> pl.Series:
    """Look like a smoother; use the next value on one row in fifty."""
    following = values.shift(-1).fill_null(strategy="forward")
    position = pl.int_range(len(values), eager=True)
    return following.zip_with(position % 50 == 49, values)


DEVIOUS = {
    "centred_window": PRICE.rolling_mean(5, center=True),
    "full_sample_z_score": (PRICE - PRICE.mean()) / PRICE.std(),
    "full_sample_rank": PRICE.rank().cast(pl.Float64),
    "full_sample_quantile": (PRICE.quantile(0.9) < PRICE).cast(pl.Float64),
    "future_join": PRICE.shift(-1) / PRICE - 1,
    "backward_fill": CLOSE.fill_null(strategy="backward"),
    "interpolation": CLOSE.interpolate(),
    "one_stock_only": pl.when(PRICE.len() < 180).then(PRICE.shift(-1)).otherwise(PRICE),
    "last_bar_of_a_month": pl.when(DAY.dt.month() != DAY.shift(-1).dt.month()).then(PRICE.shift(-1)).otherwise(PRICE),
    "before_the_long_closure": pl.when(DAY.shift(-1) - DAY > timedelta(days=6)).then(PRICE.shift(-1)).otherwise(PRICE),
    "before_a_gap_of_one_stock": pl.when((DAY.shift(-1) - DAY).is_between(timedelta(days=5), timedelta(days=7)))
    .then(PRICE.shift(-1))
    .otherwise(PRICE),
    "first_value_only": PRICE.rolling_mean(30).fill_null(strategy="backward", limit=1),
    "python_function_that_peeks": PRICE.map_batches(peek_at_the_next, return_dtype=pl.Float64),
    "peak_of_all_time": PRICE / PRICE.max(),
}


@pytest.mark.parametrize("name", DEVIOUS)
def test_a_view_that_peeks_is_caught_and_named(name: str):
    planted = view("devious", **{name: DEVIOUS[name], "honest": PRICE / PRICE.shift(1) - 1})
    certificate = certify(planted, broken_bars())
    assert peeks_of(certificate) == {("devious", name)}
    assert not certificate.is_clean
    assert str(certificate.peeks[0]).startswith(f"devious.{name} of ")


def test_a_future_join_through_another_view_is_caught_in_the_view_that_does_it():
    joined = view("joined", tomorrow=pl.col("upstream.level").shift(-1), today=pl.col("upstream.level"))
    views = {"upstream": UPSTREAM}
    assert peeks_of(certify(joined, broken_bars(), views)) == {("joined", "tomorrow")}
    assert certify(UPSTREAM, broken_bars(), views).is_clean


def test_a_view_over_a_leaking_one_is_not_certified_either():
    leaking = view("upstream", level=PRICE.rolling_mean(5, center=True))
    reading = view("reading", twice=pl.col("upstream.level") * 2)
    assert peeks_of(certify(reading, broken_bars(), {"upstream": leaking})) == {("reading", "twice")}


def test_interpolation_of_another_views_missing_values_is_caught():
    gappy = view("gappy", level=pl.when(PRICE.diff() > -4.0).then(PRICE))
    smooth = view("smooth", level=pl.col("gappy.level").interpolate())
    certificate = certify(smooth, broken_bars(), {"gappy": gappy}, random_cuts=0)
    assert peeks_of(certificate) == {("smooth", "level")}


def test_random_cuts_alone_miss_what_placed_cuts_find():
    bars, planted = broken_bars(), view(interpolation=CLOSE.interpolate())
    reasons = {peek.why for peek in certify(planted, bars).peeks}
    assert reasons == {"missing values"}


def test_a_cross_section_over_all_dates_is_caught():
    planted = view(
        "ranks", partition=Partition.SYMBOL, rank=PRICE.rank(method="ordinal").cast(pl.Float64) / PRICE.len()
    )
    daily = view("ranks", partition=Partition.DATE, rank=PRICE.rank().cast(pl.Float64) / PRICE.len())
    assert peeks_of(certify(planted, broken_bars())) == {("ranks", "rank")}
    assert certify(daily, broken_bars()).is_clean


@pytest.mark.parametrize(
    ("kind", "expr"),
    [
        ("string", pl.when(PRICE.shift(-1) > PRICE).then(pl.lit("rising")).otherwise(pl.lit("falling"))),
        ("boolean", PRICE.max() == PRICE),
        ("integer", PRICE.rank("ordinal").cast(pl.Int64)),
    ],
)
def test_values_that_are_no_numbers_are_compared_too(kind: ColumnType, expr: pl.Expr):
    planted = view("words", kind=kind, label=expr)
    assert peeks_of(certify(planted, broken_bars())) == {("words", "label")}


def test_the_shipped_momentum_is_clean_to_the_last_bit_on_broken_bars():
    certificate = certify(VIEW, broken_bars())
    assert certificate.is_clean
    assert set(certificate.cuts_by_reason) >= {
        "border of a period",
        "end",
        "gap between sessions",
        "gap of a stock",
        "listing or end of a stock",
        "missing values",
        "warm-up",
    }
    assert certificate.rows_compared > 10_000


def test_each_column_is_cut_at_the_end_of_its_own_warm_up():
    two = view(fast=PRICE.shift(3), slow=PRICE.shift(40))
    bars, days = walk(("AAA",), count=100), sessions(100)
    cuts = {cut.date for cut in certify(two, bars, random_cuts=0).cuts if cut.why == "warm-up"}
    assert set(days[2:6]) | set(days[39:43]) <= cuts | {cut.date for cut in certify(two, bars).cuts}


def test_cuts_depend_on_the_seed_alone():
    bars = broken_bars()
    values = compute_view(HONEST, bars)
    first, again, other = (choose_cuts(bars, values, ["honest"], seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert first == sorted(first)
    assert len({cut.at for cut in first}) == len(first)


def test_nothing_to_compare_is_no_certificate():
    assert not certify(HONEST, walk(count=1)).is_clean
    assert not certify(HONEST, walk().clear()).is_clean


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), holes=st.sets(st.integers(0, 119), max_size=40))
def test_an_honest_view_is_never_accused(seed: int, holes: set[int]):
    days = sessions(120)
    missing = [days[position] for position in sorted(holes)]
    bars = walk(("AAA", "BBB"), count=120, seed=seed)
    bars = bars.filter(~((pl.col("symbol") == "BBB") & pl.col("date").is_in(missing)))
    bars = bars.with_columns(close=pl.when(pl.col("date").is_in(missing)).then(None).otherwise(PRICE))
    honest = view(mean=CLOSE.rolling_mean(10), fill=CLOSE.forward_fill(), ewm=CLOSE.ewm_mean(span=5, adjust=False))
    assert certify(honest, bars, seed=seed).peeks == ()


def restated() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return bars of which one was corrected thirty days later, with what was superseded, and the view's rows."""
    was, days = walk(("AAA", "BBB"), count=120), sessions(120)
    hit = (pl.col("symbol") == "AAA") & (pl.col("date") == days[50])
    corrected_at = was.filter(hit)["known_at"].item() + timedelta(days=30)
    now = was.with_columns(
        adjusted_close=pl.when(hit).then(PRICE * 1.5).otherwise(PRICE),
        known_at=pl.when(hit).then(pl.lit(corrected_at)).otherwise("known_at"),
        superseded_at=pl.lit(None, pl.Datetime("us", "UTC")),
    )
    superseded = was.filter(hit).with_columns(superseded_at=pl.lit(corrected_at))
    bars = pl.concat([now, superseded.select(now.columns)])
    return bars, compute_known(HONEST, bars)


def test_a_view_that_remembers_what_it_said_before_a_restatement_is_certified():
    bars, remembering = restated()
    assert remembering.height == 240 + 2  # the corrected row, and the one three sessions later
    certificate = certify(HONEST, bars, published=remembering)
    assert certificate.peeks == ()
    assert {"restatement", "restated day"} <= set(certificate.cuts_by_reason)


def test_a_view_that_rewrote_its_past_after_a_restatement_is_caught():
    bars, remembering = restated()
    rewritten = latest_known(remembering)
    certificate = certify(HONEST, bars, published=rewritten)
    assert {peek.column for peek in certificate.peeks} == {ROWS}
    first = remembering.unique(["symbol", "date"], keep="first", maintain_order=True)
    backdated = rewritten.with_columns(known_at=first["known_at"])
    before_the_correction = [
        peek for peek in certify(HONEST, bars, published=backdated).peeks if peek.column == "honest"
    ]
    assert before_the_correction
    assert {peek.symbol for peek in before_the_correction} == {"AAA"}


def test_published_rows_that_the_bars_do_not_give_are_caught():
    bars = walk()
    values = compute_view(HONEST, bars)
    other = values.with_columns(honest=pl.when(pl.col("date") == sessions(300)[299]).then(9.0).otherwise("honest"))
    (peek,) = certify(HONEST, bars, published=other).peeks
    assert (peek.column, peek.with_future, peek.why) == ("honest", 9.0, "published rows")
    (missing, *_) = certify(HONEST, bars, published=values.slice(1)).peeks
    assert missing.column == ROWS


def test_rows_that_claim_to_be_known_before_the_index_they_read_are_caught():
    late_index = pl.when(pl.col("is_index")).then(pl.col("known_at") + timedelta(hours=2)).otherwise("known_at")
    bars = walk().with_columns(known_at=late_index)
    relative = view("relative", ratio=PRICE / pl.col("index_adjusted_close"))
    assert certify(relative, bars).is_clean
    hasty = compute_view(relative, bars)  # with the instants of the stocks' own bars
    assert ("relative", "known_at") in peeks_of(certify(relative, bars, published=hasty))


def test_a_certificate_names_no_more_than_what_moved():
    planted = replace(HONEST, columns=(*HONEST.columns, *view(leak=PRICE.shift(-1)).columns))
    certificate = certify(planted, walk())
    assert {peek.column for peek in certificate.peeks} == {"leak"}
    assert all(isinstance(peek.date, date) and peek.date <= peek.cut for peek in certificate.peeks)
    assert with_upstream(planted, {}, walk()).height == walk().filter(~pl.col("is_index")).height


AVERAGE = view("average", level=PRICE.rolling_mean(4), relative=PRICE / pl.col("index_adjusted_close"))
RANKS = view("ranks", partition=Partition.DATE, rank=pl.col("average.level").rank().cast(pl.Float64))
MARKET = view("market", partition=Partition.INDEX, trend=PRICE / PRICE.shift(5) - 1)
EVENT = st.tuples(
    st.sampled_from(["corrected", "late", "vanished"]),
    st.sampled_from(["AAA", "BBB", "INDEX"]),
    st.integers(5, 70),
    st.integers(1, 400),
)


def told(bars: pl.DataFrame, kind: str, symbol: str, place: int, hours: int) -> pl.DataFrame:
    """Let one bar be corrected, come late, or be taken back, some hours after it should have been told."""
    hit = (pl.col("symbol") == symbol) & (pl.col("date") == sessions(80)[place]) & pl.col("superseded_at").is_null()
    row = bars.filter(hit)
    if row.is_empty():
        return bars
    at = pl.lit(row["known_at"].item() + timedelta(hours=hours), pl.Datetime("us", "UTC"))
    rest = bars.filter(~hit.fill_null(value=False))
    if kind == "vanished":
        return pl.concat([rest, row.with_columns(superseded_at=at)])
    if kind == "late":
        return pl.concat([rest, row.with_columns(known_at=at)])
    corrected = row.with_columns(adjusted_close=PRICE * 1.25, known_at=at)
    return pl.concat([rest, row.with_columns(superseded_at=at), corrected])


@settings(max_examples=8)
@given(seed=st.integers(0, 1000), events=st.lists(EVENT, max_size=5))
def test_whatever_is_told_late_corrected_or_taken_back_an_honest_view_is_not_accused(seed: int, events: list):
    bars = walk(("AAA", "BBB", "CCC"), count=80, seed=seed)
    bars = bars.with_columns(superseded_at=pl.lit(None, pl.Datetime("us", "UTC")))
    for event in events:
        bars = told(bars, *event)
    views = {one.name: one for one in (AVERAGE, RANKS, MARKET)}
    for one in views.values():
        published = known_with_upstream(one, views, bars, {})
        certificate = certify(one, bars, views, published=published, seed=seed, random_cuts=2)
        assert [str(peek) for peek in certificate.peeks] == []
