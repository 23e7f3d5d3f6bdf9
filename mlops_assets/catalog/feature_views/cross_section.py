"""Cross-section: where a stock stands among all stocks of its day."""

from pathlib import Path

import polars as pl

from mlops_assets.features.cross_section import standing
from mlops_assets.features.spec import Feature, FeatureReference, FeatureView, Partition


def _columns(source: str, words: str) -> tuple[Feature, Feature]:
    values, name = pl.col(source), FeatureReference.parse(source).column
    return (
        Feature(
            name=f"{name}_rank",
            expr=standing(values).struct.field("rank"),
            unit="fraction",
            minimum=0.0,
            maximum=1.0,
            formula=f"(rank - 1) / (n - 1) of {source} among the n stocks that have it; ties share their mean rank",
            description=f"Rank by {words}: 0 the lowest, 1 the highest; null where fewer than two values differ.",
        ),
        Feature(
            name=f"{name}_z",
            expr=standing(values).struct.field("z_score"),
            unit="standard deviations",
            formula=f"(x - mean) / S of {source} over the day's stocks, S the sample standard deviation",
            description=f"Standard score of {words}; null where fewer than two values differ.",
        ),
    )


VIEW = FeatureView(
    name="cross_section",
    version="1.0.0",
    owner="team:quant",
    description="Cross-section: ranks and standard scores per day of momentum, return and volatility. Only stocks "
    "with a bar on the day count, so the day's universe is the one of the time.",
    warm_up_bars=253,
    partition=Partition.DATE,
    columns=(
        *_columns("momentum.momentum_12_1", "the last year's return without its last month"),
        *_columns("momentum.return_20d", "the return over twenty sessions"),
        *_columns("volatility.volatility_20d", "the volatility over twenty sessions"),
    ),
    tags=("cross-section",),
    declared_in=Path(__file__),
)
