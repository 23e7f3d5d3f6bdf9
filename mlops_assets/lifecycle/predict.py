"""What a model says of each row: a probability and the name of its bucket."""

# pyarrow, LightGBM and scikit-learn carry no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mlops_assets.kernel.columns import Column
from mlops_assets.lifecycle.spec import Buckets
from mlops_assets.lifecycle.train import complete_rows, matrix

if TYPE_CHECKING:
    import pyarrow as pa

BUCKET_NAMES = ("strong_sell", "sell", "hold", "buy", "strong_buy")

COLUMNS = (
    Column(name="symbol", type="string", description="Ticker symbol."),
    Column(name="date", type="date", description="Trading day of the features."),
    Column(name="event_at", type="timestamp", description="Close of that day on the exchange."),
    Column(name="known_at", type="timestamp", description="When the features were known: the earliest use."),
    Column(
        name="probability",
        type="float",
        unit="fraction",
        description="Probability that the forward return beats the label's threshold.",
        minimum=0.0,
        maximum=1.0,
    ),
    Column(name="bucket", type="string", description="strong_sell, sell, hold, buy or strong_buy."),
    Column(name="fold", type="string", description="train, valid, test; purged or live as in the training set."),
    Column(name="model_version", type="integer", description="Version in the model registry that predicted."),
)


def predict(table: pa.Table, *, text: str, features: Sequence[str], buckets: Buckets, model_version: int) -> pa.Table:
    """Score every row of a training set that has all features, the live ones with no label yet included."""
    import pyarrow as pa

    rows = complete_rows(table, features)
    probability = probabilities(text, rows, features)
    said = (
        rows.select("symbol", "date", "event_at", "known_at", "fold")
        .with_columns(
            pl.Series("probability", probability),
            pl.Series("bucket", bucket_of(probability, buckets)),
            pl.lit(model_version, dtype=pl.Int64).alias("model_version"),
        )
        .select([column.name for column in COLUMNS])
        .sort("symbol", "date")
        .to_arrow(compat_level=pl.CompatLevel.oldest())
    )
    plain = [field.with_type(pa.string()) if pa.types.is_large_string(field.type) else field for field in said.schema]
    return said.cast(pa.schema(plain))


def probabilities(text: str, rows: pl.DataFrame, features: Sequence[str]) -> np.ndarray:
    """Return the model's probability of the positive label, one per row."""
    import lightgbm

    booster = lightgbm.Booster(model_str=text)
    return np.asarray(booster.predict(matrix(rows, features), num_threads=1), dtype=np.float64)


def bucket_of(probability: np.ndarray, buckets: Buckets) -> list[str]:
    """Name the bucket of each probability; a threshold belongs to the bucket further from `hold`."""
    buys = np.searchsorted([buckets.buy, buckets.strong_buy], probability, side="right")
    sells = np.searchsorted([buckets.strong_sell, buckets.sell], probability, side="left") - 2
    return [BUCKET_NAMES[2 + buy + sell] for buy, sell in zip(buys, sells, strict=True)]
