"""Was anything in a training set known only after its row: found again from the inputs, not believed.

Four ways. Every feature is traced to the row it came from, with the instant that row was known. A sample of rows is
answered once more by looking through all candidates. Every label is made again from the bar that reveals it; it must
be known after its row, and be no feature. And the set is built from what was known at cuts: rows before a cut must come
out the same. Cuts and sample are evidence, not a proof for rows in between; tracing and labels cover every row.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import polars as pl

from mlops_assets.features.bar_rows import ROW
from mlops_assets.features.cuts import Cut, truncated
from mlops_assets.features.look_ahead import known_with_upstream, with_superseded
from mlops_assets.features.point_in_time import point_in_time_join
from mlops_assets.features.spec import FeatureView, Fold, Folds, TrainingSet
from mlops_assets.features.training_set import assemble

_LABELS = ("forward_return", "label", "label_known_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """A column of a training set that says what its row could not know, with the first row that shows it."""

    column: str
    symbol: str
    date: date
    problem: str

    def __str__(self) -> str:
        return f"{self.column} of {self.symbol} on {self.date}: {self.problem}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakageReport:
    """What was looked at, and what was found."""

    rows_traced: int
    rows_searched: int
    labels_made_again: int
    cuts: tuple[Cut, ...]
    rows_compared: int
    leaks: tuple[Leak, ...]

    @property
    def is_clean(self) -> bool:
        return not self.leaks and self.rows_traced > 0


def find_leaks(
    spec: TrainingSet,
    rows: pl.DataFrame,
    bars: pl.DataFrame,
    values: Mapping[str, tuple[FeatureView, pl.DataFrame]],
    views: Mapping[str, FeatureView],
    *,
    is_rebuilt: bool = True,
    sample: int = 100,
    random_cuts: int = 2,
    seed: int = 0,
) -> LeakageReport:
    """Look for values of `rows` that were known after the row's instant.

    Args:
        rows: the training set.
        bars: the bars it was made from; with `superseded_at`, and what was superseded, where bars were restated.
        values: by name, the views it reads and the rows it was made from.
        views: every view that those read, by name.
        is_rebuilt: whether to build it again at cuts, which takes the code that made its views.
    """
    bars = with_superseded(bars)
    folds = spec.folds.resolved(rows["date"].unique().sort().to_list())
    leaks = [*_misplaced(spec, rows, values), *_label_leaks(spec, rows, bars)]
    drawn = _sample(rows, sample, seed)
    leaks += _unlike_search(spec, drawn, values)
    cuts = _cuts(spec, folds, bars, random_cuts, seed) if is_rebuilt else []
    compared = 0
    for cut in cuts:
        count, found = _unlike_then(replace(spec, folds=folds), rows, bars, views, cut)
        compared += count
        leaks += found
    return LeakageReport(
        rows_traced=rows.height,
        rows_searched=drawn.height,
        labels_made_again=rows["label"].len() - rows["label"].null_count(),
        cuts=tuple(cuts),
        rows_compared=compared,
        leaks=tuple(leaks),
    )


def _misplaced(
    spec: TrainingSet, rows: pl.DataFrame, values: Mapping[str, tuple[FeatureView, pl.DataFrame]]
) -> Iterator[Leak]:
    """Trace each feature to the row that its instant may see, and compare."""
    for name, (view, features) in values.items():
        columns = _columns(spec, name)
        source = features.select(
            "symbol", "event_at", "known_at", *columns, source_event_at="event_at", source_known_at="known_at"
        )
        asked = rows.select(*ROW, at="known_at")
        traced = point_in_time_join(
            asked, source, columns=[*columns, "source_event_at", "source_known_at"], ttl=view.ttl, as_of=spec.as_of
        )
        late = (
            (pl.col("source_known_at") > pl.col("at"))
            | (pl.col("source_event_at") > pl.col("at"))
            | _is_expired(view.ttl)
        )
        for row in traced.filter(late).head(1).iter_rows(named=True):
            told = f"its source row was known at {row['source_known_at']}, the row stands at {row['at']}"
            yield Leak(column=f"{name}.*", symbol=row["symbol"], date=row["date"], problem=told)
        for column in columns:
            moved = rows[column].ne_missing(traced[column])
            if moved.any():
                place = moved.arg_true()[0]
                row = traced.row(place, named=True)
                yield Leak(
                    column=f"{name}.{column}",
                    symbol=row["symbol"],
                    date=row["date"],
                    problem=f"it is {rows[column][place]}, but what was known at {row['at']} is {row[column]}",
                )


def _is_expired(ttl: timedelta) -> pl.Expr:
    if ttl == timedelta(0):
        return pl.lit(value=False)
    return pl.col("source_event_at") < pl.col("at") - ttl


def _sample(rows: pl.DataFrame, count: int, seed: int) -> pl.DataFrame:
    """Draw rows at random, and take the first and last of each fold."""
    chance = random.Random(seed)
    places = set(chance.sample(range(rows.height), min(count, rows.height)))
    numbered = rows.with_row_index("place__").sort("known_at", "symbol")
    for fold in Fold:
        of_fold = numbered.filter(pl.col("fold") == fold.value)["place__"]
        places |= {of_fold[0], of_fold[-1]} if len(of_fold) else set()
    return rows[sorted(places)]


def _unlike_search(
    spec: TrainingSet, drawn: pl.DataFrame, values: Mapping[str, tuple[FeatureView, pl.DataFrame]]
) -> Iterator[Leak]:
    """Answer the drawn rows by looking through every candidate, apart from the join."""
    for name, (view, features) in values.items():
        columns = _columns(spec, name)
        by_symbol = features.sort("event_at", "known_at").partition_by("symbol", as_dict=True)
        for row in drawn.iter_rows(named=True):
            at, candidates = row["known_at"], by_symbol.get((row["symbol"],), features.clear())
            seen = (pl.col("event_at") <= at) & (pl.col("known_at") <= at)
            if view.ttl > timedelta(0):
                seen &= pl.col("event_at") >= at - view.ttl
            winner = candidates.filter(seen).tail(1)
            for column in columns:
                expected = winner[column].item() if winner.height else None
                if row[column] != expected:
                    problem = f"it is {row[column]}, but the last of {candidates.height} candidates is {expected}"
                    yield Leak(column=f"{name}.{column}", symbol=row["symbol"], date=row["date"], problem=problem)
                    return


def _label_leaks(spec: TrainingSet, rows: pl.DataFrame, bars: pl.DataFrame) -> Iterator[Leak]:
    """Make labels again by counting sessions, and compare features with them."""
    early = rows.filter(
        pl.col("label").is_not_null() & (pl.col("label_known_at") <= pl.col("known_at")).fill_null(True)
    )
    for row in early.head(1).iter_rows(named=True):
        yield Leak(
            column="label",
            symbol=row["symbol"],
            date=row["date"],
            problem=f"it is said to be known at {row['label_known_at']}, which is not after {row['known_at']}",
        )
    compared = rows.join(_labels_again(spec, bars), on=ROW, how="left", maintain_order="left")
    for name, again in (("label_known_at", "revealed_at"), ("forward_return", "return_again")):
        wrong = compared[name].ne_missing(compared[again]).arg_true()
        if len(wrong):
            row = compared.row(wrong[0], named=True)
            problem = f"it is {row[name]}, but {row[again]} by counting {spec.label.horizon_sessions} sessions"
            yield Leak(column=name, symbol=row["symbol"], date=row["date"], problem=problem)
    known = rows.filter(pl.col("label").is_not_null())
    for feature in spec.features:
        for label in ("forward_return", "label"):
            if _is_the_same(known[feature.column], known[label]):
                row = known.row(0, named=True)
                yield Leak(column=str(feature), symbol=row["symbol"], date=row["date"], problem=f"it is the {label}")


def _labels_again(spec: TrainingSet, bars: pl.DataFrame) -> pl.DataFrame:
    """Return for each bar the return to the one `horizon_sessions` bars later and when that was known, by counting."""
    told = _told(bars, spec)
    ahead = told.select(
        "symbol",
        order=pl.col("order") - spec.label.horizon_sessions,
        revealed_at="known_at",
        last_price="adjusted_close",
    )
    pairs = told.select(*ROW, "order").join(ahead, on=("symbol", "order"), how="left")
    prices = _prices(bars).rename({"known_at": "told_at"})
    start = (
        pairs.join(prices, on=ROW)
        .filter(pl.col("told_at") <= pl.col("revealed_at"))
        .sort("told_at")
        .group_by(ROW)
        .agg(first_price=pl.col("adjusted_close").last())
    )
    return pairs.join(start, on=ROW, how="left").select(
        *ROW, "revealed_at", return_again=pl.col("last_price") / pl.col("first_price") - 1
    )


def _prices(bars: pl.DataFrame) -> pl.DataFrame:
    """Return every price told of a stock's bar."""
    told = bars.filter(~pl.col("is_index"))
    if "superseded_at" in told.columns:
        told = told.filter(pl.col("superseded_at").is_null() | (pl.col("superseded_at") > pl.col("known_at")))
    return told.select(*ROW, "known_at", "adjusted_close")


