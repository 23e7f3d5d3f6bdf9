"""Index relation: how a stock moves with the market's index."""

from pathlib import Path

import polars as pl

from mlops_assets.features.indicators import index_relation
from mlops_assets.features.spec import Feature, FeatureView

PRICE, INDEX = pl.col("adjusted_close"), pl.col("index_adjusted_close")


def _beta(bars: int) -> Feature:
    return Feature(
        name=f"beta_{bars}",
        expr=index_relation(PRICE, INDEX, bars).struct.field("beta"),
        unit="ratio",
        formula=f"cov(r, m) / var(m) over {bars} daily simple returns (Sharpe 1964, no riskless rate)",
        description=f"Beta to the index over {bars} sessions; null where the index did not move.",
    )


def _correlation(bars: int) -> Feature:
    return Feature(
        name=f"correlation_{bars}",
        expr=index_relation(PRICE, INDEX, bars).struct.field("correlation"),
        unit="ratio",
        minimum=-1.0,
        maximum=1.0,
        formula=f"cov(r, m) / (S(r) S(m)) over {bars} daily simple returns (Pearson 1895)",
        description=f"Correlation with the index over {bars} sessions; null where either did not move.",
    )


VIEW = FeatureView(
    name="index_relation",
    version="1.0.2",
    owner="team:quant",
    description="Index relation: rolling beta and correlation to the market's index. Both returns run from the "
    "stock's bar before to its bar of the day; a day that the index lacks makes the windows over it null.",
    warm_up_bars=253,
    columns=(_beta(60), _beta(252), _correlation(60), _correlation(252)),
    tags=("market", "risk"),
    declared_in=Path(__file__),
)
