"""Regime: the state of the market's index, the same for every stock of a day."""

from pathlib import Path

import polars as pl

from mlops_assets.features.indicators import ROUNDING, above, annual_volatility, sma
from mlops_assets.features.spec import Feature, FeatureView, Partition

PRICE = pl.col("adjusted_close")
TREND = PRICE / sma(PRICE, 200) - 1
VOLATILITY = annual_volatility(PRICE, 20)
VOLATILITY_RATIO = VOLATILITY / above(ROUNDING, VOLATILITY.rolling_mean(252))

TREND_BAND = 0.01
VOLATILE_FROM = 1.5


def _regime() -> pl.Expr:
    return (
        pl.when(VOLATILITY_RATIO.is_null() | TREND.is_null())
        .then(None)
        .when(VOLATILITY_RATIO >= VOLATILE_FROM)
        .then(pl.lit("volatile"))
        .when(TREND > TREND_BAND)
        .then(pl.lit("bullish"))
        .when(TREND < -TREND_BAND)
        .then(pl.lit("bearish"))
        .otherwise(pl.lit("sideways"))
    )


VIEW = FeatureView(
    name="regime",
    version="1.0.0",
    owner="team:quant",
    description="Regime: trend and volatility of the market's index and the regime they make. A rule over past prices, "
    "not a fitted model: the same day always has the same regime.",
    warm_up_bars=272,
    partition=Partition.INDEX,
    columns=(
        Feature(
            name="index_trend",
            expr=TREND,
            unit="fraction",
            minimum=-1.0,
            formula="P / SMA 200 - 1 of the index (Faber 2007)",
            description="Distance of the index from its long average.",
        ),
        Feature(
            name="index_volatility",
            expr=VOLATILITY,
            unit="fraction per year",
            minimum=0.0,
            formula="sample standard deviation of 20 daily simple returns times sqrt(252) (Hull 2017, chapter 15)",
            description="Realised volatility of the index.",
        ),
        Feature(
            name="index_volatility_ratio",
            expr=VOLATILITY_RATIO,
            unit="ratio",
            minimum=0.0,
            formula="index_volatility over its mean of the last 252 sessions",
            description="How volatile the index is for its own last year; null where it never moved.",
        ),
        Feature(
            name="regime",
            type="string",
            expr=_regime(),
            formula="volatile if index_volatility_ratio >= 1.5 (ours); else bullish if index_trend > 0.01, bearish if "
            "< -0.01, else sideways (the band of 1 % around 200 days of Brock, Lakonishok and LeBaron 1992)",
            description="bullish, bearish, volatile or sideways; null until both measures are known.",
        ),
    ),
    tags=("market", "regime"),
    declared_in=Path(__file__),
)