def _told(bars: pl.DataFrame, spec: TrainingSet) -> pl.DataFrame:
    """Return the bars in the order in which they were first told, numbered; one told after a later bar is none."""
    first = _prices(bars).sort("known_at").group_by(ROW).first()
    if spec.as_of is not None:
        first = first.filter(pl.col("known_at") <= spec.as_of)
    newest = first.sort("known_at", "date").with_columns(newest=pl.col("date").cum_max().over("symbol"))
    together = newest.with_columns(newest=pl.col("newest").max().over("symbol", "known_at"))
    in_order = together.filter(pl.col("date") == pl.col("newest")).sort(*ROW)
    return in_order.with_columns(order=pl.int_range(pl.len(), dtype=pl.Int64).over("symbol"))


def _is_the_same(feature: pl.Series, label: pl.Series) -> bool:
    both = feature.is_not_null() & label.is_not_null()
    left, right = feature.filter(both).cast(pl.Float64), label.filter(both).cast(pl.Float64)
    return left.n_unique() > 1 and (left == right).all()


def _cuts(spec: TrainingSet, folds: Folds, bars: pl.DataFrame, random_cuts: int, seed: int) -> list[Cut]:
    """Cut at the borders of the folds, at the last session but one, and at random."""
    sessions = _told(bars, spec).group_by("date").agg(pl.col("known_at").mode().max()).sort("date")
    if sessions.height < 2:
        return []
    chance = random.Random(seed)
    places = {sessions.height - 2: "end"}
    for border in (folds.train_until, folds.valid_until):
        place = sessions.filter(pl.col("date") <= border).height - 1
        if 0 <= place <= sessions.height - 2:
            places.setdefault(place, "border of a fold")
    for _ in range(random_cuts):
        places.setdefault(chance.randrange(sessions.height - 1), "random")
    return [
        Cut(at=sessions["known_at"][place], date=sessions["date"][place], why=why)
        for place, why in sorted(places.items())
    ]


