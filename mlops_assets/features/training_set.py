"""Which rows a model may learn from: features as known, the label, and folds in time with purge and embargo.

A row stands at the instant its bar was first known. A bar that was told only when a later one was known already gives
no row: nobody could act on it. A label is the return as it was known when its last bar was first known: a correction
that came later could not have been learned then, and does not move it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime

import polars as pl

from mlops_assets.features.bar_rows import KEYS, ROW
from mlops_assets.features.point_in_time import point_in_time_join
from mlops_assets.features.spec import KEY_COLUMNS, Feature, FeatureView, Fold, Folds, Label, TrainingSet
from mlops_assets.features.table_shape import MalformedTable, expect_shape
from mlops_assets.kernel.columns import Column
from mlops_assets.kernel.errors import InvalidDeclaration, PlatformError, UnknownReference
from mlops_assets.kernel.fingerprint import Json

_LEARNABLE = ("float", "integer", "boolean")
_BAR_COLUMNS = (
    *KEY_COLUMNS,
    Column(name="adjusted_close", type="float", description="Price that labels are made from."),
    Column(name="is_index", type="boolean", description="Whether nobody can trade it."),
)


class FeatureNotAvailable(PlatformError):
    """A training set names a column that the source of bars can't feed."""

    code = "feature_not_available"

    def __init__(self, *, spec: TrainingSet, view: str, column: str, lacking: Sequence[str]) -> None:
        self.view, self.column, self.lacking = view, column, tuple(lacking)
        super().__init__(
            f"{spec.declared_in}: training set {spec.name}: {view}.{column} has no value, because the source has no "
            f"{', '.join(lacking)}. Choose a source that has it, or leave {view}.{column} out of training_set.features."
        )


def build_training_set(
    spec: TrainingSet,
    bars: pl.DataFrame,
    values: Mapping[str, tuple[FeatureView, pl.DataFrame]],
    *,
    lacking: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
) -> pl.DataFrame:
    """Build the rows of a training set, one for each bar of each stock, sorted by symbol and date.

    Args:
        bars: rows of bars in any order; with `superseded_at`, and what was superseded, where bars were restated.
        values: by view name, the view and its published rows, in any order.
        lacking: by view and column, the inputs that the source does not have.

    Raises:
        UnknownReference: if the declaration names a view or a column that is not given.
        InvalidDeclaration: if a feature is no number.
        FeatureNotAvailable: if a feature has no value because the source lacks an input.
        MissingColumns, MalformedTable: if an input is not of its shape.
    """
    check_features(spec, {name: view for name, (view, _) in values.items()})
    expect_shape(bars, table="market/bars", columns=_BAR_COLUMNS, key=(*ROW, "known_at"))
    _expect_prices(bars)
    for name in spec.views:
        view, rows = values[name]
        used = _used(spec, view)
        expect_shape(rows, table=view.dataset, columns=(*KEY_COLUMNS, *used), key=(*ROW, "known_at"))
        _refuse_unavailable(spec, view, rows, used, (lacking or {}).get(name, {}))
    return assemble(spec, bars, values)


def check_features(spec: TrainingSet, views: Mapping[str, FeatureView]) -> None:
    """Check that every feature is a declared number.

    Raises:
        UnknownReference: if a view or a column is not declared.
        InvalidDeclaration: if a column holds words or times.
    """
    file, field = str(spec.declared_in), "training_set.features"
    for feature in spec.features:
        if feature.view not in views:
            raise UnknownReference(kind="feature view", name=feature.view, known=views, asked_by=file, field=field)
        columns = {column.name: column for column in views[feature.view].columns}
        if feature.column not in columns:
            raise UnknownReference(
                kind=f"column of {feature.view}", name=feature.column, known=columns, asked_by=file, field=field
            )
        if (kind := columns[feature.column].type) not in _LEARNABLE:
            raise InvalidDeclaration(
                file=spec.declared_in,
                field=field,
                problem=f"{feature} is a {kind}, and models learn from numbers",
                remedy=f"Declare a number or a truth value in {feature.view}, such as one column for each word.",
            )


def assemble(
    spec: TrainingSet, bars: pl.DataFrame, values: Mapping[str, tuple[FeatureView, pl.DataFrame]]
) -> pl.DataFrame:
    """Build the rows from inputs that were checked; see `build_training_set`."""
    versions = _versions(bars)
    stocks = _first_told(versions, spec.as_of)
    rows = stocks.select(*KEYS, pl.col("known_at").alias("at"))
    for name in spec.views:
        view, features = values[name]
        columns = [feature.column for feature in spec.features if feature.view == name]
        rows = point_in_time_join(rows, features, columns=columns, ttl=view.ttl, as_of=spec.as_of)
    labelled = pl.concat([rows.drop("at"), _labels(stocks, versions, spec.label)], how="horizontal")
    sessions = stocks["date"].unique().sort().to_list()
    return labelled.with_columns(_fold(spec.folds.resolved(sessions), sessions)).select(
        *KEYS, *spec.feature_names, "forward_return", "label", "label_known_at", "fold"
    )


