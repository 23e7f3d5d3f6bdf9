"""Volatility: how widely a stock's price moves."""

import math
from pathlib import Path

import polars as pl

from mlops_assets.features.indicators import (
    annual_volatility,
    average_true_range,
    bollinger_bands,
    drawdown,
)
from mlops_assets.features.spec import Feature, FeatureView

PRICE, HIGH, LOW = pl.col("adjusted_close"), pl.col("adjusted_high"), pl.col("adjusted_low")
BANDS = bollinger_bands(PRICE)

FURTHEST_SIGMAS = math.sqrt(19)
"""No value lies further from the mean of its twenty than this many of their standard deviations (Samuelson 1968)."""


def _band(name: str, sigmas: float) -> Feature:
    return Feature(
        name=f"bb_{name}",
        expr=BANDS.struct.field(name),
        unit="USD",
        formula=f"SMA 20 {sigmas:+.0f} S, S the population standard deviation of the 20 prices (Bollinger 2001)",
        description=f"Bollinger's {name} band.",
    )


def _volatility(bars: int) -> Feature:
    return Feature(
        name=f"volatility_{bars}d",
        expr=annual_volatility(PRICE, bars),
        unit="fraction per year",
        minimum=0.0,
        formula=f"sample standard deviation of {bars} daily simple returns times sqrt(252) (Hull 2017, chapter 15)",
        description=f"Realised volatility over {bars} sessions; 0 where the price never moved.",
    )


VIEW = FeatureView(
    name="volatility",
    version="1.0.1",
    owner="team:quant",
    description="Volatility: Bollinger bands, daily range, realised volatility, true range and drawdown, on adjusted "
    "prices. The range needs daily highs and lows; a source without them leaves hl_range and atr_14 null.",
    warm_up_bars=253,
    columns=(
        _band("upper", 2.0),
        Feature(
            name="bb_middle",
            expr=BANDS.struct.field("middle"),
            unit="USD",
            minimum=0.0,
            formula="SMA 20 (Bollinger 2001)",
            description="The middle of Bollinger's bands.",
        ),
        _band("lower", -2.0),
        Feature(
            name="bb_width",
            expr=BANDS.struct.field("width"),
            unit="fraction",
            minimum=0.0,
            formula="(bb_upper - bb_lower) / bb_middle (Bollinger 2001)",
            description="How far the bands lie apart; 0 where the price did not move for 20 sessions.",
        ),
        Feature(
            name="bb_position",
            expr=BANDS.struct.field("position"),
            unit="fraction",
            minimum=0.5 - FURTHEST_SIGMAS / 4,
            maximum=0.5 + FURTHEST_SIGMAS / 4,
            formula="(P - bb_lower) / (bb_upper - bb_lower), Bollinger's %b; null where S <= 1e-9 P",
            description="Place between the bands: 0 on the lower, 1 on the upper; null where the price did not move.",
        ),
        Feature(
            name="hl_range",
            expr=(HIGH - LOW) / PRICE,
            unit="fraction",
            minimum=0.0,
            formula="(H - L) / P, all adjusted alike (Parkinson 1980 for the range as a measure of volatility)",
            description="The day's range over its close.",
        ),
        _volatility(20),
        _volatility(252),
        Feature(
            name="atr_14",
            expr=average_true_range(HIGH, LOW, PRICE, 14),
            unit="USD",
            minimum=0.0,
            formula="Wilder's average over 14 sessions of max(H, P[t-1]) - min(L, P[t-1]), adjusted (Wilder 1978)",
            description="Average true range. A bar without a high or a low is null and leaves the average as it was.",
        ),
        Feature(
            name="drawdown_252d",
            expr=drawdown(PRICE, 252),
            unit="fraction",
            minimum=-1.0,
            maximum=0.0,
            formula="P[t] / max(P[t-251] to P[t]) - 1 (George and Hwang 2004, the 52-week high)",
            description="Distance from the highest close of a year; 0 at a new high.",
        ),
    ),
    tags=("volatility", "technical"),
    declared_in=Path(__file__),
)
