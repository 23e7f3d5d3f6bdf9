"""Are published features what their declaration promises: range rules, and folds that do not touch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from mlops_assets.features.spec import Fold
from mlops_assets.kernel.columns import Column


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfRange:
    """How many values of a column lie outside its declared bounds."""

    column: str
    rows: int
    lowest: float
    highest: float


def out_of_range(values: pl.DataFrame, columns: Sequence[Column]) -> list[OutOfRange]:
    """Return the columns with values outside their bounds (inclusive)."""
    found = list[OutOfRange]()
    for column in columns:
        known = values[column.name].drop_nulls()
        low = -float("inf") if column.minimum is None else column.minimum
        high = float("inf") if column.maximum is None else column.maximum
        outside = known.filter(~known.is_between(low, high))
        if len(outside):
            bounds = pl.select(low=outside.min(), high=outside.max()).row(0)
            found.append(OutOfRange(column=column.name, rows=len(outside), lowest=bounds[0], highest=bounds[1]))
    return found


def fold_overlaps(rows: pl.DataFrame) -> list[str]:
    """Return a sentence for each pair of neighbouring folds where a label was learned after the next fold began."""
    sentences = list[str]()
    for earlier, later in ((Fold.TRAIN, Fold.VALID), (Fold.VALID, Fold.TEST), (Fold.TRAIN, Fold.TEST)):
        last_known = rows.filter(pl.col("fold") == earlier)["label_known_at"].max()
        first_row = rows.filter(pl.col("fold") == later)["known_at"].min()
        if last_known is not None and first_row is not None and last_known >= first_row:  # pyright: ignore[reportOperatorIssue]
            sentences.append(f"a label of {earlier} was learned at {last_known}, after {later} begins at {first_row}")
    return sentences
