"""What a retrieval asks for: columns of views under their output names, and rows that name a symbol and a time.

Everything that can be wrong with a question is found here, before a file is opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

import polars as pl

from mlops_assets.features.spec import FeatureReference, FeatureView
from mlops_assets.kernel.errors import MissingColumns, PlatformError, UnknownReference

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

ALL = "*"


class InvalidRequest(PlatformError):
    """A question to the feature store can't be answered as it is put."""

    code: ClassVar[str] = "invalid_request"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedView:
    """The columns wanted of one view: output name by column. `asked_as` is the view's name or one with its major."""

    view: FeatureView
    asked_as: str
    names: Mapping[str, str]
    ttl: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Views in order of first mention, and output names in order of the question."""

    views: tuple[RequestedView, ...]
    names: tuple[str, ...]

    @classmethod
    def of(
        cls,
        features: Sequence[str],
        views: Mapping[str, FeatureView],
        *,
        full_names: bool = False,
        ttl: Mapping[str, timedelta] | None = None,
        taken: Sequence[str] = (),
    ) -> Request:
        """Understand a list of `view`, `view.*` and `view.column`, where a view may be pinned as `view_v1`.

        Args:
            views: the declared views by name.
            full_names: call the output `view__column` instead of `column`.
            ttl: by view, another age limit than the declared one; zero means any age.
            taken: names that the entity rows have already.

        Raises:
            UnknownReference: if there is no such view, major version or column.
            InvalidRequest: if nothing is asked for, or two columns get the same name.
        """
        if isinstance(features, str) or not features or not all(isinstance(one, str) for one in features):
            raise InvalidRequest(
                'features: ask for at least one, as a list like ["momentum.return_1d", "volatility.*"]'
            )
        wanted = dict.fromkeys(one for text in features for one in _references(text, views))
        names = {one: f"{one.view}__{one.column}" if full_names else one.column for one in wanted}
        _check_names(names, taken, full_names=full_names)
        limits = _limits(ttl or {}, list(dict.fromkeys(one.view for one in wanted)))
        return cls(
            views=tuple(
                RequestedView(
                    view=find_view(asked_as, views),
                    asked_as=asked_as,
                    names={one.column: name for one, name in names.items() if one.view == asked_as},
                    ttl=limits.get(asked_as, find_view(asked_as, views).ttl),
                )
                for asked_as in dict.fromkeys(one.view for one in wanted)
            ),
            names=tuple(names.values()),
        )


def find_view(name: str, views: Mapping[str, FeatureView]) -> FeatureView:
    """Return the view of that name, or of that name followed by its major version.

    Raises:
        UnknownReference: if there is none.
    """
    if (found := views.get(name)) is not None:
        return found
    pinned = {
        f"{view.name}_v{view.major}": view for view in views.values() if not view.name.endswith(f"_v{view.major}")
    }
    if (found := pinned.get(name)) is None:
        raise UnknownReference(
            kind="feature view", name=name, known={*views, *pinned}, asked_by="retrieval", field="features"
        )
    return found


def entity_rows(entities: pl.DataFrame | pd.DataFrame | pa.Table, *, at: str) -> pl.DataFrame:
    """Return the caller's rows as a polars frame with a string `symbol` and an aware time in column `at`.

    A pandas index is dropped. A null symbol is allowed: nothing is known of it.

    Raises:
        MissingColumns: if `symbol` or `at` is missing.
        InvalidRequest: if the table is of another kind, a column has a wrong type, or a time is null or naive.
    """
    rows = _polars(entities)
    if missing := [name for name in ("symbol", at) if name not in rows.columns]:
        raise MissingColumns(
            asked_by="retrieval: entities",
            missing=missing,
            available=rows.columns,
            remedy="Each row needs a symbol and a time; name the time's column with at=.",
        )
    symbol, time = rows.schema["symbol"], rows.schema[at]
    if not (symbol in (pl.String, pl.Null) or isinstance(symbol, pl.Categorical | pl.Enum)):
        raise InvalidRequest(f"entities: column 'symbol' is {symbol}; give tickers as strings")
    if not isinstance(time, pl.Datetime):
        raise InvalidRequest(
            f"entities: column {at!r} is {time}; give instants, for a session its close: "
            'pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone("America/New_York").dt.offset_by("16h")'
        )
    if time.time_zone is None:
        raise InvalidRequest(
            f"entities: column {at!r} has no time zone, so it could be meant in any; say which: "
            f'pl.col("{at}").dt.replace_time_zone("UTC"), in pandas .dt.tz_localize("UTC")'
        )
    if nulls := rows[at].null_count():
        first = int(rows[at].is_null().arg_true()[0])
        raise InvalidRequest(f"entities: column {at!r} is null in {nulls} rows, first in row {first}; drop them")
    return rows


def _polars(entities: object) -> pl.DataFrame:
    if isinstance(entities, pl.DataFrame):
        return entities
    kind = type(entities)
    library = kind.__module__.partition(".")[0]
    if (library, kind.__name__) not in _TABLES:
        raise InvalidRequest(f"entities: {library}.{kind.__name__} is no table; give a polars, pandas or Arrow one")
    import pyarrow as pa

    try:
        table: pa.Table = entities if library == "pyarrow" else pa.Table.from_pandas(entities, preserve_index=False)  # pyright: ignore[reportAssignmentType, reportArgumentType, reportUnknownMemberType, reportUnknownVariableType]
        return pl.DataFrame(table)
    except (pa.ArrowException, pl.exceptions.PolarsError) as error:
        raise InvalidRequest(f"entities: a column mixes types or has one without counterpart: {error}") from error


_TABLES = (("pandas", "DataFrame"), ("pyarrow", "Table"))


def _references(text: str, views: Mapping[str, FeatureView]) -> Sequence[FeatureReference]:
    name, _, column = text.partition(".")
    view = find_view(name, views)
    if column in ("", ALL):
        return [FeatureReference(view=name, column=one) for one in view.column_names]
    if column not in view.column_names:
        raise UnknownReference(
            kind=f"column of {name}", name=column, known=view.column_names, asked_by="retrieval", field="features"
        )
    return [FeatureReference(view=name, column=column)]


def _check_names(names: Mapping[FeatureReference, str], taken: Sequence[str], *, full_names: bool) -> None:
    users: dict[str, list[str]] = {name: [f"column {name!r} of the entities"] for name in taken}
    for one, name in names.items():
        users.setdefault(name, []).append(str(one))
    if clashes := [" and ".join(of) for of in users.values() if len(of) > 1]:
        remedy = "rename the entities' column" if full_names else "ask with full_names=True, or rename the entities'"
        raise InvalidRequest(f"features: the same output name for {'; '.join(clashes)}; {remedy}")


def _limits(ttl: Mapping[str, timedelta], asked: Sequence[str]) -> Mapping[str, timedelta]:
    for name, limit in ttl.items():
        if name not in asked:
            raise UnknownReference(kind="requested view", name=name, known=asked, asked_by="retrieval", field="ttl")
        if not isinstance(limit, timedelta):
            raise InvalidRequest(f"ttl: that of {name} is {limit!r}; give a timedelta such as timedelta(days=7)")
        if limit < timedelta(0):
            raise InvalidRequest(f"ttl: that of {name} is negative; zero means any age")
    return ttl
