"""How a training set becomes a snapshot that says what it is: query, versions and the exact snapshots it came from.

The file is plain Parquet and the details are JSON in the manifest: either can be read without this code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import polars as pl

from mlops_assets.features.spec import FeatureView, TrainingSet
from mlops_assets.features.statistics import correlations, statistics
from mlops_assets.features.training_set import build_training_set, declared_query, query_of
from mlops_assets.kernel.columns import Column
from mlops_assets.kernel.errors import PlatformError
from mlops_assets.market_data.bars import BARS
from mlops_assets.market_data.knowledge import BarsKnowledge, read_knowledge
from mlops_assets.storage.parquet.snapshots import Provenance, Snapshot, SnapshotStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from mlops_assets.kernel.fingerprint import Json

FORMAT = 1
"""Of the details; a reader years later looks here first."""


class BuiltOtherwise(PlatformError):
    """A training set was built before its declaration changed."""

    code = "built_otherwise"

    def __init__(self, *, dataset: str, moved: Sequence[str]) -> None:
        super().__init__(
            f"{dataset} was built before {', '.join(moved)} changed in its declaration; a version that learned from it "
            f"could not be reproduced. Materialise {dataset} first; `mlops up` does."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenSet:
    """A training set's snapshot and its rows."""

    snapshot: Snapshot
    rows: pl.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What a training set is made from: every version of the bars, and the published rows of its views, by name."""

    knowledge: BarsKnowledge
    snapshots: Mapping[str, Snapshot]
    values: Mapping[str, tuple[FeatureView, pl.DataFrame]]

    @property
    def versions(self) -> dict[str, str]:
        """By view, the version that computed its rows."""
        return {name: version_of(self.snapshots[name], view) for name, (view, _) in self.values.items()}

    @property
    def used(self) -> tuple[Snapshot, ...]:
        """The snapshots, bars first."""
        restatements = self.knowledge.restatements
        bars = (self.knowledge.bars,) if restatements is None else (self.knowledge.bars, restatements)
        return (*bars, *self.snapshots.values())


def publish_training_set(
    spec: TrainingSet, views: Mapping[str, FeatureView], snapshots: SnapshotStore, *, code_version: str, actor: str
) -> FrozenSet:
    """Build a training set from the heads of what it reads and publish it.

    Args:
        views: those it reads, by name.

    Raises:
        NotFound: if something it reads is not published.
        FeatureNotAvailable: if the source can't feed a feature. See `build_training_set` for what else is refused;
            nothing is published then.
    """
    heads = {name: snapshots.head(view.dataset) for name, view in views.items()}
    sources = read_sources(views, snapshots, bars=snapshots.head(BARS), heads=heads)
    rows = build_training_set(
        spec,
        sources.knowledge.rows,
        sources.values,
        lacking={
            name: cast("Mapping[str, Sequence[str]]", heads[name].details.get("unavailable", {})) for name in heads
        },
    )
    described = [_number(name) for name in (*spec.feature_names, "forward_return")]
    details: dict[str, Json] = {
        "format": FORMAT,
        "features": list(spec.feature_names),
        "views": dict(sources.versions),
        "query": query_of(spec, views, sources.versions),
        "snapshots": [
            {"dataset": one.dataset, "version": one.version, "fingerprint": one.fingerprint} for one in sources.used
        ],
        "made_from": {one.dataset: one.version for one in sources.used},
        "statistics": cast("Json", statistics(rows, described)),
        "correlation_matrix": cast("Json", correlations(rows, [*spec.feature_names, "forward_return"])),
    }
    published = snapshots.publish(
        spec.dataset,
        rows.to_arrow(),
        provenance=Provenance(
            code_version=code_version, inputs={one.dataset: one.fingerprint for one in sources.used}, details=details
        ),
        actor=actor,
    )
    return FrozenSet(snapshot=published, rows=rows)


def newest_of(spec: TrainingSet, snapshots: SnapshotStore) -> Snapshot:
    """Return the newest snapshot of a training set, if it holds what is declared now.

    Raises:
        NotFound: if there is none.
        BuiltOtherwise: if other features, another label or other folds were declared when it was built.
    """
    head = snapshots.head(spec.dataset)
    wanted = declared_query(spec)
    built = cast("Mapping[str, object]", head.details.get("query", wanted))
    if moved := [name for name in wanted if built.get(name) != wanted[name]]:
        raise BuiltOtherwise(dataset=spec.dataset, moved=moved)
    return head


def rebuild(
    spec: TrainingSet, published: Snapshot, views: Mapping[str, FeatureView], snapshots: SnapshotStore
) -> pa.Table:
    """Build a training set again from the very snapshots it was made from, and publish nothing.

    Raises:
        NotFound: if one of them is gone. See `build_training_set` for what else is refused.
    """
    behind = sources_behind(published, views, snapshots)
    return build_training_set(spec, behind.knowledge.rows, behind.values).to_arrow()


def read_sources(
    views: Mapping[str, FeatureView], snapshots: SnapshotStore, *, bars: Snapshot, heads: Mapping[str, Snapshot]
) -> Sources:
    """Read the given snapshots of bars and, by name, of views."""
    return Sources(
        knowledge=read_knowledge(snapshots, bars),
        snapshots=dict(heads),
        values={name: (view, snapshots.frame(heads[name])) for name, view in views.items()},
    )


def sources_behind(published: Snapshot, views: Mapping[str, FeatureView], snapshots: SnapshotStore) -> Sources:
    """Read the very snapshots that a training set was made from, however many came since.

    Raises:
        NotFound: if one of them is gone.
    """
    made_from = cast("Mapping[str, int]", published.details.get("made_from", {}))
    return read_sources(
        views,
        snapshots,
        bars=_behind(BARS, made_from, snapshots),
        heads={name: _behind(view.dataset, made_from, snapshots) for name, view in views.items()},
    )


def version_of(published: Snapshot, view: FeatureView) -> str:
    """Return the version of a view that computed a snapshot."""
    said = published.details.get("view_version")
    return said if isinstance(said, str) else view.version


def _behind(dataset: str, made_from: Mapping[str, int], snapshots: SnapshotStore) -> Snapshot:
    return snapshots.get(dataset, made_from[dataset]) if dataset in made_from else snapshots.head(dataset)


def _number(name: str) -> Column:
    return Column(name=name, type="float", description="")
