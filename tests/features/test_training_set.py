from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.catalog.feature_views.momentum import VIEW
from mlops_assets.features.knowledge import compute_known
from mlops_assets.features.quality import fold_overlaps
from mlops_assets.features.spec import Feature, FeatureReference, Fold, Folds, HistoryTooShort, TrainingSet
from mlops_assets.features.table_shape import MalformedTable
from mlops_assets.features.training_set import FeatureNotAvailable, build_training_set
from mlops_assets.features.view import compute_view
from mlops_assets.kernel.errors import InvalidDeclaration, MissingColumns, UnknownReference
from tests.features.bars import sessions, walk

DAYS = sessions(300)
TRAIN_END, VALID_END = DAYS[149], DAYS[219]
CONTENT = {
    "name": "signal_daily",
    "owner": "team:quant",
    "description": "Daily rows.",
    "features": ["momentum.return_5d", "momentum.rsi_14"],
    "label": {"horizon_sessions": 5, "threshold": 0.01},
    "folds": {"train_until": TRAIN_END.isoformat(), "valid_until": VALID_END.isoformat(), "embargo_sessions": 10},
}
SPEC = TrainingSet.from_mapping(CONTENT, Path("models/m.yaml"))


def build(bars: pl.DataFrame, spec: TrainingSet = SPEC) -> pl.DataFrame:
    return build_training_set(spec, bars, {"momentum": (VIEW, compute_view(VIEW, bars))})


def test_every_bar_of_a_stock_has_a_row_with_the_views_values():
    bars = walk()
    rows = build(bars)
    expected = compute_view(VIEW, bars)
    assert rows.height == expected.height
    assert rows.select("symbol", "date", "return_5d", "rsi_14").equals(
        expected.select("symbol", "date", "return_5d", "rsi_14")
    )


def test_labels_by_hand():
    bars = walk(("AAA",))
    rows, price = build(bars), bars.filter(~pl.col("is_index"))["adjusted_close"]
    assert rows["forward_return"][10] == pytest.approx(price[15] / price[10] - 1)
    assert rows["label"][10] == int(price[15] / price[10] - 1 > 0.01)
    assert rows["label_known_at"][10] == rows["known_at"][15]


def test_labels_never_reach_into_another_symbol():
    rows = build(walk(("AAA", "BBB")))
    assert rows.group_by("symbol").agg(pl.col("label").null_count())["label"].to_list() == [5, 5]


def test_folds_by_hand():
    rows = build(walk(("AAA",)))
    folds = dict(zip(rows["date"].to_list(), rows["fold"].to_list(), strict=True))
    assert folds[DAYS[144]] == Fold.TRAIN  # its label is known on the last day of training
    assert folds[DAYS[145]] == Fold.PURGED  # its label reaches over the border
    assert folds[DAYS[159]] == Fold.PURGED  # last day of the embargo
    assert folds[DAYS[160]] == Fold.VALID
    assert folds[DAYS[214]] == Fold.VALID
    assert folds[DAYS[215]] == Fold.PURGED
    assert folds[DAYS[229]] == Fold.PURGED
    assert folds[DAYS[230]] == Fold.TEST
    assert folds[DAYS[294]] == Fold.TEST
    assert folds[DAYS[295]] == Fold.LIVE


def test_a_future_that_changes_moves_no_earlier_feature_or_known_label():
    bars = walk()
    changed = bars.with_columns(
        pl.when(pl.col("date") > DAYS[200])
        .then(pl.col("adjusted_close") * 3)
        .otherwise("adjusted_close")
        .alias("adjusted_close")
    )
    known = pl.col("date") <= DAYS[195]
    assert build(bars).filter(known).equals(build(changed).filter(known))


ROLLING = {**CONTENT, "folds": {"valid_sessions": 70, "test_sessions": 80, "embargo_sessions": 10}}


def test_rolling_folds_are_dated_ones_that_count_from_the_last_session():
    rolling = TrainingSet.from_mapping(ROLLING, Path("models/m.yaml"))
    assert build(walk(("AAA",)), rolling).equals(build(walk(("AAA",))))
    assert rolling.fingerprint != SPEC.fingerprint


def test_rolling_folds_move_on_with_the_history():
    rolling = TrainingSet.from_mapping(ROLLING, Path("models/m.yaml"))
    rows = build(walk(("AAA",), count=310), rolling)
    folds = dict(zip(rows["date"].to_list(), rows["fold"].to_list(), strict=True))
    days = sessions(310)
    assert (folds[days[154]], folds[days[155]]) == (Fold.TRAIN, Fold.PURGED)
    assert (folds[days[239]], folds[days[240]]) == (Fold.PURGED, Fold.TEST)


