from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.features.knowledge import compute_known
from mlops_assets.features.leakage import LeakageReport, find_leaks
from mlops_assets.features.quality import fold_overlaps
from mlops_assets.features.spec import Feature, FeatureReference, FeatureView, Folds, TrainingSet
from mlops_assets.features.training_set import build_training_set
from tests.features.bars import sessions, walk
from tests.features.test_look_ahead import EVENT, told

COUNT = 200
DAYS = sessions(COUNT)
PRICE = pl.col("adjusted_close")


def column(name: str, expr: pl.Expr) -> Feature:
    return Feature(name=name, expr=expr, description="A column of a test.")


VIEW = FeatureView(
    name="pace",
    version="1.0.0",
    owner="team:quant",
    description="A view of a test.",
    columns=(column("return_1d", PRICE / PRICE.shift(1) - 1), column("mean_10d", PRICE.rolling_mean(10))),
    warm_up_bars=10,
    declared_in=Path(__file__),
)
SPEC = TrainingSet.from_mapping(
    {
        "name": "pace_daily",
        "owner": "team:quant",
        "description": "A set of a test.",
        "features": ["pace.return_1d", "pace.mean_10d"],
        "label": {"horizon_sessions": 3},
        "folds": {"train_until": DAYS[99].isoformat(), "valid_until": DAYS[149].isoformat(), "embargo_sessions": 2},
    },
    Path("models/pace.yaml"),
)


def bars_with_a_correction() -> pl.DataFrame:
    bars = walk(("AAA", "BBB"), count=COUNT).with_columns(superseded_at=pl.lit(None, pl.Datetime("us", "UTC")))
    hit = (pl.col("symbol") == "AAA") & (pl.col("date") == DAYS[120])
    at = bars.filter(hit)["known_at"].item() + timedelta(days=6)
    was = bars.filter(hit).with_columns(superseded_at=pl.lit(at))
    now = bars.with_columns(
        adjusted_close=pl.when(hit).then(PRICE * 1.3).otherwise(PRICE),
        known_at=pl.when(hit).then(pl.lit(at)).otherwise("known_at"),
    )
    return pl.concat([now, was.select(now.columns)])


BARS = bars_with_a_correction()
VALUES = compute_known(VIEW, BARS)


def proof(rows: pl.DataFrame, values: pl.DataFrame = VALUES, spec: TrainingSet = SPEC) -> LeakageReport:
    return find_leaks(spec, rows, BARS, {"pace": (VIEW, values)}, {"pace": VIEW})


def test_an_honest_set_is_clean_with_corrections_and_with_a_knowledge_date():
    rows = build_training_set(SPEC, BARS, {"pace": (VIEW, VALUES)})
    report = proof(rows)
    assert report.leaks == ()
    assert (report.rows_traced, report.labels_made_again) == (2 * COUNT, 2 * (COUNT - 3))
    assert {cut.why for cut in report.cuts} == {"border of a fold", "end", "random"}
    dated = replace(SPEC, as_of=rows["known_at"][150])
    assert proof(build_training_set(dated, BARS, {"pace": (VIEW, VALUES)}), spec=dated).leaks == ()


def joined_on_the_date(rows: pl.DataFrame) -> pl.DataFrame:
    """Take today's knowledge of the same day: after the correction of day 120 that is not what was known."""
    latest = VALUES.sort("known_at").unique(["symbol", "date"], keep="last")
    return (
        rows.drop("return_1d")
        .join(latest.select("symbol", "date", "return_1d"), on=("symbol", "date"))
        .select(rows.columns)
    )


