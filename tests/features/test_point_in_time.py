"""The join against its definition, written out as a loop, and against cases worked by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.features.point_in_time import point_in_time_join

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
TIME = pl.Datetime("us", "UTC")

hours = st.integers(min_value=0, max_value=12)
feature_rows = st.lists(st.tuples(st.sampled_from("ab"), hours, hours, st.none() | st.integers(0, 99)), max_size=25)
entity_rows = st.lists(st.tuples(st.sampled_from("abc"), hours), min_size=1, max_size=15)


def features_of(rows: list[tuple[str, int, int, int | None]]) -> pl.DataFrame:
    return pl.DataFrame(
        [(symbol, START + event * HOUR, START + known * HOUR, value) for symbol, event, known, value in rows],
        schema={"symbol": pl.String, "event_at": TIME, "known_at": TIME, "x": pl.Float64},
        orient="row",
    )


def entities_of(rows: list[tuple[str, int]]) -> pl.DataFrame:
    return pl.DataFrame(
        [(symbol, START + at * HOUR) for symbol, at in rows], schema={"symbol": pl.String, "at": TIME}, orient="row"
    )


def by_definition(
    symbol: str, at: int, rows: list[tuple[str, int, int, int | None]], ttl_hours: int
) -> set[int | None]:
    """Return the values of the rows that win: latest event within the TTL, then latest known, among those known."""
    usable = [
        (event, known, value)
        for of, event, known, value in rows
        if of == symbol and event <= at and known <= at and (ttl_hours == 0 or event >= at - ttl_hours)
    ]
    best = max(((event, known) for event, known, _ in usable), default=None)
    return {value for event, known, value in usable if (event, known) == best} or {None}


@given(rows=feature_rows, entities=entity_rows, ttl_hours=st.sampled_from([0, 1, 3, 6]))
def test_the_join_equals_its_definition(
    rows: list[tuple[str, int, int, int | None]], entities: list[tuple[str, int]], ttl_hours: int
):
    joined = point_in_time_join(entities_of(entities), features_of(rows), columns=["x"], ttl=timedelta(hours=ttl_hours))
    assert joined.select("symbol", "at").equals(entities_of(entities))
    for (symbol, at), value in zip(entities, joined["x"].to_list(), strict=True):
        assert value in by_definition(symbol, at, rows, ttl_hours)


@given(rows=feature_rows, entities=entity_rows, cutoff=hours)
def test_what_is_learned_later_changes_nothing(
    rows: list[tuple[str, int, int, int | None]], entities: list[tuple[str, int]], cutoff: int
):
    early = [(symbol, min(at, cutoff)) for symbol, at in entities]
    known = [row for row in rows if row[2] <= cutoff]
    complete, truncated = (
        point_in_time_join(entities_of(early), features_of(some), columns=["x"], ttl=timedelta(0))
        for some in (rows, known)
    )
    assert complete.equals(truncated)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (timedelta(hours=15, minutes=59), None),
        (timedelta(hours=16), 10.0),
        (timedelta(hours=16, minutes=1), 11.0),
        (timedelta(hours=18), 11.0),
        (timedelta(hours=18, microseconds=1), None),
    ],
    ids=["before it is known", "when it is known", "a correction", "last instant of the TTL", "after the TTL"],
)
def test_by_hand(at: timedelta, expected: float | None):
    event = START + timedelta(hours=16)
    features = pl.DataFrame(
        {
            "symbol": ["a", "a"],
            "event_at": [event, event],
            "known_at": [event, event + timedelta(minutes=1)],
            "x": [10.0, 11.0],
        }
    ).cast({"event_at": TIME, "known_at": TIME})
    entities = pl.DataFrame({"symbol": ["a"], "at": [START + at]}).cast({"at": TIME})
    joined = point_in_time_join(entities, features, columns=["x"], ttl=timedelta(hours=2))
    assert joined["x"].to_list() == [expected]


def test_a_null_in_the_winner_stays_null():
    rows = features_of([("a", 1, 1, 5), ("a", 2, 2, None)])
    assert point_in_time_join(entities_of([("a", 3)]), rows, columns=["x"], ttl=timedelta(0))["x"].to_list() == [None]
