"""What a model says of every row of a training set, the live ones with no label yet included, as a table."""

# pyarrow carries no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mlops_assets.kernel.columns import Column
from mlops_assets.lifecycle.kinds.known import kind_of
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.lifecycle.training.folds import complete_rows

if TYPE_CHECKING:
    import pyarrow as pa

_KEYS = (
    Column(name="symbol", type="string", description="Ticker symbol."),
    Column(name="date", type="date", description="Trading day of the features."),
    Column(name="event_at", type="timestamp", description="Close of that day on the exchange."),
    Column(name="known_at", type="timestamp", description="When the features were known: the earliest use."),
)
_ORIGIN = (
    Column(name="fold", type="string", description="train, valid, test; purged or live as in the training set."),
    Column(name="model_version", type="integer", description="Version in the model registry that predicted."),
)


def columns_of(spec: ModelSpec) -> tuple[Column, ...]:
    """Describe the columns of a model's predictions."""
    return (*_KEYS, *kind_of(spec.kind).columns, *_ORIGIN)


def predict(table: pa.Table, content: bytes, spec: ModelSpec, *, model_version: int) -> pa.Table:
    """Score every row of a training set that has all features, sorted by symbol and date."""
    import pyarrow as pa

    rows = complete_rows(table, spec.features)
    said = (
        pl.concat(
            [
                rows.select("symbol", "date", "event_at", "known_at", "fold"),
                kind_of(spec.kind).predict(rows, content, spec),
            ],
            how="horizontal",
        )
        .with_columns(pl.lit(model_version, dtype=pl.Int64).alias("model_version"))
        .select([column.name for column in columns_of(spec)])
        .sort("symbol", "date")
        .to_arrow(compat_level=pl.CompatLevel.oldest())
    )
    plain = [field.with_type(pa.string()) if pa.types.is_large_string(field.type) else field for field in said.schema]
    return said.cast(pa.schema(plain))
