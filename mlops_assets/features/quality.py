"""Are published features what their declaration promises: keys, ranges, completeness, usual counts, a kept past."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from mlops_assets.features.bar_rows import ROW
from mlops_assets.features.spec import FeatureView, Fold
from mlops_assets.kernel.columns import Column
from mlops_assets.market_data.checks import Finding, listed

MOST_NULLS = 0.05
"""The share of rows after warm-up in which a column may have no value: what a formula can't say, such as 0 / 0."""

_SHOWN = 10
_JUDGED_SESSIONS = 252
_TRAILING_SESSIONS = 63
_MOST_DEVIATIONS = 3.5
_PER_DEVIATION = 1.4826
"""The median absolute deviation times this estimates a standard deviation."""
_LEAST_SCALE = 0.01
_SAME_NUMBER = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfRange:
    """How many values of a column lie outside its declared bounds."""

    column: str
    rows: int
    lowest: float
    highest: float


def out_of_range(values: pl.DataFrame, columns: Sequence[Column]) -> list[OutOfRange]:
    """Return the columns of numbers with values outside their bounds (inclusive)."""
    found = list[OutOfRange]()
    for column in columns:
        if not values[column.name].dtype.is_numeric():
            continue
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


def keys_are_unique(rows: pl.DataFrame) -> Finding:
    """Judge whether every symbol, date and instant of knowledge occurs once, with none of them missing."""
    key = (*ROW, "known_at")
    missing = rows.filter(pl.any_horizontal(pl.col(key).is_null()))
    twice = rows.group_by(key).len().filter(pl.col("len") > 1).sort(key)
    bad = missing if twice.is_empty() else twice
    words = f"{rows.height:,} rows, each with a key of its own" if bad.is_empty() else f"bad keys: {listed(bad)}"
    numbers: dict[str, int | str] = {"repeated_keys": twice.height, "missing_keys": missing.height}
    return Finding(is_passed=bad.is_empty(), words=words, numbers=numbers)


def complete_against_bars(rows: pl.DataFrame, bars: pl.DataFrame) -> Finding:
    """Judge whether each bar that was ever told of a stock has a row, and each row such a bar."""
    expected = bars.filter(~pl.col("is_index")).select(ROW).unique()
    missing = expected.join(rows.select(ROW), on=ROW, how="anti").sort(ROW)
    foreign = rows.select(ROW).unique().join(expected, on=ROW, how="anti").sort(ROW)
    words = f"each of {expected.height:,} bars has its row"
    if not missing.is_empty():
        words = f"bars without a row: {listed(missing)}"
    elif not foreign.is_empty():
        words = f"rows without a bar: {listed(foreign)}"
    numbers: dict[str, int | str] = {"missing_rows": missing.height, "foreign_rows": foreign.height}
    return Finding(is_passed=missing.is_empty() and foreign.is_empty(), words=words, numbers=numbers)


def filled_after_warm_up(rows: pl.DataFrame, view: FeatureView, unavailable: Collection[str]) -> Finding:
    """Judge whether columns have values once a stock's windows are full.

    Args:
        rows: one for each symbol and date.
        unavailable: columns that the source can't feed; they are judged by `inputs_available`.
    """
    nth = pl.int_range(pl.len()).over("symbol", order_by="date")
    warm = rows.filter(nth >= view.warm_up_bars)
    judged = [name for name in view.column_names if name not in unavailable]
    shares = {name: warm[name].null_count() / max(warm.height, 1) for name in judged}
    sparse = {name: share for name, share in shares.items() if share > MOST_NULLS}
    words = f"no column lacks more than {MOST_NULLS:.0%} of its values after {view.warm_up_bars} bars"
    if sparse:
        words = "values missing after warm-up: " + ", ".join(f"{name} {share:.1%}" for name, share in sparse.items())
    numbers: dict[str, int | str] = {
        "rows_after_warm_up": warm.height,
        **{f"null_rows_{name}": warm[name].null_count() for name in judged},
    }
    return Finding(is_passed=not sparse, words=words, numbers=numbers)


