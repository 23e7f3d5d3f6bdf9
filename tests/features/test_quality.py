from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mlops_assets.features import quality
from mlops_assets.features.spec import Feature, FeatureView
from mlops_assets.features.view import compute_view
from mlops_assets.kernel.columns import Column
from tests.features.bars import sessions, walk

PRICE = pl.col("adjusted_close")
VIEW = FeatureView(
    name="pace",
    version="1.0.0",
    owner="team:quant",
    description="A view of a test.",
    columns=(Feature(name="mean_5d", expr=PRICE.rolling_mean(5), description="A column of a test."),),
    warm_up_bars=4,
    declared_in=Path(__file__),
)
BARS = walk(count=100)
ROWS = compute_view(VIEW, BARS)
DAYS = sessions(100)


def test_bounds_of_numbers_are_inclusive_and_words_have_none():
    frame = pl.DataFrame({"share": [0.0, 1.0, 1.5, None], "rank": [1, 2, 3, 9], "mood": ["a", "b", "c", None]})
    columns = [
        Column(name="share", type="float", description="x", minimum=0.0, maximum=1.0),
        Column(name="rank", type="integer", description="x", maximum=3),
        Column(name="mood", type="string", description="x"),
    ]
    found = quality.out_of_range(frame, columns)
    assert [(one.column, one.rows, one.lowest, one.highest) for one in found] == [
        ("share", 1, 1.5, 1.5),
        ("rank", 1, 9, 9),
    ]


def test_keys_with_another_instant_of_knowledge_are_no_repetition():
    restated = ROWS.head(1).with_columns(known_at=pl.col("known_at") + timedelta(days=1))
    assert quality.keys_are_unique(pl.concat([ROWS, restated])).is_passed
    twice = quality.keys_are_unique(pl.concat([ROWS, ROWS.head(1)]))
    assert (twice.is_passed, twice.numbers["repeated_keys"]) == (False, 1)
    assert "AAA 2019-01-02" in twice.words
    missing = ROWS.with_columns(known_at=pl.when(pl.col("date") != DAYS[0]).then("known_at"))
    assert quality.keys_are_unique(missing).numbers["missing_keys"] == 2


def test_bars_without_a_row_and_rows_without_a_bar_are_named():
    assert quality.complete_against_bars(ROWS, BARS).is_passed
    short = quality.complete_against_bars(ROWS.slice(1), BARS)
    assert (short.is_passed, short.words) == (False, "bars without a row: AAA 2019-01-02")
    extra = quality.complete_against_bars(ROWS, BARS.filter(pl.col("date") != DAYS[9]))
    assert extra.numbers["foreign_rows"] == 2


def test_nulls_count_after_warm_up_only_and_not_where_the_source_lacks_an_input():
    assert quality.filled_after_warm_up(ROWS, VIEW, ()).is_passed
    late = quality.filled_after_warm_up(ROWS, replace(VIEW, warm_up_bars=0), ())
    assert late.is_passed  # 4 of 100 rows
    holes = ROWS.with_columns(mean_5d=pl.when(pl.col("date") < DAYS[90]).then("mean_5d"))
    found = quality.filled_after_warm_up(holes, VIEW, ())
    assert (found.is_passed, found.numbers["null_rows_mean_5d"]) == (False, 20)
    assert "mean_5d 10.4%" in found.words
    assert quality.filled_after_warm_up(holes, VIEW, {"mean_5d"}).is_passed


def counts(values: list[float]) -> pl.DataFrame:
    return pl.DataFrame({"date": sessions(len(values)), "count": values})


def test_a_count_far_from_the_trailing_median_is_unusual_by_hand():
    steady = [99.0, 100.0, 101.0] * 30
    assert quality.counts_are_usual(counts(steady), of="stocks").is_passed
    # Of 63 counts the median is 100 and the median deviation 1: 3.5 times 1.4826 is 5.19.
    for last, is_usual in ((105.0, True), (106.0, False), (95.0, True), (94.0, False)):
        assert quality.counts_are_usual(counts([*steady, last]), of="stocks").is_passed is is_usual


def test_one_listing_more_or_less_is_usual_and_half_a_market_is_not():
    assert quality.counts_are_usual(counts([20.0] * 80 + [21.0] * 10 + [20.0]), of="stocks").is_passed
    half = quality.counts_are_usual(counts([20.0] * 80 + [10.0]), of="stocks")
    assert (half.is_passed, half.numbers["unusual_sessions"]) == (False, 1)
    assert quality.counts_are_usual(counts([20.0] * 10), of="stocks").numbers["sessions_judged"] == 0


def test_noise_is_seldom_unusual():
    generator = np.random.default_rng(5)
    found = quality.counts_are_usual(counts(generator.normal(9.0, 0.1, 400).tolist()), of="volume", least_scale=0.0)
    assert found.numbers["unusual_sessions"] <= 4


def test_traded_volume_needs_volume():
    assert quality.traded_volume(BARS).is_empty()
    traded = quality.traded_volume(BARS.with_columns(volume=pl.lit(500, pl.Int64)))
    assert traded["count"].to_list() == pytest.approx([np.log10(1001.0)] * 100)


def test_restated_rows_beside_the_old_ones_keep_the_past():
    restated = ROWS.filter(pl.col("date") == DAYS[50]).with_columns(
        known_at=pl.col("known_at") + timedelta(days=3), mean_5d=pl.col("mean_5d") * 2
    )
    kept = quality.past_is_kept(ROWS, pl.concat([ROWS, restated]), ["mean_5d"])
    assert (kept.is_passed, kept.numbers["rows_restated"]) == (True, 2)
    assert quality.past_is_kept(ROWS.head(90), ROWS, ["mean_5d"]).is_passed


def test_a_rewritten_or_lost_past_is_named():
    rewritten = ROWS.with_columns(mean_5d=pl.when(pl.col("date") == DAYS[50]).then(1.0).otherwise("mean_5d"))
    found = quality.past_is_kept(ROWS, rewritten, ["mean_5d"])
    assert (found.is_passed, found.words) == (False, "values of the past were rewritten: mean_5d in 2")
    lost = quality.past_is_kept(ROWS, ROWS.slice(3), ["mean_5d"])
    assert (lost.is_passed, lost.numbers["rows_gone"]) == (False, 3)
    last_bits = ROWS.with_columns(pl.col("mean_5d") * (1 + 1e-13))
    assert quality.past_is_kept(ROWS, last_bits, ["mean_5d"]).is_passed