def joined_on_the_next_day(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(return_1d=pl.col("return_1d").shift(-1).over("symbol"))


def one_row_from_tomorrow(rows: pl.DataFrame) -> pl.DataFrame:
    tomorrow = pl.col("mean_10d").shift(-1).over("symbol")
    hit = (pl.col("symbol") == "BBB") & (pl.col("date") == DAYS[77])
    return rows.with_columns(mean_10d=pl.when(hit).then(tomorrow).otherwise("mean_10d"))


def gaps_filled_from_the_future(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(mean_10d=pl.col("mean_10d").fill_null(strategy="backward"))


def label_known_at_once(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(label_known_at="known_at")


def label_known_a_day_early(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(label_known_at=pl.col("label_known_at").shift(1).over("symbol"))


def label_as_feature(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(return_1d="forward_return")


def return_of_another_horizon(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(forward_return=pl.col("forward_return").shift(1).over("symbol"))


DEVIOUS: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], str]] = {
    "joined on the date": (joined_on_the_date, "pace.return_1d"),
    "joined on the next day": (joined_on_the_next_day, "pace.return_1d"),
    "one row from tomorrow": (one_row_from_tomorrow, "pace.mean_10d"),
    "gaps filled from the future": (gaps_filled_from_the_future, "pace.mean_10d"),
    "label known at once": (label_known_at_once, "label"),
    "label known a day early": (label_known_a_day_early, "label_known_at"),
    "label as feature": (label_as_feature, "pace.return_1d"),
    "return of another horizon": (return_of_another_horizon, "forward_return"),
}


@pytest.mark.parametrize("name", DEVIOUS)
def test_a_set_that_peeks_is_caught_and_the_column_named(name: str):
    spoil, named = DEVIOUS[name]
    report = proof(spoil(build_training_set(SPEC, BARS, {"pace": (VIEW, VALUES)})))
    assert not report.is_clean
    assert named in {leak.column for leak in report.leaks}


def test_the_label_as_a_feature_is_named_as_such():
    rows = label_as_feature(build_training_set(SPEC, BARS, {"pace": (VIEW, VALUES)}))
    assert any(str(leak).endswith("it is the forward_return") for leak in proof(rows).leaks)


def test_a_view_that_holds_the_label_is_caught_by_building_again():
    peeking = replace(VIEW, columns=(*VIEW.columns, column("soon", PRICE.shift(-3) / PRICE - 1)))
    spec = replace(SPEC, features=(FeatureReference(view="pace", column="soon"),))
    values = compute_known(peeking, BARS)
    rows = build_training_set(spec, BARS, {"pace": (peeking, values)})
    report = find_leaks(spec, rows, BARS, {"pace": (peeking, values)}, {"pace": peeking})
    problems = [str(leak) for leak in report.leaks]
    assert any("from what was known after" in one for one in problems)


def test_values_told_only_next_morning_are_not_today_s():
    delayed = VALUES.with_columns(known_at=pl.col("known_at") + timedelta(hours=11))
    honest = build_training_set(SPEC, BARS, {"pace": (VIEW, delayed)})
    same_day = build_training_set(SPEC, BARS, {"pace": (VIEW, VALUES)})
    rebuilt = {"is_rebuilt": False}
    assert find_leaks(SPEC, honest, BARS, {"pace": (VIEW, delayed)}, {"pace": VIEW}, **rebuilt).leaks == ()
    leaks = find_leaks(SPEC, same_day, BARS, {"pace": (VIEW, delayed)}, {"pace": VIEW}, **rebuilt).leaks
    assert {leak.column for leak in leaks} == {"pace.return_1d", "pace.mean_10d"}


def test_values_older_than_the_views_limit_are_caught():
    brief = replace(VIEW, ttl=timedelta(hours=1))
    stale = build_training_set(SPEC, BARS, {"pace": (VIEW, VALUES)})
    without = VALUES.filter(pl.col("date") != DAYS[60])
    report = find_leaks(SPEC, stale, BARS, {"pace": (brief, without)}, {"pace": brief}, is_rebuilt=False)
    assert any(leak.date == DAYS[60] for leak in report.leaks)


def test_a_missing_row_is_caught():
    rows = build_training_set(SPEC, BARS, {"pace": (VIEW, VALUES)})
    report = proof(rows.filter(pl.col("date") != DAYS[10]))
    assert "(rows)" in {leak.column for leak in report.leaks}


@settings(max_examples=12)
@given(seed=st.integers(0, 1000), events=st.lists(EVENT, max_size=5), is_dated=st.booleans())
def test_whatever_is_told_late_corrected_or_taken_back_an_honest_set_is_clean(seed: int, events: list, is_dated: bool):
    bars = walk(("AAA", "BBB"), count=80, seed=seed)
    bars = bars.with_columns(superseded_at=pl.lit(None, pl.Datetime("us", "UTC")))
    for event in events:
        bars = told(bars, *event)
    folds = Folds(train_until=DAYS[35], valid_until=DAYS[55], embargo_sessions=2)
    spec = replace(SPEC, folds=folds, as_of=bars["known_at"].sort()[100] if is_dated else None)
    values = {"pace": (VIEW, compute_known(VIEW, bars))}
    rows = build_training_set(spec, bars, values)
    report = find_leaks(spec, rows, bars, values, {"pace": VIEW}, seed=seed)
    assert [str(leak) for leak in report.leaks] == []
    assert fold_overlaps(rows) == []
