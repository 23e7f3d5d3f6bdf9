"""Momentum: how far and how fast a stock has moved."""

from pathlib import Path

import polars as pl

from mlops_assets.features.indicators import macd, momentum_12_1, rsi, simple_return
from mlops_assets.features.spec import Feature, FeatureView

PRICE = pl.col("adjusted_close")
MACD = macd(PRICE)


def _return(name: str, bars: int, words: str) -> Feature:
    return Feature(
        name=name,
        expr=simple_return(PRICE, bars),
        unit="fraction",
        minimum=-1.0,
        formula=f"P[t] / P[t-{bars}] - 1",
        description=f"Return over {words}.",
    )


VIEW = FeatureView(
    name="momentum",
    version="1.0.0",
    owner="team:quant",
    description="Momentum: returns over one day to a year, Wilder's relative strength and MACD, on adjusted prices.",
    warm_up_bars=253,
    columns=(
        _return("return_1d", 1, "one session"),
        _return("return_5d", 5, "five sessions"),
        _return("return_20d", 20, "twenty sessions"),
        Feature(
            name="momentum_12_1",
            expr=momentum_12_1(PRICE),
            unit="fraction",
            minimum=-1.0,
            formula="P[t-21] / P[t-252] - 1 (Jegadeesh and Titman 1993)",
            description="Return of the last year without its last month.",
        ),
        Feature(
            name="rsi_14",
            expr=rsi(PRICE, 14),
            unit="points",
            minimum=0.0,
            maximum=100.0,
            formula="100 G / (G + L), Wilder's averages over 14 sessions (Wilder 1978)",
            description="Relative strength index: share of gains in recent moves.",
        ),
        Feature(
            name="macd",
            expr=MACD.struct.field("line"),
            unit="USD",
            formula="EMA 12 - EMA 26 (Appel 2005)",
            description="Distance between the fast and the slow average.",
        ),
        Feature(
            name="macd_signal",
            expr=MACD.struct.field("signal"),
            unit="USD",
            formula="EMA 9 of macd",
            description="Smoothed distance.",
        ),
        Feature(
            name="macd_hist",
            expr=MACD.struct.field("histogram"),
            unit="USD",
            formula="macd - macd_signal",
            description="Distance of macd from its smoothed line.",
        ),
    ),
    tags=("momentum", "technical"),
    declared_in=Path(__file__),
)
