"""Which rows a model may learn from: features as known, the label, and folds in time with purge and embargo."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import polars as pl

from mlops_assets.features.point_in_time import point_in_time_join
from mlops_assets.features.spec import FeatureView, Fold, Folds, Label, TrainingSet
from mlops_assets.features.view import KEYS


def build_training_set(
    spec: TrainingSet, bars: pl.DataFrame, values: Mapping[str, tuple[FeatureView, pl.DataFrame]]
) -> pl.DataFrame:
    """Build the rows of a training set, one for each bar of each stock, sorted by symbol and date.

    Args:
        bars: rows of `market/bars`.
        values: by view name, the view and its published rows.
    """
    stocks = bars.filter(~pl.col("is_index")).sort("symbol", "date")
    rows = stocks.select(*KEYS, pl.col("known_at").alias("at"))
    for name in spec.views:
        view, features = values[name]
        columns = [feature.column for feature in spec.features if feature.view == name]
        rows = point_in_time_join(rows, features, columns=columns, ttl=view.ttl)
    labelled = pl.concat([rows.drop("at"), _labels(stocks, spec.label)], how="horizontal")
    sessions = stocks["date"].unique().sort().to_list()
    return labelled.with_columns(_fold(spec.folds, sessions)).select(
        *KEYS, *spec.feature_names, "forward_return", "label", "label_known_at", "fold"
    )


def _labels(stocks: pl.DataFrame, label: Label) -> pl.DataFrame:
    """Return the forward return of each row, its label and the bar that reveals it; null while that bar is ahead."""
    horizon = -label.horizon_sessions
    forward = pl.col("adjusted_close").shift(horizon).over("symbol") / pl.col("adjusted_close") - 1
    return stocks.select(
        forward.alias("forward_return"),
        (forward > label.threshold).cast(pl.Int8).alias("label"),
        pl.col("known_at").shift(horizon).over("symbol").alias("label_known_at"),
        pl.col("date").shift(horizon).over("symbol").alias("label_date"),
    )


def _fold(folds: Folds, sessions: list[date]) -> pl.Expr:
    """Assign each row to a fold; a row whose label reaches over a border, or within an embargo, is purged."""
    train_end, valid_end = pl.lit(folds.train_until), pl.lit(folds.valid_until)
    day, label_day = pl.col("date"), pl.col("label_date")
    after_train = day > pl.lit(_embargo_end(folds.train_until, sessions, folds.embargo_sessions))
    after_valid = day > pl.lit(_embargo_end(folds.valid_until, sessions, folds.embargo_sessions))
    return (
        pl.when(label_day.is_null() & after_valid)
        .then(pl.lit(Fold.LIVE.value))
        .when(label_day <= train_end)
        .then(pl.lit(Fold.TRAIN.value))
        .when(after_train & (label_day <= valid_end))
        .then(pl.lit(Fold.VALID.value))
        .when(after_valid)
        .then(pl.lit(Fold.TEST.value))
        .otherwise(pl.lit(Fold.PURGED.value))
        .alias("fold")
    )


def _embargo_end(border: date, sessions: list[date], embargo_sessions: int) -> date:
    """Return the last session of the embargo that follows `border`."""
    following = [session for session in sessions if session > border][:embargo_sessions]
    return following[-1] if following else border