def _unlike_then(
    spec: TrainingSet,
    rows: pl.DataFrame,
    bars: pl.DataFrame,
    views: Mapping[str, FeatureView],
    cut: Cut,
) -> tuple[int, list[Leak]]:
    """Build the set from what was known at a cut; return how many rows were compared, and what differs."""
    known, computed = truncated(bars, cut.at), dict[str, pl.DataFrame]()
    past_values = {name: (views[name], known_with_upstream(views[name], views, known, computed)) for name in spec.views}
    past = assemble(replace(spec, as_of=cut.at), known, past_values)
    expected = rows.filter(pl.col("known_at") <= cut.at)
    is_known = (expected["label_known_at"] <= cut.at).fill_null(value=False)
    expected = expected.with_columns(pl.when(is_known).then(pl.col(name)).alias(name) for name in _LABELS)
    if not expected.select(ROW).equals(past.select(ROW)):
        problem = f"{expected.height} rows stand before the cut after {cut.date}, {past.height} could be built then"
        return expected.height, [Leak(column="(rows)", symbol="(all)", date=cut.date, problem=problem)]
    leaks = list[Leak]()
    for column in (*spec.feature_names, *_LABELS):
        moved = expected[column].ne_missing(past[column])
        if moved.any():
            place = moved.arg_true()[0]
            problem = (
                f"it is {expected[column][place]}, but {past[column][place]} from what was known after {cut.date} "
                f"(cut: {cut.why})"
            )
            row = expected.row(place, named=True)
            leaks.append(Leak(column=column, symbol=row["symbol"], date=row["date"], problem=problem))
    return expected.height, leaks


def _columns(spec: TrainingSet, view: str) -> Sequence[str]:
    return [feature.column for feature in spec.features if feature.view == view]
