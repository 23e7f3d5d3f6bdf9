"""What is checked of a frozen training set: nothing was known later than its row, and folds do not touch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import dagster as dg

from mlops_assets.features.freezing import Sources, sources_behind
from mlops_assets.features.leakage import find_leaks
from mlops_assets.features.quality import fold_overlaps
from mlops_assets.features.spec import FeatureView, TrainingSet
from mlops_assets.features.view_checks import bars_behind
from mlops_assets.orchestration.declared import key
from mlops_assets.orchestration.timing import check_when_refreshed
from mlops_assets.storage.parquet.snapshots import SnapshotStore

_SHOWN = 20


def training_set_checks(spec: TrainingSet, views: Mapping[str, FeatureView]) -> list[dg.AssetChecksDefinition]:
    """Return the checks of a training set; `views` are all that are declared, by name."""
    asset = key(spec.dataset)

    @dg.asset_check(
        asset=asset,
        automation_condition=check_when_refreshed(),
        blocking=True,
        description=(
            "Every feature was known at its row's instant and every label only after it: traced to the snapshots it "
            "was made from, and built again from what was known at cuts."
        ),
    )
    def nothing_known_later(snapshots: dg.ResourceParam[SnapshotStore]) -> dg.AssetCheckResult:
        published = snapshots.head(spec.dataset)
        sources = sources_behind(published, {name: views[name] for name in spec.views}, snapshots)
        other_bars, other_versions = list(_of_other_bars(sources, snapshots)), list(_of_other_versions(sources, views))
        report = find_leaks(
            spec,
            snapshots.frame(published),
            sources.knowledge.rows,
            sources.values,
            views,
            is_rebuilt=not (other_bars or other_versions),
            seed=int(published.fingerprint[:8], 16),
        )
        leaks = [str(leak) for leak in report.leaks[:_SHOWN]]
        problems = [*leaks, *other_bars]
        counted = (
            f"{report.rows_traced:,} rows traced, {report.rows_compared:,} built again over {len(report.cuts)} cuts"
        )
        return dg.AssetCheckResult(
            passed=report.is_clean and not problems,
            description=problems[0] if problems else counted,
            metadata={
                "leaks": leaks,
                "not_built_again": [*other_bars, *other_versions],
                "rows_traced": report.rows_traced,
                "rows_searched": report.rows_searched,
                "labels_made_again": report.labels_made_again,
                "rows_compared": report.rows_compared,
                "cuts": [cut.date.isoformat() for cut in report.cuts],
                "snapshot": published.id,
                "snapshots_used": [one.id for one in sources.used],
            },
        )

    @dg.asset_check(
        asset=asset,
        automation_condition=check_when_refreshed(),
        blocking=True,
        description="No label of a fold reaches into the next.",
    )
    def folds_do_not_touch(snapshots: dg.ResourceParam[SnapshotStore]) -> dg.AssetCheckResult:
        overlaps = fold_overlaps(snapshots.frame(snapshots.head(spec.dataset)))
        return dg.AssetCheckResult(passed=not overlaps, metadata={"overlaps": overlaps})

    return [nothing_known_later, folds_do_not_touch]


def _of_other_bars(sources: Sources, snapshots: SnapshotStore) -> Iterator[str]:
    """Say which views were made from other bars than the set: its newest rows would miss features."""
    bars = sources.knowledge.bars
    for published in sources.snapshots.values():
        if (behind := bars_behind(snapshots, published)).fingerprint != bars.fingerprint:
            yield (
                f"{published.id} was made from {behind.id}, and this set from {bars.id}: materialise "
                f"{published.dataset} and this set again"
            )


def _of_other_versions(sources: Sources, views: Mapping[str, FeatureView]) -> Iterator[str]:
    """Say which views were computed by another version than the declared one, after a rollback for instance."""
    for name, version in sources.versions.items():
        if version != views[name].version:
            yield f"{sources.snapshots[name].id} was computed by version {version} of {name}, not by the declared one"
