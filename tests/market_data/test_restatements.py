from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlops_assets.market_data.bars import BAR_COLUMNS, arrow_schema
from mlops_assets.market_data.restatements import Held, Revision, revise

LAG = timedelta(hours=1)
DAYS = [date(2020, 1, day) for day in (2, 3, 6, 7, 8, 9, 10)]
EMPTY = pl.DataFrame(arrow_schema(BAR_COLUMNS).empty_table())
READ_AT = datetime(2020, 1, 11, 12, tzinfo=UTC)


def bars(prices: dict[tuple[str, date], float], lag: timedelta = LAG, **values: object) -> pl.DataFrame:
    """Return bars as a reading gives them, with the time the source promises."""
    rows = [
        {
            "symbol": symbol,
            "date": day,
            "event_at": datetime.combine(day, time(21), tzinfo=UTC),
            "known_at": datetime.combine(day, time(21), tzinfo=UTC) + lag,
            "adjusted_close": price,
            "is_index": False,
            **values,
        }
        for (symbol, day), price in sorted(prices.items())
    ]
    return pl.DataFrame(rows, schema=EMPTY.schema) if rows else EMPTY


def series(*prices: float | None) -> dict[tuple[str, date], float]:
    return {("AAA", day): price for day, price in zip(DAYS, prices, strict=False) if price is not None}


def held(revision: Revision, lag: timedelta = LAG) -> Held:
    return Held(bars=revision.bars, superseded=revision.superseded, publication_lag=lag)


def readings(*contents: pl.DataFrame, first_at: datetime = READ_AT) -> list[Revision]:
    """Return the revision of each of some readings, a day apart."""
    made = list[Revision]()
    for number, content in enumerate(contents):
        made.append(revise(content, held(made[-1]) if made else None, read_at=first_at + timedelta(days=number)))
    return made


def known(revision: Revision) -> list[tuple[date, float, datetime]]:
    return revision.bars.select("date", "adjusted_close", "known_at").rows()


def test_a_first_reading_was_known_as_the_source_promises():
    (first,) = readings(bars(series(10.0, 11.0)))
    assert first.bars.equals(bars(series(10.0, 11.0)))
    assert first.superseded.is_empty()


def test_the_same_content_again_changes_nothing():
    content = bars(series(10.0, 11.0, 12.0))
    first, again = readings(content, content)
    assert again.bars.equals(first.bars)
    assert (again.restated, again.late, again.rebased, again.vanished.height) == (0, 0, 0, 0)


def test_a_corrected_value_is_known_from_its_reading_and_the_old_one_is_kept():
    _, second = readings(bars(series(10.0, 11.0, 12.0)), bars(series(10.0, 11.5, 12.0)))
    read_at = READ_AT + timedelta(days=1)
    promised = [datetime.combine(day, time(22), tzinfo=UTC) for day in DAYS[:3]]
    assert known(second) == [
        (DAYS[0], 10.0, promised[0]),
        (DAYS[1], 11.5, read_at),
        (DAYS[2], 12.0, promised[2]),
    ]
    assert second.restated == 1
    assert second.superseded.select("date", "adjusted_close", "known_at", "superseded_at").rows() == [
        (DAYS[1], 11.0, promised[1], read_at)
    ]


def test_a_value_corrected_and_corrected_back_has_three_times():
    *_, last = readings(bars(series(10.0, 11.0)), bars(series(10.0, 11.5)), bars(series(10.0, 11.0)))
    assert last.superseded["adjusted_close"].to_list() == [11.0, 11.5]
    assert last.bars["known_at"].to_list()[1] == READ_AT + timedelta(days=2)


def test_a_value_that_changes_before_it_could_be_known_is_replaced_in_place():
    early = datetime.combine(DAYS[1], time(21, 30), tzinfo=UTC)
    first = revise(bars(series(10.0, 11.0)), None, read_at=early)
    second = revise(bars(series(10.0, 11.5)), held(first), read_at=early + timedelta(minutes=10))
    assert known(second)[1] == (DAYS[1], 11.5, datetime.combine(DAYS[1], time(22), tzinfo=UTC))
    assert second.superseded.is_empty()


def test_a_new_day_and_older_history_were_known_as_promised_but_a_filled_gap_is_late():
    _, second = readings(bars(series(None, 11.0, None, 13.0)), bars(series(10.0, 11.0, 12.0, 13.0, 14.0)))
    late = READ_AT + timedelta(days=1)
    assert [at == late for _, _, at in known(second)] == [False, False, True, False, False]
    assert second.late == 1


def test_a_bar_that_the_source_did_not_have_with_the_others_of_its_day_is_late():
    both = {(symbol, day): 10.0 for symbol in ("AAA", "BBB") for day in DAYS[:3]}
    without = {key: price for key, price in both.items() if key != ("BBB", DAYS[2])}
    _, second = readings(bars(without), bars(both | {("BBB", DAYS[3]): 11.0, ("CCC", DAYS[1]): 5.0}))
    read_at = READ_AT + timedelta(days=1)
    late = second.bars.filter(pl.col("known_at") == read_at)
    assert late.select("symbol", "date").rows() == [("BBB", DAYS[2])]  # nothing of CCC was there to be missed
    assert second.late == 1


def test_a_vanished_bar_is_named_and_its_row_kept_and_coming_back_it_is_late():
    _, second, third = readings(
        bars(series(10.0, 11.0, 12.0)), bars(series(10.0, 11.0)), bars(series(10.0, 11.0, 12.0))
    )
    assert second.vanished.rows() == [("AAA", DAYS[2])]
    assert second.superseded["superseded_at"].to_list() == [READ_AT + timedelta(days=1)]
    assert known(third)[2] == (DAYS[2], 12.0, READ_AT + timedelta(days=2))


