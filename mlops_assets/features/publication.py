"""How a view becomes a snapshot: what changed since the last one is computed, and written, and no more.

The rows are those of a full computation, byte for byte. A symbol whose bars changed is computed over its whole history:
smoothers such as Wilder's depend on all of it. A view of days computes the days whose inputs changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import polars as pl

from mlops_assets.features.knowledge import Known, affected_groups, in_order, latest_known, year_chunks
from mlops_assets.features.lineage import MADE_OF
from mlops_assets.features.spec import FeatureView
from mlops_assets.features.statistics import statistics
from mlops_assets.features.view import KEYS
from mlops_assets.kernel.errors import IntegrityViolation
from mlops_assets.market_data.bars import BARS
from mlops_assets.market_data.knowledge import read_knowledge
from mlops_assets.storage.parquet.snapshots import Provenance, Snapshot, SnapshotFile, SnapshotStore

if TYPE_CHECKING:
    import pyarrow as pa

    from mlops_assets.kernel.fingerprint import Json

_MADE_FROM = "made_from"
_NEEDED = (*KEYS, "adjusted_close", "volume", "is_index", "superseded_at")
"""What is read of the bars beside the inputs of the view; split_factor asks whether there is a volume."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedView:
    """A view's snapshot and its rows.

    Attributes:
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
class _Inputs:
    known: Known
    fingerprints: Mapping[str, str]
    versions: Mapping[str, int]


def publish_view(
    view: FeatureView, views: Mapping[str, FeatureView], snapshots: SnapshotStore, *, code_version: str, actor: str
) -> PublishedView:
    """Compute a view from the heads of what it reads and publish it.

    Args:
        views: those it may read, by name.

    Raises:
        NotFound: if something it reads is not published.
        BrokenView: if its expressions do not give what it declares.
    """
    heads = {name: snapshots.head(views[name].dataset) for name in view.upstream_views}
    inputs = _inputs(view, snapshots, snapshots.head(BARS), heads)
    previous = snapshots.find_head(view.dataset)
    if previous is not None and previous.code_version != code_version:
        previous = None
    before = None if previous is None else _rows(snapshots, previous)
    groups = None if previous is None or before is None else _changed(view, views, snapshots, previous, inputs.known)
    if before is None or groups is None:
        rows = inputs.known.compute(None)
    else:
        rows = _with_recomputed(before, inputs.known, groups)
    restated = rows.height - latest_known(rows.select("symbol", "date", "known_at")).height
    details: dict[str, Json] = {
        "view_version": view.version,
        "unavailable": {name: list(lacks) for name, lacks in inputs.known.lacking.items()},
        "restated_rows": restated,
        "statistics": cast("Json", statistics(rows, view.columns)),
        _MADE_FROM: dict(inputs.versions),
    }
    published = snapshots.publish(
        view.dataset,
        _chunks(rows, previous, before),
        provenance=Provenance(code_version=code_version, inputs=inputs.fingerprints, details=details),
        actor=actor,
    )
    return PublishedView(
        snapshot=published,
        rows=rows,
        lacking=inputs.known.lacking,
        restated_rows=restated,
        groups_computed=None if groups is None else len(groups),
    )


def _inputs(view: FeatureView, snapshots: SnapshotStore, bars: Snapshot, upstream: Mapping[str, Snapshot]) -> _Inputs:
    knowledge = read_knowledge(snapshots, bars)
    read = {column for name in view.bar_inputs for column in MADE_OF.get(name, (name,))}
    kept = [name for name in knowledge.rows.columns if name in {*_NEEDED, *read}]
    values = {name: _frame(snapshots, head, _columns_read(view, name)) for name, head in upstream.items()}
    return _Inputs(
        known=Known.of(view, knowledge.rows.select(kept), values),
        fingerprints={**knowledge.inputs, **{one.dataset: one.fingerprint for one in upstream.values()}},
        versions={one.dataset: one.version for one in (*upstream.values(), bars)},
    )


def _columns_read(view: FeatureView, upstream: str) -> list[str]:
    return [*KEYS, *(one.column for one in view.upstream if one.view == upstream)]


def _changed(
    view: FeatureView, views: Mapping[str, FeatureView], snapshots: SnapshotStore, previous: Snapshot, now: Known
) -> set[object] | None:
    """Return the groups whose inputs are others than those of the last snapshot, or None if that can't be told."""
    made_from = previous.details.get(_MADE_FROM)
    if not isinstance(made_from, Mapping):
        return None
    names = {BARS: BARS, **{name: views[name].dataset for name in view.upstream_views}}
    versions = {name: made_from.get(dataset) for name, dataset in names.items()}
    if not all(isinstance(version, int) for version in versions.values()):
        return None
    try:
        bars, *upstream = (snapshots.get(names[name], cast("int", version)) for name, version in versions.items())
        before = _inputs(view, snapshots, bars, dict(zip(view.upstream_views, upstream, strict=True))).known
    except IntegrityViolation:
        return None
    groups = affected_groups(before, now)
    return None if groups is None or groups >= now.groups else groups


def _with_recomputed(before: pl.DataFrame, known: Known, groups: set[object]) -> pl.DataFrame:
    """Return the rows of the last snapshot with those of some groups computed anew."""
    if not groups:
        return before
    changed = pl.Series(list(groups), dtype=before[known.group].dtype)
    kept = before.filter(~pl.col(known.group).is_in(changed.implode()))
    return in_order(pl.concat([kept, known.compute(groups)]))


def _chunks(
    rows: pl.DataFrame, previous: Snapshot | None, before: pl.DataFrame | None
) -> list[pa.Table | SnapshotFile]:
    """Return the chunks to publish; one whose rows the last snapshot has in a file is that file."""
    files = dict[int, tuple[SnapshotFile, pl.DataFrame]]()
    if previous is not None and before is not None:
        start = 0
        for position, file in enumerate(previous.files):
            files[position] = (file, before.slice(start, file.row_count))
            start += file.row_count
    chunks: list[pa.Table | SnapshotFile] = []
    for position, chunk in enumerate(year_chunks(rows)):
        file, held = files.get(position, (None, None))
        chunks.append(file if file is not None and held is not None and held.equals(chunk) else chunk.to_arrow())
    return chunks


def _rows(snapshots: SnapshotStore, previous: Snapshot) -> pl.DataFrame | None:
    """Return the rows of the last snapshot, or None if its files are damaged."""
    try:
        return _frame(snapshots, previous)
    except IntegrityViolation:
        return None


def _frame(snapshots: SnapshotStore, published: Snapshot, columns: Sequence[str] | None = None) -> pl.DataFrame:
    return pl.DataFrame(snapshots.read(published, columns))
