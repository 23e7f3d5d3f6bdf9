"""Trend: where a stock's price stands on average."""

from pathlib import Path

import polars as pl

from mlops_assets.features.indicators import ema, sma
from mlops_assets.features.spec import Feature, FeatureView

PRICE = pl.col("adjusted_close")


def _sma(bars: int) -> Feature:
    return Feature(
        name=f"sma_{bars}",
        expr=sma(PRICE, bars),
        unit="USD",
        minimum=0.0,
        formula=f"mean of P[t-{bars - 1}] to P[t]",
        description=f"Simple moving average over {bars} sessions.",
    )


def _ema(bars: int) -> Feature:
    return Feature(
        name=f"ema_{bars}",
        expr=ema(PRICE, bars),
        unit="USD",
        minimum=0.0,
        formula=f"E[t] = E[t-1] + 2/{bars + 1} (P[t] - E[t-1]), started at the first price (Appel 2005)",
        description=f"Exponential moving average over {bars} sessions; null for the first {bars - 1}.",
    )


VIEW = FeatureView(
    name="trend",
    version="1.0.0",
    owner="team:quant",
    description="Trend: simple and exponential moving averages of the adjusted price.",
    warm_up_bars=50,
    columns=(_sma(5), _sma(10), _sma(20), _sma(50), _ema(12), _ema(26)),
    tags=("trend", "technical"),
    declared_in=Path(__file__),
)