def test_a_history_without_a_session_to_train_on_is_refused():
    rolling = TrainingSet.from_mapping(ROLLING, Path("models/m.yaml"))
    with pytest.raises(HistoryTooShort, match="150 sessions are too few for 70 to validate and 80 to test"):
        build(walk(("AAA",), count=150), rolling)
    assert not build(walk(("AAA",), count=157), rolling).is_empty()


def test_touching_folds_are_found():
    rows = build(walk())
    assert fold_overlaps(rows) == []
    shuffled = rows.with_columns(fold=pl.col("fold").shuffle(seed=1))
    assert len(fold_overlaps(shuffled)) == 3


def test_no_embargo_still_purges():
    folds = Folds(train_until=TRAIN_END, valid_until=VALID_END, embargo_sessions=0)
    rows = build(walk(("AAA",)), replace(SPEC, folds=folds))
    assert rows.filter(pl.col("date") == DAYS[150])["fold"].item() == Fold.VALID
    assert fold_overlaps(rows) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": {"horizon_session": 5}}, r"field 'label.horizon_session'.*Did you mean 'horizon_sessions'"),
        ({"features": ["return_5d"]}, r"training_set.features.*view.column.*momentum.return_1d"),
        ({"features": ["a.x", "b.x"]}, "same short name"),
        ({"features": []}, "at least one column"),
        ({"folds": {**CONTENT["folds"], "train_until": "2030-01-01"}}, "train_until must be before valid_until"),
        ({"folds": {**ROLLING["folds"], "embargo_sessions": 70}}, "leave nothing of valid_sessions"),
        ({"folds": {**CONTENT["folds"], "test_sessions": 80}}, "test_sessions"),
        ({"folds": {"valid_sessions": 70, "embargo_sessions": 10}}, "folds.test_sessions': Field required"),
        ({"folds": None}, "field 'folds'"),
        ({"folds": ["train_until"]}, "field 'folds'"),
        ({"label": {"horizon_sessions": 0}}, "at least 1"),
        ({"name": "x"}, "3-100"),
        ({"as_of": "2020-01-01T10:00:00"}, "training_set.as_of.*names no time zone.*2020-06-30T21:00:00Z"),
        ({"as_of": "soon"}, "as_of.*valid date"),
    ],
)
def test_a_wrong_declaration_names_file_field_and_remedy(change: dict[str, object], message: str):
    with pytest.raises(InvalidDeclaration, match=message) as raised:
        TrainingSet.from_mapping({**CONTENT, **change}, Path("models/m.yaml"))
    assert str(raised.value).startswith("models/m.yaml: field")


def test_the_fingerprint_follows_the_meaning():
    other = replace(SPEC, folds=replace(SPEC.folds, train_until=date(2019, 3, 1)))
    assert other.fingerprint != SPEC.fingerprint
    assert replace(SPEC, declared_in=Path("elsewhere.yaml")).fingerprint == SPEC.fingerprint


def test_the_order_of_the_input_rows_does_not_matter():
    bars = walk()
    values = compute_view(VIEW, bars)
    expected = build_training_set(SPEC, bars, {"momentum": (VIEW, values)})
    shuffled = build_training_set(
        SPEC,
        bars.sample(fraction=1.0, shuffle=True, seed=3),
        {"momentum": (VIEW, values.sample(fraction=1.0, shuffle=True, seed=4))},
    )
    assert shuffled.equals(expected)


def test_as_of_a_day_nothing_known_later_enters_and_labels_neither():
    bars, cutoff = walk(), datetime.combine(DAYS[200], datetime.max.time(), tzinfo=UTC)
    then = build(bars.filter(pl.col("known_at") <= cutoff))
    now = build(bars, replace(SPEC, as_of=cutoff))
    assert now.equals(then)
    assert now["date"].max() == DAYS[200]
    assert now.filter(pl.col("date") > DAYS[195])["label"].null_count() == 2 * 5
    assert (now["label_known_at"].drop_nulls() <= cutoff).all()


def test_a_date_counts_to_its_end_and_moves_the_fingerprint():
    dated = TrainingSet.from_mapping({**CONTENT, "as_of": date(2019, 6, 3)}, Path("models/m.yaml"))
    assert dated.as_of == datetime(2019, 6, 3, 23, 59, 59, 999999, tzinfo=UTC)
    assert dated.fingerprint != SPEC.fingerprint
    zoned = TrainingSet.from_mapping({**CONTENT, "as_of": "2019-06-03T12:00:00-04:00"}, Path("models/m.yaml"))
    assert zoned.as_of == datetime(2019, 6, 3, 16, tzinfo=UTC)


