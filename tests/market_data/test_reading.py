from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest

from mlops_assets.market_data.quarantine import Reason
from mlops_assets.market_data.reading import ExchangeHours, read_day, read_rows
from mlops_assets.market_data.sources import MalformedSource

HOURS = ExchangeHours()
NEW_YORK_SUMMER = timezone(timedelta(hours=-4))


@pytest.mark.parametrize(
    "value",
    [
        "2020-07-01",
        " 2020-07-01 ",
        "20200701",
        "2020-07-01T16:00:00-04:00",
        "2020-07-01T20:00:00Z",
        "2020-07-01T00:00:00-04:00",
        "2020-07-01 09:30:00-04:00",
        date(2020, 7, 1),
        datetime(2020, 7, 1, 20, 0, tzinfo=UTC),
        datetime(2020, 7, 1, 0, 0, tzinfo=NEW_YORK_SUMMER),
    ],
)
def test_a_date_or_a_timestamp_with_its_zone_names_the_trading_day(value):
    assert read_day(value, HOURS).day == date(2020, 7, 1)


@pytest.mark.parametrize("value", ["2020-07-01T16:00:00", "2020-07-01 00:00:00", datetime(2020, 7, 1)])  # noqa: DTZ001
def test_a_timestamp_without_zone_is_refused(value):
    read = read_day(value, HOURS)
    assert (read.day, read.problem) == (None, Reason.NAIVE_TIMESTAMP)


@pytest.mark.parametrize("value", ["2020-07-01T00:00:00Z", "2020-07-01T18:00:00-04:00"])
def test_an_hour_outside_the_session_is_ambiguous(value):
    """Midnight UTC is the evening before in New York: reading it so would show a price one day early."""
    read = read_day(value, HOURS)
    assert (read.day, read.problem) == (None, Reason.AMBIGUOUS_TIMESTAMP)


@pytest.mark.parametrize("value", ["02/01/2020", "2020-13-01", "yesterday", 20200102])
def test_what_is_no_iso_date_is_unreadable(value):
    assert read_day(value, HOURS).problem == Reason.UNREADABLE_VALUE


@pytest.mark.parametrize("value", [None, "", "  "])
def test_no_date_is_no_day_and_left_to_validation(value):
    assert (read_day(value, HOURS).day, read_day(value, HOURS).problem) == (None, None)


def read(**columns):
    height = len(next(iter(columns.values())))
    fields = {"symbol": ["AAA"] * height, "date": ["2020-01-02"] * height} | columns
    series = {name: values if isinstance(values, pl.Series) else pl.Series(values) for name, values in fields.items()}
    return read_rows(series, origin="a.csv", origin_rows=range(2, height + 2), hours=HOURS)


@pytest.mark.parametrize(
    ("text", "number"), [("1.5", 1.5), (" 1.5 ", 1.5), ("1e3", 1000.0), ("-2", -2.0), ("", None), ("inf", float("inf"))]
)
def test_a_price_is_read_from_text(text, number):
    rows = read(close=[text])
    assert rows["close"].to_list() == [number]
    assert rows["problem"].to_list() == [None]


@pytest.mark.parametrize("text", ["abc", "1,234.5", "$5", "1.5.2"])
def test_text_that_is_no_number_marks_its_row(text):
    row = read(close=[text]).row(0, named=True)
    assert (row["close"], row["problem"]) == (None, "unreadable_value")
    assert row["problem_detail"] == f"close: '{text}' is not a number"


def test_nan_in_text_stays_nan_for_validation_to_find():
    assert read(close=["NaN"])["close"].is_nan().to_list() == [True]


@pytest.mark.parametrize(
    ("given", "volume"),
    [(["12"], 12), (["12.0"], 12), (["9007199254740993"], 9007199254740993), ([12.0], 12), ([12], 12), ([""], None)],
)
def test_a_volume_is_a_whole_number_in_any_spelling(given, volume):
    rows = read(volume=given)
    assert (rows["volume"].to_list(), rows["problem"].to_list()) == ([volume], [None])


@pytest.mark.parametrize("given", [["12.5"], [12.5], [float("nan")], ["1e300"], ["many"]])
def test_a_volume_that_is_not_whole_marks_its_row(given):
    assert read(volume=given)["problem"].to_list() == ["unreadable_value"]


def test_a_typed_column_that_cannot_hold_numbers_is_refused():
    with pytest.raises(MalformedSource, match=r"a.csv, field 'close': holds Boolean"):
        read(close=[True])


def test_a_bad_date_and_a_good_one_keep_their_rows_and_their_order():
    rows = read(date=["2020-01-03", "x", "2020-01-02", None], close=["1", "2", "3", "4"])
    assert rows["date"].to_list() == [date(2020, 1, 3), None, date(2020, 1, 2), None]
    assert rows["problem"].to_list() == [None, "unreadable_value", None, None]
    assert rows["origin_row"].to_list() == [2, 3, 4, 5]
    assert rows["close"].to_list() == [1.0, 2.0, 3.0, 4.0]


def test_an_empty_symbol_is_missing():
    assert read(symbol=[" ", " AAA "])["symbol"].to_list() == [None, "AAA"]
