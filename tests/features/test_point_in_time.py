"""The join against its definition, written out as a loop, and against cases worked by hand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.features.point_in_time import point_in_time_join
from mlops_assets.kernel.errors import MissingColumns
from tests.features.published import HOUR, START, TIME, rows_of

MICROSECOND = timedelta(microseconds=1)
NEW_YORK = ZoneInfo("America/New_York")

# Full hours and their neighbours by a microsecond: bounds are hit and missed by the least step.
moments = st.builds(
    lambda hour, step: START + hour * HOUR + step * MICROSECOND,
    st.integers(min_value=0, max_value=12),
    st.sampled_from([0, 0, 0, -1, 1]),
)
symbols = st.none() | st.sampled_from("abc")
ttls = st.sampled_from([0, 1, 3, 6]).map(lambda hours: hours * HOUR)


@dataclass(frozen=True, kw_only=True)
class Row:
    symbol: str | None
    event: datetime | None
    known: datetime | None
    value: float | None


feature_rows = st.lists(
    st.builds(
        Row,
        symbol=symbols,
        event=st.none() | moments,
        known=st.none() | moments,
        value=st.none() | st.integers(0, 99).map(float),
    ),
    max_size=25,
)
entity_rows = st.lists(st.tuples(symbols | st.just("never"), st.none() | moments), max_size=15)


def features_of(rows: list[Row]) -> pl.DataFrame:
    return pl.DataFrame(
        [(row.symbol, row.event, row.known, row.value) for row in rows],
        schema={"symbol": pl.String, "event_at": TIME, "known_at": TIME, "x": pl.Float64},
        orient="row",
    )


def entities_of(rows: list[tuple[str | None, datetime | None]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"symbol": pl.String, "at": TIME}, orient="row")


def by_definition(
    symbol: str | None,
    at: datetime | None,
    rows: list[Row],
    *,
    ttl: timedelta,
    as_of: datetime | None = None,
    with_hindsight: bool = False,
) -> float | None:
    """Return the value that wins: latest event within the TTL, then latest known, then the last row."""
    if at is None:
        return None
    now = at if as_of is None else min(at, as_of)
    winner: Row | None = None
    for row in rows:
        if symbol is None or row.symbol != symbol or row.event is None or row.event > now:
            continue
        if ttl and row.event < at - ttl:
            continue
        limit = as_of if with_hindsight else now
        if limit is not None and (row.known is None or row.known > limit):
            continue
        if winner is None or _rank(row) >= _rank(winner):
            winner = row
    return None if winner is None else winner.value


def _rank(row: Row) -> tuple[datetime, bool, datetime]:
    assert row.event is not None
    return row.event, row.known is not None, row.known or START


@given(rows=feature_rows, entities=entity_rows, ttl=ttls, as_of=st.none() | moments, with_hindsight=st.booleans())
def test_the_join_equals_its_definition(
    rows: list[Row],
    entities: list[tuple[str | None, datetime | None]],
    ttl: timedelta,
    as_of: datetime | None,
    with_hindsight: bool,
):
    asked = entities_of(entities)
    joined = point_in_time_join(
        asked, features_of(rows), columns=["x"], ttl=ttl, as_of=as_of, with_hindsight=with_hindsight
    )
    assert joined.select("symbol", "at").equals(asked)
    assert joined["x"].to_list() == [
        by_definition(symbol, at, rows, ttl=ttl, as_of=as_of, with_hindsight=with_hindsight) for symbol, at in entities
    ]


@given(rows=feature_rows, entities=entity_rows, ttl=ttls)
def test_it_is_the_same_where_symbol_and_time_do_not_fit_one_integer(
    rows: list[Row], entities: list[tuple[str | None, datetime | None]], ttl: timedelta
):
    ages = [datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)]
    far = [(f"far{number}", age) for number in range(30) for age in ages]
    features = [*rows, *(Row(symbol=symbol, event=age, known=age, value=1.0) for symbol, age in far)]
    expected = point_in_time_join(entities_of(entities), features_of(rows), columns=["x"], ttl=ttl)
    joined = point_in_time_join(entities_of([*entities, *far]), features_of(features), columns=["x"], ttl=ttl)
    assert joined.head(len(entities)).equals(expected)
    assert joined.tail(len(far))["x"].to_list() == [1.0] * len(far)


@given(rows=feature_rows, entities=entity_rows, cutoff=moments, ttl=ttls)
def test_what_is_learned_later_changes_nothing(
    rows: list[Row], entities: list[tuple[str | None, datetime | None]], cutoff: datetime, ttl: timedelta
):
    early = entities_of([(symbol, at and min(at, cutoff)) for symbol, at in entities])
    known = [row for row in rows if row.known is not None and row.known <= cutoff]
    complete, truncated = (
        point_in_time_join(early, features_of(some), columns=["x"], ttl=ttl) for some in (rows, known)
    )
    assert complete.equals(truncated)


@given(rows=feature_rows, entities=entity_rows, cutoff=moments, ttl=ttls)
def test_a_cutoff_asks_what_was_known_on_that_date(
    rows: list[Row], entities: list[tuple[str | None, datetime | None]], cutoff: datetime, ttl: timedelta
):
    known = [row for row in rows if row.known is not None and row.known <= cutoff]
    happened = [row for row in known if row.event is not None and row.event <= cutoff]
    asked = entities_of(entities)
    cut = point_in_time_join(asked, features_of(rows), columns=["x"], ttl=ttl, as_of=cutoff)
    assert cut.equals(point_in_time_join(asked, features_of(happened), columns=["x"], ttl=ttl))


@given(rows=feature_rows, entities=entity_rows, seed=st.randoms(use_true_random=False))
def test_the_order_of_rows_and_of_questions_does_not_matter(
    rows: list[Row], entities: list[tuple[str | None, datetime | None]], seed: object
):
    different = list({(row.symbol, row.event, row.known): row for row in rows}.values())
    mixed, asked = list(different), list(entities)
    seed.shuffle(mixed)  # pyright: ignore[reportAttributeAccessIssue]
    seed.shuffle(asked)  # pyright: ignore[reportAttributeAccessIssue]
    one = point_in_time_join(entities_of(entities), features_of(different), columns=["x"], ttl=3 * HOUR)
    other = point_in_time_join(entities_of(asked), features_of(mixed), columns=["x"], ttl=3 * HOUR)
    order = ["symbol", "at", "x"]
    assert one.sort(order).equals(other.sort(order))


def joined_by_hand(at: timedelta, ttl: timedelta = 2 * HOUR, **how: object) -> float | None:
    """A bar of 16:00 is known a minute later as 10, corrected to 11 an hour later; the bar of 15:30 was 9."""
    event = START + 16 * HOUR
    features = rows_of(
        [
            ("a", event - timedelta(minutes=30), event - timedelta(minutes=30), 9.0),
            ("a", event, event + timedelta(minutes=1), 10.0),
            ("a", event, event + timedelta(hours=1), 11.0),
        ],
        "x",
    )
    entities = pl.DataFrame({"symbol": ["a"], "at": [START + at]}).cast({"at": TIME})
    return point_in_time_join(entities, features, columns=["x"], ttl=ttl, **how)["x"].item()  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (timedelta(hours=15, minutes=29), None),
        (timedelta(hours=16), 9.0),
        (timedelta(hours=16, minutes=1) - MICROSECOND, 9.0),
        (timedelta(hours=16, minutes=1), 10.0),
        (timedelta(hours=17) - MICROSECOND, 10.0),
        (timedelta(hours=17), 11.0),
        (timedelta(hours=18), 11.0),
        (timedelta(hours=18) + MICROSECOND, None),
    ],
    ids=[
        "before anything",
        "it happened, and nobody knows",
        "just before it is known",
        "known",
        "just before the correction",
        "corrected",
        "last instant of the TTL",
        "after the TTL",
    ],
)
def test_by_hand(at: timedelta, expected: float | None):
    assert joined_by_hand(at) == expected


def test_hindsight_and_a_cutoff_by_hand():
    assert joined_by_hand(timedelta(hours=16), with_hindsight=True) == 11.0
    assert (
        joined_by_hand(timedelta(hours=16), with_hindsight=True, as_of=START + timedelta(hours=16, minutes=5)) == 10.0
    )
    assert joined_by_hand(timedelta(hours=18), as_of=START + timedelta(hours=16, minutes=5)) == 10.0
    assert joined_by_hand(timedelta(hours=18), as_of=START + timedelta(hours=16)) is None, "9 is past its TTL by then"


def test_a_null_in_the_winner_stays_null():
    rows = rows_of([("a", START, START, 5.0), ("a", START + HOUR, START + HOUR, None)], "x")
    asked = entities_of([("a", START + 2 * HOUR)])
    assert point_in_time_join(asked, rows, columns=["x"], ttl=timedelta(0))["x"].to_list() == [None]


def test_of_equal_rows_the_last_one_wins():
    rows = rows_of([("a", START, START, value) for value in (1.0, 3.0, 2.0)], "x")
    assert point_in_time_join(entities_of([("a", START)]), rows, columns=["x"], ttl=HOUR)["x"].to_list() == [2.0]


def test_a_day_has_23_hours_where_the_clocks_go_forward():
    # 2024-03-09 16:00 to 2024-03-10 16:00 in New York is 23 hours: a TTL of one day still reaches an hour further back.
    event = datetime(2024, 3, 9, 16, tzinfo=NEW_YORK)
    rows = rows_of([("a", event, event, 1.0)], "x")
    asked = [datetime(2024, 3, 10, 16, tzinfo=NEW_YORK), datetime(2024, 3, 10, 17, tzinfo=NEW_YORK)]
    asked.append(asked[-1] + MICROSECOND)
    entities = pl.DataFrame({"symbol": ["a"] * 3, "at": pl.Series(asked).dt.convert_time_zone("America/New_York")})
    joined = point_in_time_join(entities, rows, columns=["x"], ttl=timedelta(days=1))
    assert joined["x"].to_list() == [1.0, 1.0, None]
    assert joined.schema["at"] == pl.Datetime("us", "America/New_York")


@given(
    rows=feature_rows,
    entities=entity_rows,
    zone=st.sampled_from(["Asia/Seoul", "America/New_York", "Australia/Lord_Howe", "UTC"]),
)
def test_zones_of_either_side_do_not_matter(
    rows: list[Row], entities: list[tuple[str | None, datetime | None]], zone: str
):
    asked, features = entities_of(entities), features_of(rows)
    here = pl.col(TIME).dt.convert_time_zone(zone)
    expected = point_in_time_join(asked, features, columns=["x"], ttl=3 * HOUR)
    assert point_in_time_join(asked.with_columns(here), features, columns=["x"], ttl=3 * HOUR)["x"].equals(
        expected["x"]
    )
    assert point_in_time_join(asked, features.with_columns(here), columns=["x"], ttl=3 * HOUR)["x"].equals(
        expected["x"]
    )


def test_nanoseconds_never_show_the_future():
    # Feast rounds to microseconds, so an event 400 ns ahead matches there.
    kind = pl.Datetime("ns", "UTC")
    features = pl.DataFrame({"symbol": ["a"], "event_at": [1_400], "known_at": [1_400], "x": [1.0]})
    features = features.cast({"event_at": kind, "known_at": kind})
    entities = pl.DataFrame({"symbol": ["a"] * 3, "at": [1_000, 1_999, 2_000]}).cast({"at": kind})
    joined = point_in_time_join(entities, features, columns=["x"], ttl=timedelta(0))
    assert joined["x"].to_list() == [None, None, 1.0]


def test_milliseconds_and_microseconds_meet():
    features = rows_of([("a", START, START, 1.0)], "x")
    entities = entities_of([("a", START)]).cast({"at": pl.Datetime("ms", "UTC")})
    assert point_in_time_join(entities, features, columns=["x"], ttl=HOUR)["x"].to_list() == [1.0]


def test_any_type_of_column_is_carried():
    features = rows_of([("a", START, START, 1.0)], "x").with_columns(
        name=pl.lit("bull"), day=pl.lit(START.date()), flag=pl.lit(value=True), many=pl.lit(3, pl.Int8)
    )
    names = ["name", "day", "flag", "many"]
    joined = point_in_time_join(entities_of([("a", START), ("b", START)]), features, columns=names, ttl=HOUR)
    assert joined.select(names).rows() == [("bull", START.date(), True, 3), (None, None, None, None)]
    assert joined.select(names).schema == features.select(names).schema


def test_empty_sides_keep_their_types():
    features, asked = rows_of([("a", START, START, 1.0)], "x"), entities_of([("a", START)])
    no_questions = point_in_time_join(asked.clear(), features, columns=["x"], ttl=HOUR)
    assert no_questions.schema == {**asked.schema, "x": pl.Float64}
    assert no_questions.height == 0
    no_answers = point_in_time_join(asked, features.clear(), columns=["x"], ttl=HOUR)
    assert no_answers["x"].to_list() == [None]
    assert no_answers.schema == no_questions.schema


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda side: side.drop("symbol"), MissingColumns, "symbol"),
        (lambda side: side.with_columns(pl.col(TIME).dt.replace_time_zone(None)), TypeError, "replace_time_zone"),
        (lambda side: side.with_columns(pl.col(TIME).cast(pl.Date)), TypeError, "needs a zone"),
        (lambda side: side.with_columns(pl.col(TIME).cast(pl.String)), TypeError, "needs a zone"),
    ],
    ids=["no symbol", "naive", "days", "words"],
)
@pytest.mark.parametrize("side", ["entities", "features"])
def test_a_wrong_table_is_refused(side: str, change: object, error: type[Exception], words: str):
    tables = {"entities": entities_of([("a", START)]), "features": rows_of([("a", START, START, 1.0)], "x")}
    tables[side] = change(tables[side])  # pyright: ignore[reportCallIssue]
    with pytest.raises(error, match=words):
        point_in_time_join(tables["entities"], tables["features"], columns=["x"], ttl=HOUR)


def test_a_naive_cutoff_is_refused():
    with pytest.raises(TypeError, match="time zone"):
        joined_by_hand(HOUR, as_of=datetime(2024, 1, 1))  # noqa: DTZ001
