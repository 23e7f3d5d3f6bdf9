"""What was known then: the latest value of a feature at each row's time, never one that was learned later.

Semantics are those of Feast's historical retrieval with a knowledge cut-off: a feature row matches an entity row at
time t iff its event time lies in [t - TTL, t] and it was known by t; the latest event wins, then the latest knowledge;
a null in the winner stays null; every entity row survives.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import polars as pl


def point_in_time_join(
    entities: pl.DataFrame, features: pl.DataFrame, *, columns: Sequence[str], ttl: timedelta
) -> pl.DataFrame:
    """Add `columns` of `features` to `entities` as they were known at each row's `at`.

    Args:
        entities: columns `symbol` and `at` (aware UTC) beside any others; order and duplicates are kept.
        features: columns `symbol`, `event_at`, `known_at` (aware UTC) and `columns`.
        ttl: how old an event may be; zero means any age.
    """
    numbered = entities.with_row_index("row__")
    joined = numbered.sort("at").join_asof(
        _frontier(features, columns),
        left_on="at",
        right_on="usable_at",
        by="symbol",
        strategy="backward",
        check_sortedness=False,  # both sides are sorted here; polars can't check it within groups
    )
    if ttl > timedelta(0):
        is_fresh = pl.col("event__") >= pl.col("at") - ttl
        joined = joined.with_columns(pl.when(is_fresh).then(pl.col(name)).alias(name) for name in columns)
    return joined.sort("row__").select(*entities.columns, *columns)


def _frontier(features: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Keep the rows that were the best known at some time: running maxima of (event, known) in order of usability."""
    ranked = features.sort("symbol", "event_at", "known_at", nulls_last=False).with_row_index("rank__")
    return (
        ranked.with_columns(usable_at=pl.max_horizontal("event_at", "known_at"))
        .sort("symbol", "usable_at", "rank__")
        .filter(pl.col("rank__") == pl.col("rank__").cum_max().over("symbol"))
        .unique(["symbol", "usable_at"], keep="last", maintain_order=True)
        .select("symbol", "usable_at", pl.col("event_at").alias("event__"), *columns)
        .sort("usable_at")
    )
