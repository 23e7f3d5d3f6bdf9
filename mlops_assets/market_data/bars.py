"""What a bar is: the columns of `market/bars`, and how validated rows become that table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from mlops_assets.kernel.columns import Column
from mlops_assets.market_data.sources import VALUE_COLUMNS
from mlops_assets.storage.parquet.years import year_chunks

if TYPE_CHECKING:
    import pyarrow as pa

BARS = "market/bars"
QUARANTINE = "market/quarantine"

BAR_COLUMNS: tuple[Column, ...] = (
    Column(name="symbol", type="string", description="Ticker of the instrument."),
    Column(name="date", type="date", description="Trading day of the exchange."),
    Column(
        name="event_at",
        type="timestamp",
        description="When the bar was complete: the close of the session, early closes included.",
        unit="UTC",
    ),
    Column(
        name="known_at",
        type="timestamp",
        description="When the bar could first be known.",
        unit="UTC",
        formula="event_at + the publication lag that the source declares",
    ),
    Column(name="open", type="float", description="Opening price.", unit="USD", is_nullable=True, minimum=0),
    Column(name="high", type="float", description="Highest price.", unit="USD", is_nullable=True, minimum=0),
    Column(name="low", type="float", description="Lowest price.", unit="USD", is_nullable=True, minimum=0),
    Column(name="close", type="float", description="Closing price.", unit="USD", is_nullable=True, minimum=0),
    Column(
        name="adjusted_close",
        type="float",
        description="Closing price adjusted for splits and dividends by the source; points for an index.",
        unit="USD",
        minimum=0,
    ),
    Column(name="volume", type="integer", description="Shares traded.", unit="shares", is_nullable=True, minimum=0),
    Column(
        name="dividend_amount",
        type="float",
        description="Cash dividend per share with this ex-date.",
        unit="USD",
        is_nullable=True,
        minimum=0,
    ),
    Column(
        name="split_coefficient",
        type="float",
        description="Shares after per share before on this day; 1 for no split.",
        unit="ratio",
        is_nullable=True,
        minimum=0,
    ),
    Column(name="is_index", type="boolean", description="Whether this is an index, which nobody can trade."),
)


def build_bars(
    accepted: pl.DataFrame, *, schedule: pl.DataFrame, publication_lag: timedelta, index_symbols: Collection[str]
) -> pl.DataFrame:
    """Give validated rows their two clocks and sort them by symbol and date; every row's date is in `schedule`."""
    return (
        accepted.join(schedule, on="date", how="left", validate="m:1")
        .with_columns(
            event_at=pl.col("close_at"),
            known_at=pl.col("close_at") + publication_lag,
            is_index=pl.col("symbol").is_in(list(index_symbols)),
        )
        .select("symbol", "date", "event_at", "known_at", *VALUE_COLUMNS, "is_index")
        .sort("symbol", "date")
    )


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """Return the Arrow schema that declared columns are stored with."""
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us", tz="UTC"),
        "float": pa.float64(),
        "integer": pa.int64(),
        "boolean": pa.bool_(),
    }
    return pa.schema([pa.field(column.name, types[column.type], nullable=column.is_nullable) for column in columns])


def to_table(frame: pl.DataFrame, columns: Sequence[Column]) -> pa.Table:
    """Return a frame as the Arrow table its declared columns promise."""
    return frame.select(column.name for column in columns).to_arrow().cast(arrow_schema(columns))


def to_tables(frame: pl.DataFrame, columns: Sequence[Column]) -> list[pa.Table]:
    """Return a frame in tables of whole years, each in the frame's order: versions share those that did not change."""
    return [to_table(chunk, columns) for chunk in year_chunks(frame)]
