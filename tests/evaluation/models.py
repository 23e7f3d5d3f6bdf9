"""A small LightGBM model on seeded features, and the training set it was fitted to."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache

import lightgbm
import numpy as np
import polars as pl
import pyarrow as pa

FEATURES = ("alpha_1d", "beta_5d", "gamma_20d")


@cache
def training_set(days: int = 400) -> pa.Table:
    """Return rows of two symbols: a feature that matters, one that matters less, one that is noise."""
    generator = np.random.default_rng(3)
    frames = []
    for symbol in ("AAA", "BBB"):
        values = generator.normal(size=(days, 3))
        score = 2 * values[:, 0] + 0.5 * values[:, 1] + generator.normal(size=days)
        dates = [date(2019, 1, 1) + timedelta(days=day) for day in range(days)]
        frames.append(
            pl.DataFrame(dict(zip(FEATURES, values.T, strict=True))).with_columns(
                symbol=pl.lit(symbol),
                date=pl.Series(dates),
                event_at=pl.Series([datetime.combine(day, datetime.min.time(), tzinfo=UTC) for day in dates]),
                label=pl.Series((score > 0).astype(np.int8)),
                fold=pl.Series(["train"] * (days // 2) + ["test"] * (days - days // 2)),
            )
        )
    holed = pl.concat(frames).with_columns(
        alpha_1d=pl.when(pl.col("date") == dates[-1]).then(None).otherwise(pl.col("alpha_1d"))
    )
    return holed.to_arrow(compat_level=pl.CompatLevel.oldest())


@cache
def model_text() -> str:
    rows = pl.DataFrame(pl.from_arrow(training_set())).filter(pl.col("fold") == "train")
    data = lightgbm.Dataset(rows.select(FEATURES).to_numpy(), rows["label"].to_numpy(), feature_name=list(FEATURES))
    parameters = {"objective": "binary", "num_leaves": 7, "seed": 1, "verbosity": -1, "num_threads": 1}
    return lightgbm.train(parameters, data, 30).model_to_string()
