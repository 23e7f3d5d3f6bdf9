"""What a table's columns look like in numbers: counts, moments, quantiles and frequent values, fit for JSON.

The figures describe and are never part of an identity: sums may differ in their last bits between processors, so
numbers are rounded to ten significant digits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import polars as pl

from mlops_assets.kernel.columns import Column

Figures = dict[str, float | int | str | dict[str, int] | None]

QUANTILES: Mapping[str, float] = {
    "p01": 0.01,
    "p05": 0.05,
    "p25": 0.25,
    "p50": 0.5,
    "p75": 0.75,
    "p95": 0.95,
    "p99": 0.99,
}
_TOP_VALUES = 10
_DIGITS = 10


def statistics(frame: pl.DataFrame, columns: Sequence[Column]) -> dict[str, Figures]:
    """Describe each of `columns`: numbers by moments and quantiles, words and truth values by their frequent values.

    Every column has `count` (values that are there) and `nulls`. A figure of a column without values is None.
    """
    return {column.name: _figures(frame[column.name]) for column in columns}


def correlations(frame: pl.DataFrame, names: Sequence[str]) -> list[dict[str, str | float | None]]:
    """Return Pearson's correlation of each pair of columns, over the rows in which none of them has a gap.

    None where one of the two does not move.
    """
    if len(names) < 2:
        return []
    values = frame.select(pl.col(name).cast(pl.Float64) for name in names).to_numpy()
    complete = values[np.isfinite(values).all(axis=1)]
    with np.errstate(divide="ignore", invalid="ignore"):
        matrix = np.corrcoef(complete, rowvar=False) if len(complete) > 1 else np.full((len(names),) * 2, np.nan)
    return [
        {"feature1": names[one], "feature2": names[other], "correlation": _rounded(float(matrix[one, other]))}
        for one, other in combinations(range(len(names)), 2)
    ]


def _figures(values: pl.Series) -> Figures:
    known = values.drop_nulls()
    counted: Figures = {"count": len(known), "nulls": values.null_count()}
    if values.dtype.is_numeric():
        return {**counted, **_moments(known.cast(pl.Float64))}
    if values.dtype.is_temporal():
        low, high = pl.select(low=known.min(), high=known.max()).row(0)
        return {**counted, "min": _text(low), "max": _text(high)}
    return {**counted, "distinct": known.n_unique(), "top": _top_values(known)}


def _moments(known: pl.Series) -> Figures:
    value = pl.col("value")
    numbers = known.alias("value").to_frame()
    figures = numbers.select(
        mean=value.mean(),
        std=value.std(),
        min=value.min(),
        **{name: value.quantile(share, "linear") for name, share in QUANTILES.items()},
        max=value.max(),
    )
    return {name: _rounded(found) for name, found in figures.row(0, named=True).items()}


def _top_values(known: pl.Series) -> dict[str, int]:
    """Return the most frequent values and how often each occurs; ties in the order of the values."""
    words = known.cast(pl.String).alias("value").to_frame()
    counts = words.group_by("value").len().sort(pl.col("len"), pl.col("value"), descending=[True, False])
    return dict(counts.head(_TOP_VALUES).iter_rows())


def _rounded(value: float | None) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if value is not None and math.isfinite(value) else None


def _text(value: object) -> str | None:
    return None if value is None else str(value)
