"""What a new reading changes: bars that a vendor corrected, filled in late, re-based or took back.

`market/bars` holds the latest knowledge. A row it replaces goes to `market/restatements` with the instant at which it
stopped being what we knew, so that the past can still be asked. A row was known from `known_at` until `superseded_at`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from mlops_assets.kernel.columns import Column
from mlops_assets.market_data.bars import BAR_COLUMNS
from mlops_assets.market_data.sources import VALUE_COLUMNS
from mlops_assets.market_data.validation import KEY

RESTATEMENTS = "market/restatements"

RESTATEMENT_COLUMNS: tuple[Column, ...] = (
    *BAR_COLUMNS,
    Column(
        name="superseded_at",
        type="timestamp",
        description="When a reading showed another value, or no such bar any more.",
        unit="UTC",
    ),
)

_NAMES = tuple(column.name for column in BAR_COLUMNS)
_COMPARED = (*VALUE_COLUMNS, "is_index")
_REBASING_ROWS = 3  # fewer rows may share a factor by chance
_DECIMALS = range(2, 9)  # how finely vendors round adjusted prices; cents at the coarsest
_FLOAT_ERROR = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What was known before a reading: bars, the rows they replaced, and the publication lag of their time."""

    bars: pl.DataFrame
    superseded: pl.DataFrame
    publication_lag: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """The bars after a reading, every row they ever replaced, and what happened to how many rows.

    Attributes:
        restated: rows whose values are others than before.
        late: rows of days that the source had published, of symbols that it had already; or rows that came back.
        rebased: rows whose adjusted close moved by one factor with all before it.
        vanished: rows (symbol, date) that the source no longer has.
    """

    bars: pl.DataFrame
    superseded: pl.DataFrame
    restated: int
    late: int
    rebased: int
    vanished: pl.DataFrame


def revise(read: pl.DataFrame, held: Held | None, *, read_at: datetime) -> Revision:
    """Give the bars of a reading the instants at which they were known, in view of what was held before.

    A value that is unchanged keeps its `known_at`. A changed one is known from `read_at`, and so is a bar that comes
    back, or one of a day for which the last reading had bars, but not this one. Other new bars, and all of a first
    reading or of a new symbol, were known at the close plus the publication lag. A value that changes before it could
    be known is replaced in place.

    Vendors multiply the adjusted closes before each dividend and split by one factor. Such rows carry no news: they are
    replaced in place, with their `known_at`, and the superseded rows of the symbol get the same factor. So a question
    about the past is answered in today's price units. Bars after a dividend that the vendor applied late had been told
    on the old basis: they are restated, and what was known of them gets the factor, so that returns over the day of the
    dividend are as they were known.
    """
    if held is None:
        empty = read.head(0).with_columns(superseded_at=pl.lit(None, pl.Datetime("us", "UTC")))
        return Revision(bars=read, superseded=empty, restated=0, late=0, rebased=0, vanished=read.head(0).select(KEY))
    before = _as_promised(held, read)
    compared = _compare(read, before, held)
    bases = _bases(compared)
    now = pl.lit(read_at, pl.Datetime("us", "UTC"))
    judged = (
        compared.join(bases, on="symbol", how="left", maintain_order="left")
        .with_columns(is_rebased=pl.col("is_price_only") & (pl.col("date") <= pl.col("rebased_until")).fill_null(False))
        .with_columns(is_across=pl.col("held_at").is_not_null() & (pl.col("date") > pl.col("rebased_until")))
        .with_columns(
            is_restated=(pl.col("is_changed") & ~pl.col("is_rebased")) | pl.col("is_across").fill_null(value=False)
        )
        .with_columns(is_news=(pl.col("is_restated") | pl.col("is_late")) & (now > pl.coalesce("held_at", "known_at")))
        .with_columns(known_at=pl.when("is_news").then(now).otherwise(pl.coalesce("held_at", "known_at")))
    )
    gone = before.join(read.select(KEY), on=KEY, how="anti")
    replaced = before.join(judged.filter("is_restated", "is_news").select(KEY), on=KEY, how="semi")
    stopped = pl.concat([replaced, gone]).filter(pl.col("known_at") < now).with_columns(superseded_at=now)
    superseded = (
        pl.concat([held.superseded.select(stopped.columns), stopped])
        .join(bases, on="symbol", how="left")
        .with_columns(adjusted_close=pl.col("adjusted_close") * pl.col("factor").fill_null(1.0))
        .select(*_NAMES, "superseded_at")
        .sort(*KEY, "known_at", "superseded_at")
    )
    return Revision(
        bars=judged.select(_NAMES),
        superseded=superseded,
        restated=judged.filter("is_restated").height,
        late=judged.filter("is_late", "is_news").height,
        rebased=judged.filter("is_rebased", "is_changed").height,
        vanished=gone.select(KEY).sort(KEY),
    )