def test_a_dividend_that_moves_every_adjusted_close_by_one_factor_is_no_news():
    """A dividend of 2 % on the last day: the vendor multiplies what came before by .98 and rounds to cents."""
    before = series(100.0, 101.37, 99.99, 103.21, 104.05, 103.0)
    after = {key: round(price * 0.98, 2) for key, price in before.items()} | {("AAA", DAYS[6]): 101.5}
    first, second = readings(bars(before), bars(after))
    assert (second.rebased, second.restated) == (6, 0)
    assert second.bars["known_at"].to_list()[:6] == first.bars["known_at"].to_list()
    assert second.bars["adjusted_close"].to_list()[0] == 98.0
    assert second.superseded.is_empty()


def test_a_dividend_that_was_applied_late_restates_the_days_since_and_keeps_the_returns_as_they_were_known():
    before = series(100.0, 102.0, 104.0, 103.0, 105.0)
    after = before | {
        ("AAA", day): round(price * 0.98, 2) for day, price in zip(DAYS[:3], (100.0, 102.0, 104.0), strict=True)
    }
    _, second = readings(bars(before), bars(after))
    assert (second.rebased, second.restated) == (3, 2)
    late = READ_AT + timedelta(days=1)
    assert [at == late for _, _, at in known(second)] == [False, False, False, True, True]
    new = second.bars["adjusted_close"].to_list()
    old = second.superseded["adjusted_close"].to_list()
    assert second.superseded["date"].to_list() == DAYS[3:5]
    assert old[0] / new[2] == pytest.approx(103.0 / 104.0, rel=1e-4)  # the return as it was known: a loss
    assert new[3] / new[2] > 1  # and as it is known since: a gain


def test_what_was_superseded_moves_with_its_symbol():
    first = series(100.0, 101.0, 102.0, 103.0, 104.0)
    second = first | {("AAA", DAYS[1]): 110.0}
    third = {key: price / 2 for key, price in second.items()}
    *_, last = readings(bars(first), bars(second), bars(third))
    assert (last.rebased, last.restated) == (5, 0)
    assert last.superseded["adjusted_close"].to_list() == pytest.approx([50.5], rel=1e-4)
    assert last.bars["known_at"].to_list()[1] == READ_AT + timedelta(days=1)


@pytest.mark.parametrize(
    "after",
    [
        series(98.0, 98.98, 99.96, 110.0, 104.0),  # one of them does not fit the factor
        series(98.0, 101.0, 102.0, 103.0, 104.0),  # the first row alone
        series(100.0, 101.0, 101.0, 103.0, 104.0),  # a row within
    ],
)
def test_anything_else_is_news(after: dict[tuple[str, date], float]):
    _, second = readings(bars(series(100.0, 101.0, 102.0, 103.0, 104.0)), bars(after))
    assert second.rebased == 0
    assert second.restated == second.superseded.height > 0


def test_a_row_of_which_more_changed_is_news_among_rows_that_are_rebased():
    before = bars(series(100.0, 101.0, 102.0, 103.0, 104.0), volume=7)
    halved = bars(series(50.0, 50.5, 51.0, 51.5, 52.0), volume=7)
    after = halved.with_columns(volume=pl.when(pl.col("date") == DAYS[2]).then(8).otherwise(pl.col("volume")))
    _, second = readings(before, after)
    assert (second.rebased, second.restated) == (4, 1)
    assert second.superseded.select("adjusted_close", "volume").rows()[0] == (pytest.approx(51.0, rel=1e-4), 7)


def test_another_publication_lag_moves_what_was_promised_and_not_what_was_learned():
    _, second = readings(bars(series(10.0, 11.0)), bars(series(10.0, 11.5)))
    slower = timedelta(hours=3)
    third = revise(bars(series(10.0, 11.5), slower), held(second), read_at=READ_AT + timedelta(days=2))
    assert third.restated == 0
    assert known(third) == [
        (DAYS[0], 10.0, datetime.combine(DAYS[0], time(21), tzinfo=UTC) + slower),
        (DAYS[1], 11.5, READ_AT + timedelta(days=1)),
    ]


contents = st.dictionaries(
    st.tuples(st.sampled_from(["AAA", "BBB"]), st.sampled_from(DAYS)), st.sampled_from([10.0, 11.0, 12.37]), max_size=9
)


@settings(max_examples=60)
@given(st.lists(contents, min_size=1, max_size=5))
def test_bars_are_the_last_reading_and_each_earlier_one_can_be_asked(read: list[dict[tuple[str, date], float]]):
    made = readings(*(bars(one) for one in read))
    assume(not any(one.rebased for one in made))  # a re-based past is told in today's units
    last = made[-1]
    values = ["symbol", "date", "adjusted_close"]
    assert last.bars.select(values).equals(bars(read[-1]).select(values))
    rows = pl.concat([last.bars.with_columns(superseded_at=None), last.superseded], how="vertical_relaxed")
    assert not rows.select("symbol", "date", "known_at").is_duplicated().any()
    for number, content in enumerate(read):
        at = READ_AT + timedelta(days=number)
        stands = pl.col("superseded_at").is_null() | (pl.col("superseded_at") > at)
        then = rows.filter(pl.col("known_at") <= at, stands).sort("symbol", "date")
        told = {(symbol, day): price for symbol, day, price in then.select(values).iter_rows()}
        assert {key: told[key] for key in content} == content  # new days read later were promised for then, too
