"""Factor exposures: how strongly a stock carries the market's known sources of return."""

from pathlib import Path

import polars as pl

from mlops_assets.features.cross_section import standing
from mlops_assets.features.spec import Feature, FeatureView, Partition


def _exposure(name: str, values: pl.Expr, formula: str, description: str) -> Feature:
    return Feature(
        name=f"{name}_exposure",
        expr=standing(values).struct.field("z_score"),
        unit="standard deviations",
        formula=formula,
        description=f"{description} Null where fewer than two stocks of the day differ.",
    )


VIEW = FeatureView(
    name="factor_exposures",
    version="1.0.0",
    owner="team:quant",
    description="Factor exposures: market, momentum and low volatility as standard scores among the day's stocks. "
    "Size, value and quality need shares outstanding and balance sheets, which no source here has: they are left out.",
    warm_up_bars=253,
    partition=Partition.DATE,
    columns=(
        _exposure(
            "market",
            pl.col("index_relation.beta_252"),
            "standard score of beta_252 (Sharpe 1964; scored as in Grinold and Kahn 2000)",
            "Exposure to the market.",
        ),
        _exposure(
            "momentum",
            pl.col("momentum.momentum_12_1"),
            "standard score of momentum_12_1 (Carhart 1997)",
            "Exposure to momentum.",
        ),
        _exposure(
            "low_volatility",
            -pl.col("volatility.volatility_252d"),
            "standard score of -volatility_252d (Blitz and van Vliet 2007)",
            "Exposure to low volatility: high for quiet stocks.",
        ),
    ),
    tags=("factors", "cross-section"),
    declared_in=Path(__file__),
)
