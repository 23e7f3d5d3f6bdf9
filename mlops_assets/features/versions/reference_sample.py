"""On which bars two versions of a view are compared: a small market, made once and kept, where much goes wrong.

The file is part of the repository and is never made again: `reference_bars` says how it came to be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from mlops_assets.features.bar_rows import ROW
from mlops_assets.features.spec import FeatureView
from mlops_assets.features.versions.schema_diff import Golden, Total
from mlops_assets.features.view import with_upstream
from mlops_assets.kernel.fingerprint import Json, fingerprint

_SESSIONS = 400
_KEPT_VALUES = 5_000
_FEWEST_ROWS = 120


def reference_bars(seed: int = 20240102) -> pl.DataFrame:
    """Make four hundred sessions of four stocks and an index, as rows of `market/bars`.

    REFA has a split of 4 for 1 and dividends, REFB stands still for 25 sessions and is not traded on one of
    them, REFC is suspended for 12, REFD begins at session 60 and joins ten shares into one. Prices are in whole cents.
    """
    days = [day for day in (date(2021, 1, 4) + timedelta(days=n) for n in range(2 * _SESSIONS)) if day.weekday() < 5]
    days = days[:_SESSIONS]
    generator = np.random.default_rng(seed)
    market = generator.normal(0.0003, 0.01, _SESSIONS)
    frames = [_stock("REFX", days, 3000 * np.exp(np.cumsum(market)), generator, is_index=True)]
    for number, (symbol, price) in enumerate((("REFA", 320.0), ("REFB", 48.0), ("REFC", 120.0), ("REFD", 4.0))):
        beta = 0.6 + 0.3 * number
        own = generator.normal(0, 0.012 + 0.004 * number, _SESSIONS)
        moves = beta * market + own
        if symbol == "REFB":
            moves[150:175] = 0.0
        frames.append(_stock(symbol, days, price * np.exp(np.cumsum(moves)), generator))
    bars = pl.concat(frames)
    suspended = (pl.col("symbol") == "REFC") & pl.col("date").is_between(days[200], days[211])
    unlisted = (pl.col("symbol") == "REFD") & (pl.col("date") < days[60])
    return bars.filter(~(suspended | unlisted)).sort(*ROW)


def golden(view: FeatureView, views: Mapping[str, FeatureView], bars: pl.DataFrame) -> Golden:
    """Compute a view and those it reads on the reference bars: every row, and the totals of each column."""
    values = with_upstream(view, views, bars).select(*ROW, *view.column_names)
    return Golden(rows=values, totals={name: total(values[name]) for name in view.column_names})


def total(values: pl.Series) -> Total:
    """Sum a column up. Each row has a weight of its own, so that values which change places show too."""
    nulls = values.null_count()
    if not values.dtype.is_numeric():
        listed: list[Json] = [None if value is None else str(value) for value in values.to_list()]
        return Total(nulls=nulls, weighted_sum=0.0, scale=0.0, text=fingerprint(listed))
    # fsum: an exact sum does not depend on the processor's vector width.
    weighted = [(1 + row % 97 / 97) * value for row, value in enumerate(values.to_list()) if value is not None]
    return Total(nulls=nulls, weighted_sum=math.fsum(weighted), scale=math.fsum(map(abs, weighted)), text="")


def kept_rows(values: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of a view that a release keeps: around every split, dividend and gap, and evenly in between."""
    wanted = max(_FEWEST_ROWS, _KEPT_VALUES // max(values.width - len(ROW), 1))
    if values.height <= wanted:
        return values
    near = pl.any_horizontal(pl.col("is_event").shift(shift).over("symbol") for shift in (-1, 0, 1, 2))
    events = bars.sort(*ROW).with_columns(is_event=_is_event()).select(*ROW, near.fill_null(value=False).alias("keep"))
    numbered = values.join(events, on=ROW, how="left").sort(*ROW).with_row_index("row")
    chosen = set(numbered.filter("keep")["row"].to_list())
    chosen |= {round(step * (values.height - 1) / (wanted - 1)) for step in range(wanted)}
    return numbered.filter(pl.col("row").is_in(sorted(chosen))).select(values.columns)


def _is_event() -> pl.Expr:
    gap = pl.col("date").diff().over("symbol") > timedelta(days=5)
    return (pl.col("split_coefficient") != 1) | (pl.col("dividend_amount") > 0) | gap


def _stock(
    symbol: str,
    days: list[date],
    total_return: npt.NDArray[np.float64],
    generator: np.random.Generator,
    *,
    is_index: bool = False,
) -> pl.DataFrame:
    """Return the bars of an instrument whose price with dividends and without splits is `total_return`."""
    count = len(days)
    splits, dividends = np.ones(count), np.zeros(count)
    if symbol == "REFA":
        splits[180] = 4.0
        dividends[[45, 110, 175, 240, 305, 370]] = 0.55
    if symbol == "REFD":
        splits[300] = 0.1
    close, factor = np.empty(count), np.empty(count)
    close[0], factor[-1] = round(total_return[0], 2), 1.0
    for now in range(1, count):
        raw = (close[now - 1] * total_return[now] / total_return[now - 1] - dividends[now]) / splits[now]
        close[now] = max(round(float(raw), 2), 0.01)
    for now in range(count - 1, 0, -1):
        factor[now - 1] = factor[now] * (1 - dividends[now] / close[now - 1]) / splits[now]
    is_still = np.append([False], np.diff(total_return) == 0)
    spread = np.where(is_still, 0.0, 1.0) * close
    opened = np.round(close + spread * generator.normal(0, 0.004, count), 2).clip(0.01)
    high = np.round(np.maximum(opened, close) + spread * np.abs(generator.normal(0, 0.004, count)), 2)
    low = np.round(np.minimum(opened, close) - spread * np.abs(generator.normal(0, 0.004, count)), 2).clip(0.01)
    traded = np.round(np.exp(generator.normal(9, 0.4, count))).astype(np.int64) * 100
    if symbol == "REFB":
        traded[160] = 0
    closed_at = [datetime.combine(day, time(21), tzinfo=UTC) for day in days]
    return pl.DataFrame(
        {
            "symbol": symbol,
            "date": days,
            "event_at": closed_at,
            "known_at": [at + timedelta(hours=1) for at in closed_at],
            "open": opened,
            "high": high,
            "low": low,
            "close": close,
            "adjusted_close": close * factor,
            "volume": traded,
            "dividend_amount": dividends,
            "split_coefficient": splits,
            "is_index": is_index,
        },
        schema_overrides={"event_at": pl.Datetime("us", "UTC"), "known_at": pl.Datetime("us", "UTC")},
    )
