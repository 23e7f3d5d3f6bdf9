"""How a replay is written as tables and read back: one row a day, one row a fill."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mlops_assets.evaluation.replay import Fill, Replay
from mlops_assets.kernel.columns import Column

if TYPE_CHECKING:
    import pyarrow as pa

EQUITY_COLUMNS = (
    Column(name="date", type="date", description="Trading day."),
    Column(name="equity", type="float", unit="USD", description="Cash plus positions at the close, after fills."),
    Column(name="cash", type="float", unit="USD", description="Cash at the close, after fills and costs."),
    Column(
        name="exposure", type="float", unit="fraction", minimum=0.0, description="Positions as a fraction of equity."
    ),
    Column(
        name="turnover",
        type="float",
        unit="fraction",
        minimum=0.0,
        description="Notional bought and sold as a fraction of the equity before the fills.",
    ),
)
FILL_COLUMNS = (
    Column(name="date", type="date", description="Day of the fill."),
    Column(name="symbol", type="string", description="Ticker."),
    Column(name="quantity", type="float", unit="shares", description="Shares bought, or sold if negative."),
    Column(name="price", type="float", unit="USD", minimum=0.0, description="Adjusted close at which it was filled."),
    Column(name="cost", type="float", unit="USD", minimum=0.0, description="Commission and slippage."),
    Column(name="weight", type="float", unit="fraction", description="Target weight the order serves."),
)
_FILL_SCHEMA = {
    "date": pl.Date,
    "symbol": pl.String,
    **dict.fromkeys(("quantity", "price", "cost", "weight"), pl.Float64),
}


def equity_table(result: Replay) -> pa.Table:
    """Write the curve, one row a day."""
    frame = pl.DataFrame({column.name: getattr(result, column.name) for column in EQUITY_COLUMNS[1:]})
    dates = pl.Series("date", result.dates.astype("datetime64[D]"), dtype=pl.Date)
    return frame.insert_column(0, dates).to_arrow(compat_level=pl.CompatLevel.oldest())


def fills_table(result: Replay) -> pa.Table:
    """Write the fills, in order of date and symbol."""
    columns = {name: [getattr(fill, name) for fill in result.fills] for name in _FILL_SCHEMA}
    return pl.DataFrame(columns, schema=_FILL_SCHEMA).to_arrow(compat_level=pl.CompatLevel.oldest())


def replay_from(equity: pa.Table, fills: pa.Table) -> Replay:
    """Read a replay back; its fingerprint is that of the replay that was written."""
    curve = pl.DataFrame(pl.from_arrow(equity))
    rows = pl.DataFrame(pl.from_arrow(fills)).select(list(_FILL_SCHEMA))
    series = {column.name: curve[column.name].to_numpy().astype(np.float64) for column in EQUITY_COLUMNS[1:]}
    return Replay(
        dates=curve["date"].to_numpy().astype("datetime64[D]"),
        fills=tuple(Fill(**row) for row in rows.iter_rows(named=True)),
        **series,
    )
