"""How a view becomes a snapshot: what changed since the last one is computed, and written, and no more.

The rows are those of a full computation, byte for byte. A symbol whose bars changed is computed over its whole history:
smoothers such as Wilder's depend on all of it. A view of days computes the days whose inputs changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, cast

import polars as pl

from mlops_assets.features.changes import Inputs, bar_columns, bits, changed_groups, columns_read, rows_of_groups
from mlops_assets.features.knowledge import Known, group_of, in_order, is_among
from mlops_assets.features.spec import FeatureView
from mlops_assets.features.statistics import statistics
from mlops_assets.kernel.errors import IntegrityViolation
from mlops_assets.market_data.bars import BARS
from mlops_assets.market_data.knowledge import read_knowledge
from mlops_assets.storage.parquet.files import SnapshotFile
from mlops_assets.storage.parquet.snapshots import Provenance, Snapshot, SnapshotStore
from mlops_assets.storage.parquet.years import CHUNK_ROWS, year_chunks, year_spans

if TYPE_CHECKING:
    from mlops_assets.kernel.fingerprint import Json

_MADE_FROM = "made_from"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedView:
    """A view's snapshot and its rows.

    Attributes:
        rows: sorted by symbol, date and `known_at` within each file.
        lacking: the columns that are null because a source lacks inputs, with these inputs.
        restated_rows: rows beside the first of their symbol and date.
        groups_computed: how many symbols, or days for a view of days, were computed; None for all.
    """

    snapshot: Snapshot
    rows: pl.DataFrame
    lacking: Mapping[str, tuple[str, ...]]
    restated_rows: int
    groups_computed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chunk:
    """Rows of whole years, and the file of the last snapshot that holds them, if there is one."""

    rows: pl.DataFrame
    file: SnapshotFile | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Computed:
    chunks: Sequence[_Chunk]
    lacking: Mapping[str, tuple[str, ...]]
    groups_computed: int | None


def publish_view(
    view: FeatureView,
    views: Mapping[str, FeatureView],
    snapshots: SnapshotStore,
    *,
    code_version: str,
    actor: str,
    chunk_rows: int = CHUNK_ROWS,
) -> PublishedView:
    """Compute a view from the heads of what it reads and publish it.

    Args:
        views: those it may read, by name.
        chunk_rows: how many rows a file has at least, but for the last one.

    Raises:
        NotFound: if something it reads is not published.
        BrokenView: if its expressions do not give what it declares.
    """
    bars = snapshots.head(BARS)
    inputs = Inputs.of(snapshots, bars, {name: snapshots.head(views[name].dataset) for name in view.upstream_views})
    previous = snapshots.find_head(view.dataset)
    held = None if previous is None or previous.code_version != code_version else _held(snapshots, previous)
    done = None if held is None or previous is None else _changed(view, views, snapshots, previous, held, inputs)
    if done is None:
        known = _known(view, snapshots, inputs)
        computed = _with_files(year_chunks(known.compute(None), chunk_rows), held or [])
        done = _Computed(chunks=computed, lacking=known.lacking, groups_computed=None)
    chunks = _by_span(done.chunks, chunk_rows)
    # One piece of memory: quantiles of many pieces cost eight times as much.
    rows = pl.concat((chunk.rows for chunk in chunks), rechunk=True)
    is_again = (pl.col("symbol") == pl.col("symbol").shift()) & (pl.col("date") == pl.col("date").shift())
    restated = int(rows.select(is_again.sum()).item())
    used = (*inputs.upstream.values(), inputs.bars)
    details: dict[str, Json] = {
        "view_version": view.version,
        "views": {view.name: view.version},
        "features": list(view.column_names),
        "unavailable": {name: list(lacks) for name, lacks in done.lacking.items()},
        "restated_rows": restated,
        "statistics": cast("Json", statistics(rows, view.columns)),
        _MADE_FROM: {one.dataset: one.version for one in used},
    }
    restatements = () if inputs.restatements is None else (inputs.restatements,)
    published = snapshots.publish(
        view.dataset,
        [chunk.file or chunk.rows.to_arrow() for chunk in chunks],
        provenance=Provenance(
            code_version=code_version,
            inputs={one.dataset: one.fingerprint for one in (bars, *restatements, *inputs.upstream.values())},
            details=details,
        ),
        actor=actor,
    )
    return PublishedView(
        snapshot=published,
        rows=rows,
        lacking=done.lacking,
        restated_rows=restated,
        groups_computed=done.groups_computed,
    )


def _changed(
    view: FeatureView,
    views: Mapping[str, FeatureView],
    snapshots: SnapshotStore,
    previous: Snapshot,
    held: Sequence[_Chunk],
    inputs: Inputs,
) -> _Computed | None:
    """Compute what changed since the last snapshot, or return None if that can't be told or is everything."""
    before, lacked = _inputs_behind(view, views, snapshots, previous), _lacking(previous)
    if before is None or lacked is None:
        return None
    try:
        groups = changed_groups(view, snapshots, before, inputs)
    except IntegrityViolation:
        return None
    if groups is None or groups >= {group for chunk in held for group in chunk.rows[group_of(view)].unique()}:
        return None
    if not groups:
        return _Computed(chunks=held, lacking=lacked, groups_computed=0)
    known = _known_of(groups, view, snapshots, inputs)
    if known.lacking != lacked:
        return None
    chunks = _with_computed(held, known.compute(groups), group_of(view), groups)
    return _Computed(chunks=chunks, lacking=lacked, groups_computed=len(groups))