def counts_are_usual(counts: pl.DataFrame, *, of: str, least_scale: float = 1.0) -> Finding:
    """Judge whether the counts of the last sessions are near the median of those before each.

    A count is unusual if it is more than 3.5 deviations from the trailing median, a deviation being 1.4826 times the
    median absolute deviation (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993), at least one percent of
    the median, and at least `least_scale`.

    Args:
        counts: `date` and `count`, one row for each session.
        of: what is counted, in words.
    """
    recent = counts.sort("date").tail(_JUDGED_SESSIONS + _TRAILING_SESSIONS)
    judged = recent.slice(_TRAILING_SESSIONS).with_columns(pl.col("count").cast(pl.Float64))
    if not judged.is_empty():
        before = np.lib.stride_tricks.sliding_window_view(recent["count"].cast(pl.Float64), _TRAILING_SESSIONS)[:-1]
        median = np.median(before, axis=1)
        spread = np.median(np.abs(before - median[:, None]), axis=1)
        scale = np.maximum(np.maximum(_PER_DEVIATION * spread, _LEAST_SCALE * np.abs(median)), least_scale)
        judged = judged.with_columns(median=median).with_columns(deviations=(pl.col("count") - median) / scale)
    else:
        judged = judged.with_columns(median=pl.lit(0.0), deviations=pl.lit(0.0))
    unusual = judged.filter(pl.col("deviations").abs() > _MOST_DEVIATIONS)
    words = f"{of}: usual in each of the last {judged.height} sessions"
    if not unusual.is_empty():
        listed = [
            f"{row['count']:,.6g} on {row['date']}, usual {row['median']:,.6g}"
            for row in unusual.tail(_SHOWN).iter_rows(named=True)
        ]
        words = f"{of}: unusual in {unusual.height} of {judged.height} sessions: {'; '.join(listed)}"
    numbers: dict[str, int | str] = {"sessions_judged": judged.height, "unusual_sessions": unusual.height}
    return Finding(is_passed=unusual.is_empty(), words=words, numbers=numbers)


def rows_per_session(rows: pl.DataFrame) -> pl.DataFrame:
    """Count the stocks of each session, as `date` and `count`."""
    return rows.group_by("date").agg(count=pl.col("symbol").n_unique()).sort("date")


def traded_volume(bars: pl.DataFrame) -> pl.DataFrame:
    """Return the logarithm of the shares of all stocks traded in each session, as `date` and `count`; none without."""
    if "volume" not in bars.columns:
        return pl.DataFrame(schema={"date": pl.Date(), "count": pl.Float64()})
    traded = bars.filter(~pl.col("is_index") & pl.col("volume").is_not_null())
    return (
        traded.group_by("date")
        .agg(count=pl.col("volume").sum().cast(pl.Float64))
        .with_columns(count=(pl.col("count") + 1.0).log10())
        .sort("date")
    )


def inputs_are_there(view: FeatureView, lacking: Mapping[str, Sequence[str]]) -> Finding:
    """Judge whether the source feeds every column; name those it does not, with what they lack."""
    words = f"every input of its {len(view.columns)} columns is there"
    if lacking:
        listed = "; ".join(f"{name} needs {', '.join(inputs)}" for name, inputs in sorted(lacking.items()))
        words = f"null in every row, because the source lacks an input: {listed}"
    return Finding(
        is_passed=not lacking, words=words, numbers={"unavailable": len(lacking), "columns": len(view.columns)}
    )


def past_is_kept(before: pl.DataFrame, now: pl.DataFrame, columns: Sequence[str]) -> Finding:
    """Judge whether every row of the snapshot before is still there with the values it had.

    What was restated since has rows of its own, with the instant it was learned: they are counted and do no harm.
    Leave out columns in units of price: a source that re-bases its adjusted prices rewrites them with every dividend.
    """
    key = (*ROW, "known_at")
    compared = before.select(*key, *columns).join(
        now.select(*key, *columns, is_there=pl.lit(value=True)), on=key, how="left", suffix="__now"
    )
    gone = compared.filter(pl.col("is_there").is_null())
    moved = {name: compared.filter(pl.col("is_there") & _moved(name, compared.schema[name])).height for name in columns}
    rewritten = {name: count for name, count in moved.items() if count}
    restated = now.join(before.select(ROW).unique(), on=ROW, how="semi").height - before.height + gone.height
    words = f"{before.height:,} rows of the snapshot before are unchanged; {restated:,} were restated since"
    if not gone.is_empty():
        words = f"rows of the snapshot before are gone: {listed(gone.sort(key))}"
    elif rewritten:
        words = "values of the past were rewritten: " + ", ".join(f"{one} in {n:,}" for one, n in rewritten.items())
    numbers: dict[str, int | str] = {
        "rows_before": before.height,
        "rows_gone": gone.height,
        "rows_restated": restated,
        **{f"rewritten_{name}": count for name, count in rewritten.items()},
    }
    return Finding(is_passed=gone.is_empty() and not rewritten, words=words, numbers=numbers)


def _moved(name: str, kind: pl.DataType) -> pl.Expr:
    before, now = pl.col(name), pl.col(f"{name}__now")
    if not kind.is_float():
        return before.ne_missing(now)
    far = (before - now).abs() > _SAME_NUMBER * pl.max_horizontal(before.abs(), now.abs(), pl.lit(1e-300))
    return far.fill_null(value=False) | (before.is_null() != now.is_null())