def query_of(spec: TrainingSet, views: Mapping[str, FeatureView], versions: Mapping[str, str]) -> dict[str, Json]:
    """Return what was asked, as a program can read it years later: everything but the snapshots it was asked of.

    Args:
        versions: by view, the version that computed the rows.
    """
    return {
        **declared_query(spec),
        "rows": "one for each bar of each stock that was known before the next, at the instant it was first known",
        "views": {
            name: {"version": versions[name], "ttl_seconds": views[name].ttl.total_seconds()} for name in spec.views
        },
        "join": "latest event in [t - ttl, t] that was known by t; of several, the one known last; ttl 0: any age",
    }


def declared_query(spec: TrainingSet) -> dict[str, Json]:
    """Return the part of `query_of` that a declaration decides by itself."""
    return {
        "features": [str(feature) for feature in spec.features],
        "label": {
            "price": "adjusted_close",
            "horizon_sessions": spec.label.horizon_sessions,
            "threshold": spec.label.threshold,
        },
        "folds": spec.folds.as_json(),
        "as_of": None if spec.as_of is None else spec.as_of.isoformat(),
    }


def _expect_prices(bars: pl.DataFrame) -> None:
    """Check that a label can be made from every price that is there; a missing one gives none."""
    price = pl.col("adjusted_close")
    bad = bars.filter(~price.is_finite() | (price <= 0)).sort(*ROW)
    if not bad.is_empty():
        first = bad.row(0, named=True)
        raise MalformedTable(
            table="market/bars",
            column="adjusted_close",
            problem=f"{bad.height} prices are not positive numbers, first {first['symbol']} on {first['date']}",
            remedy="Leave a price that is not known null.",
        )


def _used(spec: TrainingSet, view: FeatureView) -> list[Feature]:
    wanted = {feature.column for feature in spec.features if feature.view == view.name}
    return [column for column in view.columns if column.name in wanted]


def _refuse_unavailable(
    spec: TrainingSet,
    view: FeatureView,
    rows: pl.DataFrame,
    used: Sequence[Feature],
    lacking: Mapping[str, Sequence[str]],
) -> None:
    for column in used:
        if lacking.get(column.name) and rows[column.name].null_count() == rows.height:
            raise FeatureNotAvailable(spec=spec, view=view.name, column=column.name, lacking=lacking[column.name])


def _versions(bars: pl.DataFrame) -> pl.DataFrame:
    """Return every version of each stock's bar that was known for a time, in order of knowledge."""
    stocks = bars.filter(~pl.col("is_index"))
    if "superseded_at" in stocks.columns:
        stocks = stocks.filter((pl.col("superseded_at") > pl.col("known_at")).fill_null(value=True))
    return stocks.select(*KEYS, "adjusted_close").sort("symbol", "date", "known_at")


def _first_told(versions: pl.DataFrame, as_of: datetime | None) -> pl.DataFrame:
    """Return the bars as they were first told, sorted by symbol and date, without those told out of order."""
    first = versions.unique(ROW, keep="first", maintain_order=True)
    if as_of is not None:
        first = first.filter(pl.col("known_at") <= as_of)
    later_known_at = pl.col("known_at").shift(-1).cum_min(reverse=True).over("symbol")
    return first.filter((pl.col("known_at") < later_known_at).fill_null(value=True))


def _labels(stocks: pl.DataFrame, versions: pl.DataFrame, label: Label) -> pl.DataFrame:
    """Return the forward return of each row, its label and the bar that reveals it; null while that bar is ahead."""
    horizon = -label.horizon_sessions
    ahead = stocks.select(
        "symbol",
        "date",
        price="adjusted_close",
        label_price=pl.col("adjusted_close").shift(horizon).over("symbol"),
        label_known_at=pl.col("known_at").shift(horizon).over("symbol"),
        label_date=pl.col("date").shift(horizon).over("symbol"),
    )
    if versions.height > stocks.height:
        ahead = _with_corrected_base(ahead, versions)
    forward = pl.col("label_price") / pl.col("price") - 1
    return ahead.select(
        forward.alias("forward_return"),
        (forward > label.threshold).cast(pl.Int8).alias("label"),
        "label_known_at",
        "label_date",
    )


def _with_corrected_base(ahead: pl.DataFrame, versions: pl.DataFrame) -> pl.DataFrame:
    """Take the price that each label starts from as it was known when the label became known."""
    told = versions.select("symbol", "date", told_at="known_at", told_price="adjusted_close").sort("told_at")
    corrected = (
        ahead.with_row_index("row__")
        .filter(pl.col("label_known_at").is_not_null())
        .sort("label_known_at")
        .join_asof(
            told,
            left_on="label_known_at",
            right_on="told_at",
            by=list(ROW),
            strategy="backward",
            check_sortedness=False,  # both sides are sorted here; polars can't check it within groups
        )
        .select("row__", "told_price")
    )
    joined = ahead.with_row_index("row__").join(corrected, on="row__", how="left").sort("row__")
    return joined.with_columns(price=pl.coalesce("told_price", "price")).drop("row__", "told_price")


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