def _inputs_behind(
    view: FeatureView, views: Mapping[str, FeatureView], snapshots: SnapshotStore, previous: Snapshot
) -> Inputs | None:
    """Return what a snapshot was made from, or None if it does not say."""
    made_from = previous.details.get(_MADE_FROM)
    datasets = {BARS: BARS, **{name: views[name].dataset for name in view.upstream_views}}
    versions = {name: made_from.get(one) if isinstance(made_from, Mapping) else None for name, one in datasets.items()}
    if not all(isinstance(version, int) for version in versions.values()):
        return None
    found = {name: snapshots.get(datasets[name], cast("int", version)) for name, version in versions.items()}
    return Inputs.of(snapshots, found.pop(BARS), found)


def _lacking(previous: Snapshot) -> Mapping[str, tuple[str, ...]] | None:
    said = previous.details.get("unavailable")
    return {name: tuple(cast("list[str]", one)) for name, one in said.items()} if isinstance(said, Mapping) else None


def _known(view: FeatureView, snapshots: SnapshotStore, inputs: Inputs) -> Known:
    bars = read_knowledge(snapshots, inputs.bars, bar_columns(view)).rows
    values = {name: snapshots.frame(one, columns_read(view, name)) for name, one in inputs.upstream.items()}
    return Known.of(view, bars, values)


def _known_of(groups: Collection[object], view: FeatureView, snapshots: SnapshotStore, inputs: Inputs) -> Known:
    """Return what is known: of some groups alone where they tell by themselves which columns can be computed."""
    bars = read_knowledge(snapshots, inputs.bars, bar_columns(view)).rows
    values = {
        name: rows_of_groups(snapshots, one, columns_read(view, name), group_of(view), groups)
        for name, one in inputs.upstream.items()
    }
    known = Known.of(view, bars, values, groups=groups)
    return _known(view, snapshots, inputs) if known.lacking else known  # what some groups have, all of them have


def _with_computed(
    held: Sequence[_Chunk], computed: pl.DataFrame, group: str, groups: Collection[object]
) -> list[_Chunk]:
    """Return the last snapshot's chunks with some groups' rows replaced; a chunk in which they are equal stays."""
    year, chunks, left = pl.col("date").dt.year(), list[_Chunk](), computed
    for chunk in held:
        first, last = chunk.rows.select(first=year.min(), last=year.max()).row(0)
        of_chunk = left.filter(year.is_between(first, last))
        left = left.filter(~year.is_between(first, last))
        is_replaced = is_among(group, groups)
        if bits(chunk.rows.filter(is_replaced)).equals(bits(of_chunk)):
            chunks.append(chunk)
        else:
            chunks.append(_Chunk(rows=in_order(pl.concat([chunk.rows.filter(~is_replaced), of_chunk]))))
    return [*chunks, _Chunk(rows=left)]


def _by_span(chunks: Sequence[_Chunk], chunk_rows: int) -> list[_Chunk]:
    """Return chunks of the years that a full publication would give them; those that are of such years stay."""
    years = [chunk.rows.select(year=pl.col("date").dt.year())["year"] for chunk in chunks]
    spans = year_spans(pl.concat(years), chunk_rows)
    held = {(found.min(), found.max()): chunk for found, chunk in zip(years, chunks, strict=True)}
    if not spans:
        return list(chunks[:1])
    if all(span in held for span in spans):
        return [held[span] for span in spans]
    rows = in_order(pl.concat(chunk.rows for chunk in chunks))
    whole = (_Chunk(rows=rows.filter(pl.col("date").dt.year().is_between(*span))) for span in spans)
    return [held.get(span, chunk) for span, chunk in zip(spans, whole, strict=True)]


def _with_files(chunks: Sequence[pl.DataFrame], held: Sequence[_Chunk]) -> list[_Chunk]:
    """Give each chunk the file of the last snapshot that holds the same rows at its place."""
    files = [*held, *(_Chunk(rows=rows) for rows in chunks[len(held) :])]
    return [
        _Chunk(rows=rows, file=one.file if bits(one.rows).equals(bits(rows)) else None)
        for rows, one in zip(chunks, files, strict=False)
    ]


def _held(snapshots: SnapshotStore, previous: Snapshot) -> list[_Chunk] | None:
    """Return the chunks of the last snapshot, or None if its files are damaged."""
    try:
        rows = snapshots.frame(previous)
    except IntegrityViolation:
        return None
    ends = accumulate(file.row_count for file in previous.files)
    return [
        _Chunk(rows=rows.slice(end - file.row_count, file.row_count), file=file)
        for file, end in zip(previous.files, ends, strict=True)
    ]
