from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from mlops_assets.market_data import checks
from mlops_assets.market_data.ingestion import expected_last_session
from tests.market_data.rows import CALENDAR, SCHEDULE, judge

BARS = judge({}, {"date": date(2020, 1, 3)}, {"symbol": "BBB", "date": date(2020, 1, 2)}).accepted


def test_a_repeated_key_is_found_and_named():
    finding = checks.no_duplicate_keys(pl.concat([BARS, BARS.head(1)]))
    assert not finding.is_passed
    assert finding.words == "more than once: AAA 2020-01-02"
    assert checks.no_duplicate_keys(BARS).is_passed


@pytest.mark.parametrize(
    "change",
    [
        {"adjusted_close": None},
        {"adjusted_close": float("nan")},
        {"open": float("inf")},
        {"low": 0.0},
        {"close": -1.0},
        {"high": 8.0},
    ],
)
def test_an_invalid_price_is_found(change):
    bad = BARS.head(1).with_columns(**{name: pl.lit(value, pl.Float64) for name, value in change.items()})
    finding = checks.prices_are_valid(pl.concat([bad, BARS.tail(1)]))
    assert (finding.is_passed, finding.numbers) == (False, {"invalid_rows": 1})


def test_prices_a_source_lacks_are_not_invalid():
    only_adjusted = BARS.with_columns(pl.lit(None, pl.Float64).alias(name) for name in ("open", "high", "low", "close"))
    assert checks.prices_are_valid(only_adjusted).is_passed


def test_a_symbol_that_ends_early_is_late():
    finding = checks.latest_trading_day_present(BARS, expected=date(2020, 1, 3), history_ends=None)
    assert not finding.is_passed
    assert "BBB 2020-01-02" in finding.words
    assert checks.latest_trading_day_present(BARS, expected=date(2020, 1, 2), history_ends=None).is_passed


def test_a_closed_history_is_judged_against_its_own_end_and_says_so():
    at = datetime(2024, 5, 1, tzinfo=UTC)
    ends = date(2020, 1, 2)
    expected = expected_last_session(CALENDAR, at=at, publication_lag=timedelta(hours=1), history_ends=ends)
    finding = checks.latest_trading_day_present(BARS, expected=expected, history_ends=ends)
    assert finding.is_passed
    assert "closed on 2020-01-02" in finding.words


@pytest.mark.parametrize(("minute", "expected"), [(59, date(2020, 1, 2)), (0, date(2020, 1, 3))])
def test_a_bar_is_expected_once_its_publication_lag_is_over(minute, expected):
    at = datetime(2020, 1, 3, 22 if minute else 23, minute, tzinfo=UTC)
    lag = timedelta(hours=2)
    assert expected_last_session(CALENDAR, at=at, publication_lag=lag, history_ends=None) == expected


def test_a_missing_session_is_found():
    finding = checks.complete_against_calendar(BARS.filter(pl.col("date") != date(2020, 1, 2)), SCHEDULE)
    assert finding.is_passed
    gap = judge({}, {"date": date(2020, 1, 6)}).accepted
    finding = checks.complete_against_calendar(gap, SCHEDULE)
    assert (finding.is_passed, finding.words) == (False, "missing: AAA 2020-01-03")
