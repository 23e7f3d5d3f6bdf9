"""What a vendor wrote, as numbers and trading days: text and loose types become raw rows, problems noted per row.

Nothing is guessed and nothing is dropped here: a cell that can't be read is null and its row names the problem.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

import polars as pl

from mlops_assets.market_data.quarantine import Reason
from mlops_assets.market_data.sources import RAW_SCHEMA, VALUE_COLUMNS, MalformedSource


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeHours:
    """The exchange's zone and its regular hours, to tell which trading day an instant belongs to."""

    zone: str = "America/New_York"
    opens: time = time(9, 30)
    closes: time = time(16, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadDay:
    """A trading day, or why there is none."""

    day: date | None = None
    problem: Reason | None = None
    detail: str | None = None


def read_day(value: object, hours: ExchangeHours) -> ReadDay:
    """Tell the trading day of a plain date, or of a timestamp that names its zone.

    A timestamp without a zone is refused. One with a zone counts when it is midnight of the exchange or lies in its
    hours. Any other hour is ambiguous: midnight UTC is the evening before in New York, and reading it so would show a
    price one day before it existed.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return ReadDay()
    if isinstance(value, str):
        text = value.strip()
        try:
            value = date.fromisoformat(text) if len(text) <= len("2020-01-02") else datetime.fromisoformat(text)
        except ValueError:
            return ReadDay(problem=Reason.UNREADABLE_VALUE, detail=f"date: {text!r} is not an ISO date")
    if isinstance(value, datetime):
        if value.tzinfo is None:
            return ReadDay(problem=Reason.NAIVE_TIMESTAMP, detail=f"date: {value.isoformat()} does not name its zone")
        local = value.astimezone(ZoneInfo(hours.zone))
        if local.time() != time(0) and not hours.opens <= local.time() <= hours.closes:
            detail = f"date: {value.isoformat()} is {local.isoformat()} at the exchange, outside its hours"
            return ReadDay(problem=Reason.AMBIGUOUS_TIMESTAMP, detail=detail)
        return ReadDay(day=local.date())
    if isinstance(value, date):
        return ReadDay(day=value)
    return ReadDay(problem=Reason.UNREADABLE_VALUE, detail=f"date: {value!r} is not a date")


def read_rows(
    fields: Mapping[str, pl.Series], *, origin: str, origin_rows: Sequence[int], hours: ExchangeHours
) -> pl.DataFrame:
    """Turn the columns of one file or answer into raw rows.

    `fields` has `symbol`, `date` and any of the value columns, as text or as the types of a Parquet file;
    `origin_rows` numbers them in their origin.

    Raises:
        MalformedSource: a column has a type that can't hold what it should.
    """
    frame = pl.DataFrame(dict(fields))
    values = [_Reading.of(name, fields[name].dtype, origin) for name in VALUE_COLUMNS if name in fields]
    days = _days(fields["date"], hours)
    problems = [pl.when(reading.is_unreadable).then(reading.complaint) for reading in values]
    complaint = pl.coalesce(problems) if problems else pl.lit(None, pl.String)
    return (
        frame.with_columns(unreadable=complaint)
        .with_columns(
            pl.col("symbol").cast(pl.String).str.strip_chars().replace("", None),
            *(reading.value.alias(reading.name) for reading in values),
            *(pl.lit(None).alias(name) for name in VALUE_COLUMNS if name not in fields),
            days["day"].alias("date"),
            days["problem"],
            days["detail"].alias("problem_detail"),
            pl.Series("origin_row", origin_rows, dtype=pl.Int64),
            origin=pl.lit(origin),
        )
        .with_columns(
            problem=pl.coalesce(
                "problem", pl.when(pl.col("unreadable").is_not_null()).then(pl.lit(Reason.UNREADABLE_VALUE.value))
            ),
            problem_detail=pl.coalesce("problem_detail", "unreadable"),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in RAW_SCHEMA.items())
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """How one value column becomes a number, and which of its cells do not."""

    name: str
    value: pl.Expr
    is_unreadable: pl.Expr
    complaint: pl.Expr

    @classmethod
    def of(cls, name: str, dtype: pl.DataType, origin: str) -> _Reading:
        column = pl.col(name)
        if dtype == pl.Null:
            return cls(name=name, value=column, is_unreadable=pl.lit(False), complaint=pl.lit(None, pl.String))
        if not (dtype == pl.String or dtype.is_numeric()):
            raise MalformedSource(
                file=origin,
                field=name,
                problem=f"holds {dtype}, where a number belongs",
                remedy="Store the column as a number.",
            )
        given = column.str.strip_chars().replace("", None) if dtype == pl.String else column
        number = given.cast(pl.Float64, strict=False)
        if name == "volume":
            # Whole floats (`12.0`) are what pandas writes for an integer column that once had a gap.
            is_whole = number.is_finite() & (number == number.floor()) & (number.abs() < 2.0**63)
            value = pl.coalesce(
                given.cast(pl.Int64, strict=False)
                if dtype == pl.String or dtype.is_integer()
                else pl.lit(None, pl.Int64),
                pl.when(is_whole).then(number).cast(pl.Int64, strict=False),
            )
            kind = "a whole number"
        else:
            value, kind = number, "a number"
        return cls(
            name=name,
            value=value,
            is_unreadable=given.is_not_null() & value.is_null(),
            complaint=pl.format(f"{name}: '{{}}' is not {kind}", given.cast(pl.String)),
        )


def _days(raw: pl.Series, hours: ExchangeHours) -> pl.DataFrame:
    """Read each distinct value once: a long file repeats every day for every symbol."""
    frame = pl.DataFrame({"raw": raw})
    if raw.dtype == pl.Date:
        nothing = pl.lit(None, pl.String)
        return frame.with_columns(problem=nothing, detail=nothing).rename({"raw": "day"})
    distinct = raw.unique()
    read = [read_day(value, hours) for value in distinct]
    table = pl.DataFrame(
        {
            "raw": distinct,
            "day": pl.Series([one.day for one in read], dtype=pl.Date),
            "problem": pl.Series([one.problem for one in read], dtype=pl.String),
            "detail": pl.Series([one.detail for one in read], dtype=pl.String),
        }
    )
    return frame.join(table, on="raw", how="left", nulls_equal=True, maintain_order="left").drop("raw")
