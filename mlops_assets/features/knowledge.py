"""What a view said at any instant: its values over bars as they were known then, restatements included.

Bars come with the time from which each value was known (`known_at`) and, once another one replaced it, until when
(`superseded_at`). A published view has one row for each bar as it was first known, and one more for each later instant
at which a restated, late or vanished bar made its values others. Of a bar that vanished nothing is known any more: its
last row is null. The table is a function of the bars' knowledge alone: it does not matter in how many steps it was
published.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import polars as pl

from mlops_assets.features.bar_rows import ROW
from mlops_assets.features.spec import KEY_COLUMNS, FeatureView, Partition
from mlops_assets.features.table_shape import expect_shape, expect_unique
from mlops_assets.features.view import KEYS, compute_view, unavailable
from mlops_assets.kernel.columns import Column

_BAR_COLUMNS = (
    *KEY_COLUMNS,
    Column(name="is_index", type="boolean", description="Whether nobody can trade it."),
    Column(name="superseded_at", type="timestamp", description="Until when it was known.", is_nullable=True),
)
_NO_FRAMES: Mapping[str, pl.DataFrame] = {}


def latest_known(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the row of each symbol and date that was known last, sorted by symbol and date."""
    rows = in_order(frame)
    return rows.filter(_is_last_of_key(rows))


