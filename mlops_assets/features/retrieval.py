"""What were these features at these times? Rows as known then, and a record from which the same rows can be had again.

`FeatureStore` is the door for research, training and serving alike: `training_set` joins any number of views to
(symbol, time) rows, `latest` reads the values of symbols now or at one time, `again` repeats a recorded retrieval on
the snapshots it used. How rows win is in `point_in_time`, which files are read is in `chunks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from mlops_assets.features.chunks import KEYS, FileReader, Files, Reader, Rule, answer, groups_of
from mlops_assets.features.online import Remembered, RememberedReader
from mlops_assets.features.point_in_time import Questions
from mlops_assets.features.requested import InvalidRequest, Request, RequestedView, entity_rows
from mlops_assets.features.spec import FeatureView
from mlops_assets.kernel.errors import Conflict, MissingColumns, NotFound
from mlops_assets.kernel.fingerprint import Json, fingerprint
from mlops_assets.storage.parquet.snapshots import Snapshot

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


LAST_INSTANT = datetime(9999, 12, 31, tzinfo=UTC)
"""Later than any event: what is asked for when no time is."""


class Snapshots(Files, Protocol):
    """What a retrieval needs of the store of snapshots."""

    def find_head(self, dataset: str) -> Snapshot | None: ...

    def get(self, dataset: str, version: int) -> Snapshot: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedView:
    """What was read of one view. `view` is its name as asked for, `columns` the output name by column."""

    view: str
    version: str
    dataset: str
    snapshot: int
    fingerprint: str
    ttl: timedelta
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """Everything that decides the values of a retrieval beside its entity rows: write it down beside the rows."""

    views: tuple[UsedView, ...]
    names: tuple[str, ...]
    as_of: datetime | None = None
    with_hindsight: bool = False

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.to_json())

    @property
    def inputs(self) -> dict[str, str]:
        """The fingerprint of each snapshot read, by dataset: the inputs of a `Provenance`."""
        return {used.dataset: used.fingerprint for used in self.views}

    def to_json(self) -> dict[str, Json]:
        return {
            "views": [
                {
                    "view": used.view,
                    "version": used.version,
                    "dataset": used.dataset,
                    "snapshot": used.snapshot,
                    "fingerprint": used.fingerprint,
                    "ttl_seconds": used.ttl.total_seconds(),
                    "columns": dict(used.columns),
                }
                for used in self.views
            ],
            "names": list(self.names),
            "as_of": None if self.as_of is None else self.as_of.astimezone(UTC).isoformat(),
            "with_hindsight": self.with_hindsight,
        }

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Retrieval:
        """Read what `to_json` wrote."""
        as_of = written["as_of"]
        return cls(
            views=tuple(
                UsedView(
                    view=one["view"],
                    version=one["version"],
                    dataset=one["dataset"],
                    snapshot=one["snapshot"],
                    fingerprint=one["fingerprint"],
                    ttl=timedelta(seconds=one["ttl_seconds"]),
                    columns=dict(one["columns"]),
                )
                for one in written["views"]
            ),
            names=tuple(written["names"]),
            as_of=None if as_of is None else datetime.fromisoformat(as_of),
            with_hindsight=written["with_hindsight"],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Retrieved:
    """The entity rows with their features, and how they were found."""

    rows: pl.DataFrame
    retrieval: Retrieval


class FeatureStore:
    """Serves the published rows of declared views."""

    def __init__(
        self, snapshots: Snapshots, views: Iterable[FeatureView], *, remembered: Remembered | None = None
    ) -> None:
        self._snapshots = snapshots
        self._views = {view.name: view for view in views}
        self._remembered = remembered or Remembered()

    def training_set(
        self,
        entities: pl.DataFrame | pd.DataFrame | pa.Table,
        features: Sequence[str],
        *,
        as_of: datetime | None = None,
        at: str = "at",
        full_names: bool = False,
        ttl: Mapping[str, timedelta] | None = None,
        with_hindsight: bool = False,
    ) -> Retrieved:
        """Add features to rows that name a symbol and a time, as they were known at that time.

        Every row comes back, in its order and with its other columns; what is not known there is null, also for
        symbols never seen.

        Args:
            entities: rows with `symbol` and an aware time in column `at`.
            features: `view.column`, `view.*` or `view`; a view may be pinned to a major version as `view_v1`.
            as_of: answer as one would have on this date: no later event, no later knowledge.
            full_names: call the output `view__column` instead of `column`.
            ttl: by view, another age limit than the declared one; zero means any age.
            with_hindsight: use what is known today (or on `as_of`) also for rows before it was known. For comparing,
                never for training.

        Raises:
            InvalidRequest: if the question is wrong; also MissingColumns and UnknownReference, see `requested`.
            NotFound: if a view was never published.
            IntegrityViolation: if a file is not what was published.
        """
        rows = entity_rows(entities, at=at)
        request = Request.of(features, self._views, full_names=full_names, ttl=ttl, taken=rows.columns)
        heads = self._heads(request.views)
        retrieval = Retrieval(
            views=tuple(_used(one, heads[one.asked_as]) for one in request.views),
            names=request.names,
            as_of=_aware(as_of),
            with_hindsight=with_hindsight,
        )
        return Retrieved(rows=self._read(rows, at, retrieval, heads), retrieval=retrieval)

    def again(
        self, entities: pl.DataFrame | pd.DataFrame | pa.Table, retrieval: Retrieval, *, at: str = "at"
    ) -> Retrieved:
        """Repeat a recorded retrieval on the snapshots it used, whatever was published or declared since.

        Raises:
            Conflict: if a snapshot of that number has another content.
        """
        rows = entity_rows(entities, at=at)
        used = {one.view: self._snapshots.get(one.dataset, one.snapshot) for one in retrieval.views}
        for one in retrieval.views:
            if used[one.view].fingerprint != one.fingerprint:
                raise Conflict(
                    f"{used[one.view].id} has fingerprint {used[one.view].fingerprint}, but the retrieval used "
                    f"{one.fingerprint}; it was recorded on another platform. Nothing was read."
                )
        return Retrieved(rows=self._read(rows, at, retrieval, used), retrieval=retrieval)

    def latest(
        self,
        symbols: Sequence[str],
        features: Sequence[str],
        *,
        as_of: datetime | None = None,
        full_names: bool = False,
        with_times: bool = False,
    ) -> Retrieved:
        """Return one row for each symbol: its newest values, or those that held at `as_of`.

        With `as_of` this is `training_set` at that time, TTL included. Without, it is the newest known row whatever
        its age, so ask for its times when age matters. Files are remembered between calls; each call looks up the
        head, so that a new snapshot is seen at once.

        Args:
            with_times: add `<view>__event_at` and `<view>__known_at`.

        Raises:
            InvalidRequest: if the question is wrong; also UnknownReference, see `requested`.
            NotFound: if a view was never published.
            IntegrityViolation: if a file that is read for the first time is not what was published.
        """
        if isinstance(symbols, str):
            raise InvalidRequest(f"symbols: give a list, for one symbol [{symbols!r}]")
        if strange := [one for one in symbols if not (one is None or isinstance(one, str))]:
            raise InvalidRequest(f"symbols: {strange[0]!r} is no ticker; give them as strings")
        rows = pl.DataFrame({"symbol": list(symbols)}, schema={"symbol": pl.String})
        request = Request.of(features, self._views, full_names=full_names, taken=rows.columns)
        heads = self._heads(request.views)
        at = _aware(as_of)
        used = [_used(one, heads[one.asked_as], with_times=with_times) for one in request.views]
        if at is None:
            used = [replace(one, ttl=timedelta(0)) for one in used]
        names = (*request.names, *(name for one in used for name in one.columns.values() if name not in request.names))
        retrieval = Retrieval(views=tuple(used), names=names, as_of=at)
        questions = Questions.at_once(symbols, at or LAST_INSTANT)
        parts = [
            self._answer(
                questions,
                RememberedReader(self._snapshots, heads[one.view], self._remembered),
                heads[one.view],
                one,
                Rule(ttl=one.ttl),
                rows.height,
            )
            for one in used
        ]
        return Retrieved(rows=_beside(rows, parts, names), retrieval=retrieval)

    def _read(self, rows: pl.DataFrame, at: str, retrieval: Retrieval, used: Mapping[str, Snapshot]) -> pl.DataFrame:
        questions = Questions.of(rows["symbol"], rows[at])
        parts = list[pl.DataFrame]()
        for one in retrieval.views:
            rule = Rule(ttl=one.ttl, as_of=retrieval.as_of, with_hindsight=retrieval.with_hindsight)
            published = used[one.view]
            reader = FileReader(self._snapshots, published)
            parts.append(self._answer(questions, reader, published, one, rule, rows.height))
        return _beside(rows, parts, retrieval.names)

    def _answer(
        self, questions: Questions, reader: Reader, published: Snapshot, used: UsedView, rule: Rule, count: int
    ) -> pl.DataFrame:
        found = answer(questions, groups_of(published.files), reader, list(used.columns), rule, count)
        return pl.DataFrame([found.get_column(name).alias(output) for name, output in used.columns.items()])

    def _heads(self, views: Sequence[RequestedView]) -> dict[str, Snapshot]:
        """Return the published head of each view, by the name it was asked as; it has the columns."""
        heads = {one.asked_as: self._head(one.view) for one in views}
        for one in views:
            published = heads[one.asked_as]
            if missing := {*KEYS, *one.names} - published.schema.keys():
                raise MissingColumns(
                    asked_by=f"retrieval of {one.asked_as}",
                    missing=missing,
                    available=published.schema,
                    remedy=f"{published.id} holds another version than {one.view.version}, which is declared: "
                    f"name the columns you want, or materialise {one.view.dataset} again.",
                )
        return heads

    def _head(self, view: FeatureView) -> Snapshot:
        if (found := self._snapshots.find_head(view.dataset)) is None:
            raise NotFound(
                kind="dataset", name=view.dataset, remedy=f"Materialise the asset {view.dataset} before you read it."
            )
        return found


def _used(one: RequestedView, published: Snapshot, *, with_times: bool = False) -> UsedView:
    times = {name: f"{one.asked_as}__{name}" for name in ("event_at", "known_at")} if with_times else {}
    return UsedView(
        view=one.asked_as,
        version=str(published.details.get("view_version", one.view.version)),
        dataset=published.dataset,
        snapshot=published.version,
        fingerprint=published.fingerprint,
        ttl=one.ttl,
        columns={**one.names, **times},
    )


def _beside(rows: pl.DataFrame, parts: Sequence[pl.DataFrame], names: Sequence[str]) -> pl.DataFrame:
    found = {column.name: column for part in (rows, *parts) for column in part.iter_columns()}
    return pl.DataFrame([found[name] for name in (*rows.columns, *names)])


def _aware(as_of: datetime | None) -> datetime | None:
    if as_of is not None and not isinstance(as_of, datetime):
        raise InvalidRequest(f"as_of: {as_of!r} is no instant; write it like datetime(2024, 6, 28, 21, tzinfo=UTC)")
    if as_of is not None and as_of.tzinfo is None:
        raise InvalidRequest(f"as_of: {as_of.isoformat()} has no time zone; write it like {as_of.isoformat()}+00:00")
    return as_of
