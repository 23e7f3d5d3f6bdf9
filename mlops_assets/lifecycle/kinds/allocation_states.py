"""What a policy knows when it decides: the bucket of each feature, and the weight that is held."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureBorders:
    """Where the buckets of a feature end, lowest first; a border belongs to the bucket below it."""

    feature: str
    borders: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class States:
    """Every state by its number: the buckets in the order of the features, the weight held changing fastest."""

    features: tuple[FeatureBorders, ...]
    weights: tuple[float, ...]

    @property
    def count(self) -> int:
        return math.prod(len(one.borders) + 1 for one in self.features) * len(self.weights)

    def of_rows(self, rows: pl.DataFrame) -> np.ndarray:
        """Return the state of each row if the first weight is held; the others follow it in order."""
        state = np.zeros(rows.height, dtype=np.int64)
        for one in self.features:
            bucket = np.searchsorted(one.borders, rows.get_column(one.feature).to_numpy(), side="left")
            state = state * (len(one.borders) + 1) + bucket
        return state * len(self.weights)

    def nearest(self, weight: float) -> int:
        """Return the number of the weight next to `weight`, the lower of two."""
        return min(range(len(self.weights)), key=lambda number: abs(self.weights[number] - weight))

    def words(self, state: int) -> str:
        """Say what a state is: `return_20d 1/3, volatility_20d 3/3, held 0.5`."""
        rest, held = divmod(state, len(self.weights))
        parts: list[str] = []
        for one in reversed(self.features):
            buckets = len(one.borders) + 1
            rest, bucket = divmod(rest, buckets)
            parts.insert(0, f"{one.feature} {bucket + 1}/{buckets}")
        return ", ".join([*parts, f"held {self.weights[held]:g}"])


def borders_of(rows: pl.DataFrame, features: Sequence[str], buckets: int) -> tuple[FeatureBorders, ...]:
    """Draw borders so that each bucket has the same share of `rows`. Every border is a value that occurs."""
    shares = [number / buckets for number in range(1, buckets)]
    return tuple(
        FeatureBorders(
            feature=name,
            borders=tuple(
                float(border)
                for border in np.quantile(
                    rows.get_column(name).cast(pl.Float64).to_numpy(), shares, method="inverted_cdf"
                )
            ),
        )
        for name in features
    )