def _as_promised(held: Held, read: pl.DataFrame) -> pl.DataFrame:
    """Return the held bars; those known as the source promised follow its present promise where it has changed."""
    promised = read.select(*KEY, promised_at="known_at")
    was_promised = (
        pl.lit(True)  # before the lag was recorded, nothing was ever restated
        if held.publication_lag is None
        else pl.col("known_at") == pl.col("event_at") + held.publication_lag
    )
    known_at = pl.when(was_promised).then(pl.coalesce("promised_at", "known_at")).otherwise("known_at")
    return (
        held.bars.select(_NAMES)
        .join(promised, on=KEY, how="left", maintain_order="left")
        .with_columns(known_at=known_at)
        .select(_NAMES)
    )


def _compare(read: pl.DataFrame, before: pl.DataFrame, held: Held) -> pl.DataFrame:
    """Set each row that was read beside the one that was held and say what differs."""
    earlier = before.select(*KEY, held_at="known_at", **{f"held_{name}": name for name in _COMPARED})
    starts = before.group_by("symbol").agg(first=pl.col("date").min())
    source_had = pl.lit(before["date"].max(), pl.Date)
    returning = held.superseded.select(KEY).unique().with_columns(was_known=pl.lit(True))
    differs = {name: pl.col(name).ne_missing(pl.col(f"held_{name}")) for name in _COMPARED}
    is_held = pl.col("held_at").is_not_null()
    others = [expr for name, expr in differs.items() if name != "adjusted_close"]
    return (
        read.join(earlier, on=KEY, how="left", maintain_order="left")
        .join(starts, on="symbol", how="left", maintain_order="left")
        .join(returning, on=KEY, how="left", maintain_order="left")
        .with_columns(
            is_changed=is_held & pl.any_horizontal(*differs.values()),
            is_price_only=is_held & ~pl.any_horizontal(*others),
            is_late=~is_held
            & (pl.col("date").is_between("first", source_had) | pl.col("was_known")).fill_null(value=False),
        )
    )


def _bases(compared: pl.DataFrame) -> pl.DataFrame:
    """Return the symbols whose adjusted closes up to a day moved by one factor: `symbol, rebased_until, factor`.

    Both prices were rounded, so each row bounds the factor; it is one factor if the bounds of all rows overlap.
    """
    new, old = pl.col("adjusted_close"), pl.col("held_adjusted_close")
    rows = compared.filter("is_price_only").with_columns(is_moved=new != old)
    until = rows.filter("is_moved").group_by("symbol").agg(rebased_until=pl.col("date").max())
    rows = rows.join(until, on="symbol").filter(pl.col("date") <= pl.col("rebased_until"))
    step = pl.coalesce(
        pl.when(((new.round(digits) == new) & (old.round(digits) == old)).all().over("symbol")).then(10.0**-digits)
        for digits in _DECIMALS
    )
    rows = rows.with_columns(half_step=pl.coalesce(step / 2, pl.lit(0.0)))
    half = pl.col("half_step")
    return (
        rows.with_columns(
            low=(new - half) / (old + half) * (1 - _FLOAT_ERROR),
            high=pl.when(old > half).then((new + half) / (old - half) * (1 + _FLOAT_ERROR)),
        )
        .group_by("symbol")
        .agg(
            pl.col("rebased_until").first(),
            low=pl.col("low").max(),
            high=pl.col("high").min(),
            moved=pl.col("is_moved").sum(),
            rows=pl.len(),
        )
        .filter(
            pl.col("low") <= pl.col("high"),
            pl.col("moved") >= _REBASING_ROWS,
            pl.col("moved") * 2 > pl.col("rows"),
        )
        .select("symbol", "rebased_until", factor=(pl.col("low") + pl.col("high")) / 2)
        .sort("symbol")
    )