def versions(bars: pl.DataFrame) -> pl.DataFrame:
    return bars.with_columns(superseded_at=pl.lit(None, pl.Datetime("us", "UTC")))


def corrected(bars: pl.DataFrame, day: date, factor: float, after: timedelta) -> pl.DataFrame:
    """Correct the price of AAA on a day, some time after it was told."""
    hit = (pl.col("symbol") == "AAA") & (pl.col("date") == day)
    at = bars.filter(hit)["known_at"].item() + after
    was = bars.filter(hit).with_columns(superseded_at=pl.lit(at))
    now = bars.with_columns(
        adjusted_close=pl.when(hit).then(pl.col("adjusted_close") * factor).otherwise("adjusted_close"),
        known_at=pl.when(hit).then(pl.lit(at)).otherwise("known_at"),
    )
    return pl.concat([now, was.select(now.columns)])


def built_from_versions(bars: pl.DataFrame, spec: TrainingSet = SPEC) -> pl.DataFrame:
    return build_training_set(spec, bars, {"momentum": (VIEW, compute_known(VIEW, bars))})


def test_a_correction_moves_no_row_that_stood_before_it_and_no_label_that_was_known():
    bars = versions(walk())
    plain, after = built_from_versions(bars), built_from_versions(corrected(bars, DAYS[100], 1.5, timedelta(days=60)))
    aaa = pl.col("symbol") == "AAA"
    told = bars.filter(aaa & (pl.col("date") == DAYS[100]))["known_at"].item() + timedelta(days=60)
    before = pl.col("known_at") < told
    assert after.filter(before).drop("fold").equals(plain.filter(before).drop("fold"))
    assert after["known_at"].equals(plain["known_at"])


def test_a_label_starts_from_the_price_as_known_when_the_label_was():
    bars = versions(walk(("AAA",)))
    price = bars.filter(~pl.col("is_index"))["adjusted_close"]
    quick = built_from_versions(corrected(bars, DAYS[100], 2.0, timedelta(days=2)))
    slow = built_from_versions(corrected(bars, DAYS[100], 2.0, timedelta(days=60)))
    assert quick["forward_return"][100] == pytest.approx(price[105] / (2 * price[100]) - 1)
    assert slow["forward_return"][100] == pytest.approx(price[105] / price[100] - 1)
    assert quick["forward_return"][95] == pytest.approx(price[100] / price[95] - 1)  # known before the correction


def test_a_bar_told_after_a_later_one_gives_no_row():
    bars = walk(("AAA",))
    late = (pl.col("symbol") == "AAA") & (pl.col("date") == DAYS[50])
    told_late = bars.with_columns(
        known_at=pl.when(late).then(pl.col("known_at") + timedelta(days=40)).otherwise("known_at")
    )
    rows = built_from_versions(versions(told_late))
    assert DAYS[50] not in rows["date"].to_list()
    assert rows.height == 299
    assert (rows["label_known_at"] > rows["known_at"]).drop_nulls().all()


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), cut=st.integers(20, 290), corrections=st.lists(st.integers(0, 280), max_size=3))
def test_what_was_known_then_gives_the_rows_of_then(seed: int, cut: int, corrections: list[int]):
    bars = versions(walk(("AAA", "BBB"), seed=seed))
    for place in sorted(set(corrections)):
        bars = corrected(bars, DAYS[place], 1.1, timedelta(days=9))
    cutoff = datetime.combine(DAYS[cut], datetime.max.time(), tzinfo=UTC)
    now = built_from_versions(bars, replace(SPEC, as_of=cutoff))
    known = bars.filter(pl.col("known_at") <= cutoff).with_columns(
        superseded_at=pl.when(pl.col("superseded_at") <= cutoff).then("superseded_at")
    )
    assert built_from_versions(known).equals(now)


def naive(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("known_at").dt.replace_time_zone(None))


def nanoseconds(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("event_at").dt.cast_time_unit("ns"))