def in_order(frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows sorted by symbol, date and `known_at`; rows that are in order already are not touched."""
    later = pl.lit(value=False)
    for name in reversed((*ROW, "known_at")):
        value = pl.col(name)
        later = (value > value.shift()) | ((value == value.shift()) & later)
    is_sorted = frame.select(later.slice(1).all()).item()
    return frame if is_sorted else frame.sort(*ROW, "known_at")


def known_as_of(frame: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """Return the row of each symbol and date that was known at an instant, sorted by symbol and date.

    Args:
        frame: rows with `known_at`, and `superseded_at` where rows can vanish.
    """
    rows = frame.filter(pl.col("known_at") <= at)
    if "superseded_at" in rows.columns:
        rows = rows.filter(pl.col("superseded_at").is_null() | (pl.col("superseded_at") > at))
    return latest_known(rows)


def compute_known(
    view: FeatureView, bars: pl.DataFrame, upstream: Mapping[str, pl.DataFrame] = _NO_FRAMES
) -> pl.DataFrame:
    """Compute a view at every instant that changed what was known.

    A row's first `known_at` is that of the last input of its day: its own bar, the index if the view reads it, all
    stocks of the day if the view compares them, and what it reads of other views. Bars that came after a later day's
    were late, and a value does not see them before they came.

    Args:
        bars: rows of bars and restatements, with `superseded_at`.
        upstream: by name, the published rows of the views it reads.

    Returns:
        The keys and the view's columns, sorted by symbol, date and `known_at`.
    """
    known = Known.of(view, bars, upstream)
    return known.compute(None)


def group_of(view: FeatureView) -> str:
    """Return the column whose values can be computed apart: symbol, or date for a view of days."""
    return "date" if view.partition is Partition.DATE else "symbol"


def reads_index(view: FeatureView) -> bool:
    """Whether every row depends on the bars of the market's index."""
    return view.partition is Partition.INDEX or "index_adjusted_close" in view.bar_inputs


def is_among(group: str, wanted: Collection[object]) -> pl.Expr:
    """Whether a row is of one of some groups."""
    kind = pl.Date if group == "date" else pl.String
    return pl.col(group).is_in(pl.Series(list(wanted), dtype=kind).implode())


def was_seen() -> pl.Expr:
    """Whether a version of a bar was ever told: one that was superseded before it could be known was not."""
    return pl.col("superseded_at").is_null() | (pl.col("superseded_at") > pl.col("known_at"))


def later_days(bars: pl.DataFrame) -> pl.DataFrame:
    """Return for each day when the first bar of any later day was known: `date, later`, null after the last day.

    A bar that was first known after that was late.
    """
    days = bars.group_by("date").agg(known=pl.col("known_at").min()).sort("date")
    return days.select("date", later=pl.col("known").reverse().cum_min().reverse().shift(-1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """A view's inputs with every version of each row, ready to be seen at any instant.

    Attributes:
        bars: rows sorted by key and `known_at`, with `is_first` of their key and `is_late`.
        upstream: by name, rows of other views in the same form.
        index: the symbol of the market's index, empty if there is none.
        group: the column whose values can be computed apart, see `group_of`.
        lacking: the columns that can't be computed, with the inputs that no row has as far as is known at last.
    """

    view: FeatureView
    bars: pl.DataFrame
    upstream: Mapping[str, pl.DataFrame]
    index: str
    group: str
    lacking: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    @classmethod
    def of(
        cls,
        view: FeatureView,
        bars: pl.DataFrame,
        upstream: Mapping[str, pl.DataFrame],
        *,
        groups: Collection[object] | None = None,
    ) -> Known:
        """Prepare the inputs of a view: of all groups, or of some alone. `bars` are all bars in either case.

        Raises:
            MissingColumns, MalformedTable: if bars or values are not of their shape.
        """
        expect_shape(bars, table="market/bars", columns=_BAR_COLUMNS)
        for name, values in upstream.items():
            expect_shape(values, table=f"features/{name}", columns=KEY_COLUMNS)
        seen, index = bars.filter(was_seen()), str(bars.filter("is_index")["symbol"].min() or "")
        wanted = pl.lit(value=True) if groups is None else is_among(group_of(view), groups)
        never = pl.lit(None, pl.Datetime("us", "UTC"))
        known = cls(
            view=view,
            bars=_with_late(
                _marked(seen.filter(wanted | (pl.col("symbol") == index)), "market/bars"), later_days(seen)
            ),
            upstream={
                name: _marked(values.filter(wanted), f"features/{name}").with_columns(
                    superseded_at=never, is_late=pl.lit(value=False)
                )
                for name, values in upstream.items()
            },
            index=index,
            group=group_of(view),
        )
        return replace(known, lacking=known._lacking())

    @property
    def can_be_split(self) -> bool:
        """Whether each group can be computed apart: the product of splits runs through all days of a symbol."""
        return self.group == "symbol" or "split_factor" not in self.view.bar_inputs

    @property
    def index_rows(self) -> pl.DataFrame:
        return self.bars.filter(pl.col("symbol") == self.index)

    def compute(self, groups: Collection[object] | None) -> pl.DataFrame:
        """Compute the rows of some groups, or of all, at every instant."""
        known = self if groups is None else self._of(groups)
        first = known._values(None, groups)
        moved, latest = list[pl.DataFrame](), dict[object, pl.DataFrame]()
        news = known._news()
        for instant in known._instants():
            touched = known._touched(news, instant)
            if touched is not None and groups is not None:
                touched &= set(groups)
            seen, wanted = (known, groups) if touched is None else (known._of(touched), touched)
            before = _by_group(first, latest, self.group, wanted)
            changed = _moved(before, seen._values(instant, wanted), self.view)
            moved.append(changed.with_columns(instant=pl.lit(instant, pl.Datetime("us", "UTC"))))
            _update(latest, first, changed, self.group)
        rows = pl.concat([first.with_columns(instant=pl.lit(None, pl.Datetime("us", "UTC"))), *moved])
        first_at = known._first_known()
        if rows.select(ROW).equals(first_at.select(ROW)):  # nothing was learned out of order
            return rows.with_columns(known_at=first_at["first_at"]).select(*KEYS, *self.view.column_names)
        return _timed(rows.join(first_at, on=ROW, how="left", maintain_order="left"), self.view)

    def _of(self, groups: Collection[object]) -> Known:
        """Return what is needed for some groups alone: their rows, and the index."""
        if not self.can_be_split:
            return self
        wanted = is_among(self.group, groups)
        part = replace(
            self,
            bars=self.bars.filter(wanted | (pl.col("symbol") == self.index)),
            upstream={name: rows.filter(wanted) for name, rows in self.upstream.items()},
        )
        # An input that none of these rows has makes its columns null. Elsewhere it may be there, and then an
        # expression says what it makes of nulls.
        return part if part._lacking() == self.lacking else self

    def _lacking(self) -> Mapping[str, tuple[str, ...]]:
        return unavailable(self.view, *self._seen(self._last_instant()))

    def _last_instant(self) -> datetime | None:
        instants = self._instants()
        return instants[-1] if instants else None

    def _news(self) -> Sequence[pl.DataFrame]:
        """Return what was learned out of order: the rows of bars, then of each view that is read."""
        news = ~pl.col("is_first") | pl.col("is_late") | pl.col("superseded_at").is_not_null()
        return [rows.filter(news) for rows in (self.bars, *self.upstream.values())]

    def _instants(self) -> list[datetime]:
        """Return the instants, in order, at which anything was learned out of order."""
        learned = [rows.filter(_is_news())["known_at"] for rows in self._news()]
        stopped = self.bars["superseded_at"].drop_nulls()
        return pl.concat([*learned, stopped]).unique().sort().to_list()

    def _touched(self, news: Sequence[pl.DataFrame], instant: datetime) -> set[object] | None:
        """Return the groups whose inputs changed at an instant, or None for all."""
        changed = (_is_news() & (pl.col("known_at") == instant)) | (pl.col("superseded_at") == instant)
        touched = [rows.filter(changed) for rows in news]
        if reads_index(self.view) and (touched[0]["symbol"] == self.index).any():
            return None
        return {group for rows in touched for group in rows[self.group]} if self.can_be_split else None

    def _seen(self, instant: datetime | None) -> tuple[pl.DataFrame, Mapping[str, pl.DataFrame]]:
        return _seen(self.bars, instant), {name: _seen(rows, instant) for name, rows in self.upstream.items()}

    def _values(self, instant: datetime | None, groups: Collection[object] | None) -> pl.DataFrame:
        bars, upstream = self._seen(instant)
        values = compute_view(self.view, bars.drop("superseded_at", "is_first", "is_late"), upstream)
        return values if groups is None else values.filter(is_among(self.group, groups))

    def _first_known(self) -> pl.DataFrame:
        """Return for each key when its values could first be known: `symbol, date, first_at`."""
        own = self.bars.filter("is_first", ~pl.col("is_index")).select(*ROW, "is_late", first_at="known_at")
        for rows in self.upstream.values():
            read = rows.filter("is_first").select(*ROW, read_at="known_at")
            own = own.join(read, on=ROW, how="left", maintain_order="left")
            own = own.with_columns(first_at=pl.max_horizontal("first_at", "read_at")).drop("read_at")
        if reads_index(self.view):
            index = self.index_rows.filter("is_first", ~pl.col("is_late")).select("date", index_at="known_at")
            own = own.join(index, on="date", how="left", maintain_order="left")
            own = own.with_columns(first_at=pl.max_horizontal("first_at", "index_at")).drop("index_at")
        if self.group == "date":
            day_at = pl.col("first_at").filter(~pl.col("is_late")).max().over("date")
            own = own.with_columns(first_at=pl.max_horizontal("first_at", day_at))
        return own.select(*ROW, "first_at")


def _marked(rows: pl.DataFrame, table: str) -> pl.DataFrame:
    """Sort rows by key and `known_at`, which no two may share, and mark the first of each key."""
    ordered = in_order(rows)
    expect_unique(ordered, table=table, key=(*ROW, "known_at"))
    same = (pl.col(name).eq_missing(pl.col(name).shift()) for name in ROW)
    return ordered.with_columns(is_first=~pl.all_horizontal(*same).fill_null(value=False))


def _with_late(bars: pl.DataFrame, later: pl.DataFrame) -> pl.DataFrame:
    """Mark first rows that were known only after a bar of a later day was."""
    late = (pl.col("is_first") & (pl.col("known_at") > pl.col("later"))).fill_null(value=False)
    return bars.join(later, on="date", how="left", maintain_order="left").with_columns(is_late=late).drop("later")


def _is_news() -> pl.Expr:
    return ~pl.col("is_first") | pl.col("is_late")


def _is_last_of_key(rows: pl.DataFrame) -> pl.Series:
    same = (pl.col(name).eq_missing(pl.col(name).shift(-1)) for name in ROW)
    return rows.select(last=~pl.all_horizontal(*same).fill_null(value=False))["last"]


def _seen(rows: pl.DataFrame, instant: datetime | None) -> pl.DataFrame:
    """Return one row for each key: the last known at an instant, else the first if it was in time."""
    in_time = pl.col("is_first") & ~pl.col("is_late")
    if instant is None:
        return rows.filter(in_time)
    stands = pl.col("superseded_at").is_null() | (pl.col("superseded_at") > instant)
    found = rows.filter((pl.col("known_at") <= instant) | in_time, stands)
    return found.filter(_is_last_of_key(found))


def _by_group(
    first: pl.DataFrame, latest: Mapping[object, pl.DataFrame], group: str, touched: Collection[object] | None
) -> pl.DataFrame:
    """Return the newest values so far of some groups, or of all."""
    wanted = set(first[group].unique()) | set(latest) if touched is None else touched
    rest = [one for one in wanted if one not in latest]
    return pl.concat([first.filter(is_among(group, rest)), *(latest[one] for one in wanted if one in latest)])


def _moved(before: pl.DataFrame, now: pl.DataFrame, view: FeatureView) -> pl.DataFrame:
    """Return the rows of `now` that are new or differ from those before, and null rows for those that are gone."""
    earlier = before.select(*ROW, had_row=pl.lit(True), **{f"{name}__before": name for name in view.column_names})
    differs = (pl.col(name).ne_missing(pl.col(f"{name}__before")) for name in view.column_names)
    compared = now.join(earlier, on=ROW, how="left", maintain_order="left")
    changed = compared.filter(pl.col("had_row").is_null() | pl.any_horizontal(*differs)).select(now.columns)
    said = pl.any_horizontal(pl.col(view.column_names).is_not_null())
    gone = before.join(now.select(ROW), on=ROW, how="anti", maintain_order="left").filter(said)
    nothing = (pl.lit(None, before.schema[name]).alias(name) for name in view.column_names)
    return pl.concat([changed, gone.with_columns(nothing)])


def _update(latest: dict[object, pl.DataFrame], first: pl.DataFrame, changed: pl.DataFrame, group: str) -> None:
    for rows in changed.partition_by(group):
        name = rows[group][0]
        before = latest.get(name)
        before = first.filter(pl.col(group) == name) if before is None else before
        latest[name] = pl.concat([before.join(rows.select(ROW), on=ROW, how="anti", maintain_order="left"), rows])


def _timed(rows: pl.DataFrame, view: FeatureView) -> pl.DataFrame:
    """Give each row the time it was known; what changed before its first time collapses into its first row."""
    early = pl.col("instant").is_null() | (pl.col("instant") <= pl.col("first_at"))
    return latest_by_time(
        rows.with_columns(known_at=pl.when(early).then("first_at").otherwise("instant")).sort(
            *ROW, "known_at", "instant", nulls_last=False
        )
    ).select(*KEYS, *view.column_names)


def latest_by_time(rows: pl.DataFrame) -> pl.DataFrame:
    """Keep the last of neighbouring rows with the same key and `known_at`."""
    same = (pl.col(name).eq_missing(pl.col(name).shift(-1)) for name in (*ROW, "known_at"))
    return rows.filter(~pl.all_horizontal(*same).fill_null(value=False))
