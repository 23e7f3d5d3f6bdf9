"""When the exchange trades: its sessions and the instant each one closes, early closes included."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from exchange_calendars import ExchangeCalendar

SCHEDULE_SCHEMA = pl.Schema({"date": pl.Date(), "close_at": pl.Datetime("us", "UTC")})

# Before this the library knows no closes worth trusting, and no source has bars.
EARLIEST = date(1900, 1, 1)
# The longest closure since 1914 was six days (September 2001), with the weekends around it.
_LONGEST_CLOSURE = timedelta(days=14)


class TradingCalendar:
    """The sessions of one exchange, built on first use and widened when a longer range is asked for."""

    def __init__(self, exchange: str = "XNYS") -> None:
        self.exchange = exchange
        self._first_year = self._last_year = 0
        self._table = pl.DataFrame(schema=SCHEDULE_SCHEMA)

    def schedule(self, first: date, last: date) -> pl.DataFrame:
        """Return the sessions from `first` to `last`, both included, as `date` and `close_at` (UTC), sorted."""
        first = max(first, EARLIEST)
        if last < first:
            return pl.DataFrame(schema=SCHEDULE_SCHEMA)
        return self._covering(first, last).filter(pl.col("date").is_between(first, last))

    def sessions(self, first: date, last: date) -> list[date]:
        """Return the trading days from `first` to `last`, both included."""
        return self.schedule(first, last)["date"].to_list()

    def is_session(self, day: date) -> bool:
        return bool(self.sessions(day, day))

    def close_of(self, day: date) -> datetime:
        """Return the instant at which the session of `day` closes.

        Raises:
            ValueError: if the exchange does not trade on that day.
        """
        found = self.schedule(day, day)
        if found.is_empty():
            raise ValueError(f"{self.exchange} does not trade on {day}")
        return found["close_at"][0]

    def latest_closed(self, at: datetime) -> date:
        """Return the last session that had closed at the instant `at`."""
        day = at.astimezone(UTC).date()
        closed = self.schedule(day - _LONGEST_CLOSURE, day).filter(pl.col("close_at") <= at)
        return closed["date"][-1]

    def closed_between(self, after: datetime, until: datetime) -> int:
        """Count the sessions that closed after one instant and had closed at another."""
        first, last = (one.astimezone(UTC).date() for one in (after, until))
        closes = self.schedule(first, last)["close_at"]
        return int(((closes > after) & (closes <= until)).sum())

    def _covering(self, first: date, last: date) -> pl.DataFrame:
        if not (self._first_year <= first.year and last.year <= self._last_year):
            first_year = min(first.year, self._first_year or first.year)
            last_year = max(last.year, self._last_year)
            self._table = _built(self.exchange, date(first_year, 1, 1), date(last_year, 12, 31))
            self._first_year, self._last_year = first_year, last_year
        return self._table


def _built(exchange: str, first: date, last: date) -> pl.DataFrame:
    """Ask the library, naming both ends: its defaults are twenty years back and a year ahead of the machine's clock."""
    import exchange_calendars

    calendar: ExchangeCalendar = exchange_calendars.get_calendar(exchange, start=str(first), end=str(last))
    return pl.DataFrame(
        {
            "date": pl.Series(calendar.sessions.to_numpy()).cast(pl.Date),
            "close_at": pl.Series(calendar.closes.to_numpy("datetime64[us]")).dt.replace_time_zone("UTC"),
        },
        schema=SCHEDULE_SCHEMA,
    )
