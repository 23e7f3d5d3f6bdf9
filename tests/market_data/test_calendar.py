from datetime import UTC, date, datetime

import pytest

from mlops_assets.market_data.calendar import TradingCalendar

CALENDAR = TradingCalendar()


def test_weekends_and_holidays_are_no_sessions():
    days = CALENDAR.sessions(date(2021, 12, 31), date(2022, 1, 18))
    assert days[:2] == [date(2021, 12, 31), date(2022, 1, 3)]
    assert date(2022, 1, 17) not in days  # Martin Luther King Jr. Day


def test_the_exchange_stayed_closed_after_the_attacks_of_2001():
    assert CALENDAR.sessions(date(2001, 9, 10), date(2001, 9, 17)) == [date(2001, 9, 10), date(2001, 9, 17)]


@pytest.mark.parametrize(
    ("day", "close"),
    [
        (date(2020, 1, 2), datetime(2020, 1, 2, 21, 0, tzinfo=UTC)),  # winter: 16:00 is 21:00 UTC
        (date(2020, 7, 1), datetime(2020, 7, 1, 20, 0, tzinfo=UTC)),  # summer: 20:00 UTC
        (date(2020, 11, 27), datetime(2020, 11, 27, 18, 0, tzinfo=UTC)),  # the day after Thanksgiving closes at 13:00
    ],
)
def test_a_close_is_an_instant_in_utc(day, close):
    assert CALENDAR.close_of(day) == close


def test_a_day_without_trading_has_no_close():
    assert not CALENDAR.is_session(date(2020, 1, 4))
    with pytest.raises(ValueError, match="does not trade on 2020-01-04"):
        CALENDAR.close_of(date(2020, 1, 4))


@pytest.mark.parametrize(
    ("at", "day"),
    [
        (datetime(2020, 1, 3, 20, 59, tzinfo=UTC), date(2020, 1, 2)),
        (datetime(2020, 1, 3, 21, 0, tzinfo=UTC), date(2020, 1, 3)),
        (datetime(2020, 1, 6, 3, 0, tzinfo=UTC), date(2020, 1, 3)),
        (datetime(2001, 9, 17, 3, 0, tzinfo=UTC), date(2001, 9, 10)),
    ],
)
def test_the_latest_closed_session_is_the_last_one_before_the_instant(at, day):
    assert CALENDAR.latest_closed(at) == day


def test_a_wider_range_widens_the_calendar_and_keeps_the_narrow_answer():
    calendar = TradingCalendar()
    narrow = calendar.schedule(date(2020, 3, 1), date(2020, 3, 31))
    calendar.schedule(date(1990, 1, 1), date(2022, 12, 31))
    assert calendar.schedule(date(2020, 3, 1), date(2020, 3, 31)).equals(narrow)


def test_an_empty_or_impossible_range_has_no_sessions():
    assert CALENDAR.sessions(date(2020, 1, 3), date(2020, 1, 2)) == []
    assert CALENDAR.sessions(date(1, 1, 1), date(1800, 1, 1)) == []
