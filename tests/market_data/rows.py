"""Hand-made raw rows for tests: good ones by default, one thing changed at a time."""

from datetime import UTC, date, datetime

import polars as pl

from mlops_assets.market_data.calendar import TradingCalendar
from mlops_assets.market_data.sources import RAW_SCHEMA, VALUE_COLUMNS
from mlops_assets.market_data.validation import Validation, validate

# Thursday 2 January to Friday 10 January 2020: seven sessions; the clock stands on Friday evening.
AS_OF = datetime(2020, 1, 10, 23, 0, tzinfo=UTC)
FIRST = date(2020, 1, 2)
CALENDAR = TradingCalendar()
SCHEDULE = CALENDAR.schedule(FIRST, AS_OF.date())

GOOD = {
    "symbol": "AAA",
    "date": date(2020, 1, 2),
    "open": 10.0,
    "high": 12.0,
    "low": 9.0,
    "close": 11.0,
    "adjusted_close": 10.5,
    "volume": 1000,
    "dividend_amount": 0.0,
    "split_coefficient": 1.0,
    "origin": "hand.csv",
}


def raw(*changes: dict[str, object]) -> pl.DataFrame:
    """Return one row per change, numbered from 2 like the rows of a file."""
    rows = [GOOD | {"origin_row": number} | change for number, change in enumerate(changes, start=2)]
    return pl.DataFrame(rows, schema=RAW_SCHEMA, orient="row")


def judge(*changes: dict[str, object]) -> Validation:
    return validate(raw(*changes), schedule=SCHEDULE, required=frozenset(VALUE_COLUMNS), as_of=AS_OF)
