"""Which rows a fit may see: the folds of a training set, complete rows only, and the proof that folds lie apart."""

# pyarrow carries no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mlops_assets.features.spec import Fold
from mlops_assets.kernel.errors import PlatformError

if TYPE_CHECKING:
    import pyarrow as pa

FOLDS = (Fold.TRAIN, Fold.VALID, Fold.TEST)


class EmptyFold(PlatformError):
    """A fold of the training set has no complete rows."""

    code = "empty_fold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """What lies between two folds. `sessions` counts trading days strictly between the last label and the next row."""

    earlier: str
    later: str
    last_label_known: str
    first_row: str
    sessions: int
    is_disjoint: bool


def fold_rows(table: pa.Table, features: Sequence[str], fold: Fold) -> pl.DataFrame:
    """Return a fold's rows that have every feature and a label, by date and symbol.

    Raises:
        EmptyFold: if there are none.
    """
    rows = complete_rows(table, features).filter(pl.col("fold") == fold, pl.col("label").is_not_null())
    if rows.is_empty():
        raise EmptyFold(
            f"the {fold} fold has no row with a label and all of {', '.join(features)}; "
            "change folds, or materialise the training set over a longer history."
        )
    return rows


def complete_rows(table: pa.Table, features: Sequence[str]) -> pl.DataFrame:
    """Return the rows in which every feature is a finite number: the model never sees a guessed one."""
    frame = pl.DataFrame(pl.from_arrow(table)).sort("date", "symbol")
    return frame.filter(pl.all_horizontal(pl.col(name).is_finite().fill_null(value=False) for name in features))


def matrix(rows: pl.DataFrame, features: Sequence[str]) -> np.ndarray:
    """Return the features as float64, one row a row, columns in the declared order."""
    return np.ascontiguousarray(rows.select(features).to_numpy(), dtype=np.float64)


def fold_gaps(table: pa.Table) -> list[Gap]:
    """Measure how far the folds lie apart, by when labels became known and not by their dates.

    Purged means: every label of the earlier fold was known before the first row of the later one.
    """
    frame = pl.DataFrame(pl.from_arrow(table))
    sessions = frame.get_column("date").unique().sort()
    parts = {fold.value: frame.filter(pl.col("fold") == fold) for fold in FOLDS}
    return [gap_between(parts, earlier, later, sessions) for earlier, later in pairwise(parts)]


def gap_between(parts: dict[str, pl.DataFrame], earlier: str, later: str, sessions: pl.Series) -> Gap:
    """Measure what lies between two sets of rows with `date`, `event_at` and `label_known_at`.

    Raises:
        EmptyFold: if one of them has no rows, or the earlier one no labels.
    """
    learned = parts[earlier].get_column("label_known_at").drop_nulls().sort()
    rows = parts[later].sort("event_at")
    if learned.is_empty() or rows.is_empty():
        raise EmptyFold(f"the {earlier} or the {later} fold is empty; change folds.")
    last_label, first = learned[-1], rows.row(0, named=True)
    known_on = last_label.date()
    between = sessions.filter((sessions > known_on) & (sessions < first["date"]))
    return Gap(
        earlier=earlier,
        later=later,
        last_label_known=str(known_on),
        first_row=str(first["date"]),
        sessions=len(between),
        is_disjoint=last_label < first["event_at"],
    )