def clairvoyant(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(known_at=pl.col("event_at") - timedelta(seconds=1))


BAD_TABLES: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], type[Exception], str]] = {
    "a missing column": (lambda one: one.drop("known_at"), MissingColumns, "known_at"),
    "a naive time": (naive, MalformedTable, "known_at.*time without zone"),
    "another precision": (nanoseconds, MalformedTable, "event_at.*microseconds"),
    "text for a date": (
        lambda one: one.with_columns(pl.col("date").cast(pl.String)),
        MalformedTable,
        "date: its type is String, not Date",
    ),
    "a repeated key": (lambda one: pl.concat([one, one.head(1)]), MalformedTable, "2 rows share.*AAA 2019-01-02"),
    "a missing symbol": (
        lambda one: one.with_columns(symbol=pl.when(pl.col("date") != DAYS[3]).then("symbol")),
        MalformedTable,
        "symbol: . rows have none",
    ),
    "known before it happened": (clairvoyant, MalformedTable, "known_at: .* known before they happened"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
@pytest.mark.parametrize("table", ["bars", "features"])
def test_a_table_of_another_shape_is_refused(name: str, table: str):
    spoil, error, message = BAD_TABLES[name]
    bars = walk()
    values = compute_view(VIEW, bars)
    bars, values = (spoil(bars), values) if table == "bars" else (bars, spoil(values))
    with pytest.raises(error, match="(market/bars|features/momentum).*" + message):
        build_training_set(SPEC, bars, {"momentum": (VIEW, values)})


@pytest.mark.parametrize("price", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_price_that_is_no_price_is_refused(price: float):
    bars = walk()
    values = compute_view(VIEW, bars)
    spoiled = pl.when((pl.col("date") == DAYS[3]) & (pl.col("symbol") == "BBB")).then(price).otherwise("adjusted_close")
    with pytest.raises(MalformedTable, match="1 prices are not positive numbers, first BBB on"):
        build_training_set(SPEC, bars.with_columns(adjusted_close=spoiled), {"momentum": (VIEW, values)})


def test_words_in_a_numeric_column_are_refused():
    bars = walk()
    values = compute_view(VIEW, bars).with_columns(pl.col("rsi_14").cast(pl.String))
    with pytest.raises(MalformedTable, match="features/momentum: rsi_14: its type is String"):
        build_training_set(SPEC, bars, {"momentum": (VIEW, values)})


def test_empty_tables_give_an_empty_set_of_the_same_columns():
    bars = walk()
    empty = build_training_set(SPEC, bars.clear(), {"momentum": (VIEW, compute_view(VIEW, bars).clear())})
    assert empty.schema == build(bars).schema
    assert empty.height == 0


def test_symbols_a_view_never_saw_have_no_features_and_stay():
    bars = walk(("AAA", "ZZZ"))
    rows = build_training_set(SPEC, bars, {"momentum": (VIEW, compute_view(VIEW, walk(("AAA",))))})
    unseen = rows.filter(pl.col("symbol") == "ZZZ")
    assert unseen.height == 300
    assert unseen["rsi_14"].null_count() == 300


def test_what_becomes_known_far_in_the_future_is_not_used_before():
    bars = walk(("AAA",))
    values = compute_view(VIEW, bars).with_columns(known_at=pl.lit(datetime(2200, 1, 1, tzinfo=UTC)))
    rows = build_training_set(SPEC, bars, {"momentum": (VIEW, values)})
    assert rows["rsi_14"].null_count() == 300


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ("momentun.rsi_14", "no feature view is called 'momentun'; did you mean 'momentum'"),
        ("momentum_v7.rsi_14", "no feature view is called 'momentum_v7'; did you mean 'momentum'"),
        ("momentum.rsi_15", "no column of momentum is called 'rsi_15'; did you mean 'rsi_14'"),
    ],
)
def test_an_unknown_view_version_or_column_names_what_is_near(feature: str, message: str):
    spec = replace(SPEC, features=(FeatureReference.parse(feature),))
    with pytest.raises(UnknownReference, match=message):
        build(walk(), spec)


def test_words_are_no_feature():
    mood = Feature(name="mood", type="string", expr=pl.lit("x") + pl.col("date").cast(pl.String), description="x")
    view = replace(VIEW, columns=(*VIEW.columns, mood))
    spec = replace(SPEC, features=(FeatureReference(view="momentum", column="mood"),))
    with pytest.raises(InvalidDeclaration, match=r"momentum.mood is a string.*one column for each word"):
        build_training_set(spec, walk(), {"momentum": (view, compute_view(view, walk()))})


def test_a_feature_without_inputs_names_column_input_and_remedy():
    bars = walk()
    values = compute_view(VIEW, bars).with_columns(rsi_14=pl.lit(None, pl.Float64))
    lacking = {"momentum": {"rsi_14": ("high", "low")}}
    with pytest.raises(FeatureNotAvailable, match=r"momentum.rsi_14 has no value.*no high, low.*leave momentum.rsi_14"):
        build_training_set(SPEC, bars, {"momentum": (VIEW, values)}, lacking=lacking)
    other = replace(SPEC, features=SPEC.features[:1])
    assert build_training_set(other, bars, {"momentum": (VIEW, values)}, lacking=lacking).height == 600
