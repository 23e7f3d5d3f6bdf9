"""Volume: how much of a stock is traded, in shares of the day."""

from pathlib import Path

import polars as pl

from mlops_assets.features.indicators import average_volume, on_balance_volume
from mlops_assets.features.spec import Feature, FeatureView

PRICE, SHARES, SPLITS = pl.col("adjusted_close"), pl.col("volume"), pl.col("split_factor")
AVERAGE = average_volume(SHARES, SPLITS, 20)

VIEW = FeatureView(
    name="volume",
    version="1.0.1",
    owner="team:quant",
    description="Volume: average, ratio and balance. C[t] is the product of the split coefficients up to t, so v / C "
    "compares across splits, and no later split changes a value. A source without volumes leaves every column null.",
    warm_up_bars=21,
    columns=(
        Feature(
            name="volume_sma_20",
            expr=AVERAGE.struct.field("average"),
            unit="shares",
            minimum=0.0,
            formula="C[t] mean(v[s] / C[s]) over the last 20 sessions",
            description="Average volume over 20 sessions, in shares as of the day.",
        ),
        Feature(
            name="volume_ratio",
            expr=AVERAGE.struct.field("ratio"),
            unit="ratio",
            minimum=0.0,
            maximum=20.0,
            formula="v[t] / volume_sma_20[t]; null where no share was traded in the 20 sessions",
            description="Today's volume over its average, today included, so 20 at most.",
        ),
        Feature(
            name="obv",
            expr=on_balance_volume(PRICE, SHARES, SPLITS),
            unit="shares",
            formula="C[t] sum(sign(P[s] - P[s-1]) v[s] / C[s]), the first day's sign is + (Granville 1963)",
            description="On-balance volume, in shares as of the day. Its level depends on where the history begins; "
            "its changes do not. A bar without a volume is null and counts as none traded.",
        ),
    ),
    tags=("volume", "technical"),
    declared_in=Path(__file__),
)
