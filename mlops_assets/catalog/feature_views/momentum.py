"""Momentum: how far and how fast a stock has moved."""

from pathlib import Path

import polars as pl

from mlops_assets.features.indicators import macd, momentum_12_1, rsi, simple_return
from mlops_assets.features.spec import FeatureView
from mlops_assets.kernel.columns import Column


def compute(bars: pl.DataFrame) -> pl.DataFrame:
    """Compute the view for one symbol."""
    price = bars["adjusted_close"]
    lines = macd(price)
    return pl.DataFrame(
        {
            "return_1d": simple_return(price, 1),
            "return_5d": simple_return(price, 5),
            "return_20d": simple_return(price, 20),
            "momentum_12_1": momentum_12_1(price),
            "rsi_14": rsi(price, 14),
            "macd": lines["macd"],
            "macd_signal": lines["macd_signal"],
            "macd_hist": lines["macd_hist"],
        }
    )


def _return(name: str, formula: str, description: str) -> Column:
    return Column(
        name=name,
        type="float",
        unit="fraction",
        minimum=-1.0,
        is_nullable=True,
        formula=formula,
        description=description,
    )


def _macd(name: str, formula: str, description: str) -> Column:
    return Column(name=name, type="float", unit="USD", is_nullable=True, formula=formula, description=description)


VIEW = FeatureView(
    name="momentum",
    version="1.0.0",
    owner="team:quant",
    description="Momentum: returns over one day to a year, Wilder's relative strength and MACD, on adjusted prices.",
    inputs=("adjusted_close",),
    warm_up_bars=253,
    columns=(
        _return("return_1d", "P[t] / P[t-1] - 1", "Return over one session."),
        _return("return_5d", "P[t] / P[t-5] - 1", "Return over five sessions."),
        _return("return_20d", "P[t] / P[t-20] - 1", "Return over twenty sessions."),
        _return(
            "momentum_12_1",
            "P[t-21] / P[t-252] - 1 (Jegadeesh and Titman 1993)",
            "Return of the last year without its last month.",
        ),
        Column(
            name="rsi_14",
            type="float",
            unit="points",
            minimum=0.0,
            maximum=100.0,
            is_nullable=True,
            formula="100 G / (G + L), Wilder's averages over 14 sessions (Wilder 1978)",
            description="Relative strength index: share of gains in recent moves.",
        ),
        _macd("macd", "EMA 12 - EMA 26 (Appel 2005)", "Distance between the fast and the slow average."),
        _macd("macd_signal", "EMA 9 of macd", "Smoothed distance."),
        _macd("macd_hist", "macd - macd_signal", "Distance of macd from its smoothed line."),
    ),
    compute=compute,
    tags=("momentum", "technical"),
    declared_in=Path(__file__),
)
