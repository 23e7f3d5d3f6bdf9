"""Which assets are not what they would become now: never made, made by other code, or made from other inputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph, AssetNode

from mlops_assets.orchestration.timing import BY_HAND, ON_CADENCE

_CODE_VERSION = "dagster/code_version"
_DATA_VERSION = "dagster/data_version"
_INPUT_VERSION = "dagster/input_data_version/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One asset, or one partition of it."""

    key: dg.AssetKey
    partition: str | None = None

    def __str__(self) -> str:
        name = self.key.to_user_string()
        return name if self.partition is None else f"{name}[{self.partition}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What the event log says of the newest materialisation of a target."""

    position: int
    code_version: str | None
    data_version: str | None
    input_versions: Mapping[str, str]


def stale_targets(
    graph: AssetGraph, instance: dg.DagsterInstance, *, changed: Collection[dg.AssetKey] = ()
) -> list[Target]:
    """Return the stale targets in an order in which they can be made.

    A target is stale if it was never made, if its code version moved, if an input has another data version than the one
    it was made from, if a blocking check of it failed, or if one of its inputs is stale. Of a target that refreshes on
    its cadence, inputs count only if they were never made or their code version moved. What is made by hand is never
    stale.

    Args:
        changed: assets whose source outside the graph changed.
    """
    made: dict[Target, Made | None] = {}
    targets_of: dict[dg.AssetKey, list[Target]] = {}
    stale: dict[Target, None] = {}
    has_other_code: set[Target] = set()
    for key in graph.toposorted_asset_keys:
        node = graph.get(key)
        partitions = node.partitions_def.get_partition_keys() if node.partitions_def else [None]
        targets_of[key] = [Target(key=key, partition=partition) for partition in partitions]
        inputs = [target for parent in node.parent_keys for target in targets_of[parent]]
        has_failed_check = has_failed_blocking_check(instance, graph, key)
        is_patient = node.automation_condition is not None and node.automation_condition.get_label() == ON_CADENCE
        for target in targets_of[key]:
            if is_by_hand(node):
                continue
            made[target] = found = _newest(instance, target)
            upstream = [one for one in inputs if target.partition is None or one.partition in (None, target.partition)]
            if found is None or found.code_version != node.code_version:
                has_other_code.add(target)
            if (
                found is None
                or target in has_other_code
                or key in changed
                or has_failed_check
                or any(one in has_other_code for one in upstream)
                or (not is_patient and any(one in stale or _has_moved(found, one, made[one]) for one in upstream))
            ):
                stale[target] = None
    return list(stale)


def is_by_hand(node: AssetNode) -> bool:
    """Tell whether an asset is made only when somebody asks for it."""
    return BY_HAND.items() <= node.tags.items()


def _has_moved(found: Made, upstream: Target, now: Made | None) -> bool:
    """Say whether an input is another one than the target was made from."""
    if now is None:
        return True
    used = found.input_versions.get(upstream.key.to_user_string())
    if used is None or upstream.partition is not None:
        return now.position > found.position
    return used != now.data_version


def _newest(instance: dg.DagsterInstance, target: Target) -> Made | None:
    partitions = None if target.partition is None else [target.partition]
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=target.key, asset_partitions=partitions), limit=1
    ).records
    for record in records:
        if (materialization := record.asset_materialization) is not None:
            tags = materialization.tags or {}
            return Made(
                position=record.storage_id,
                code_version=tags.get(_CODE_VERSION),
                data_version=tags.get(_DATA_VERSION),
                input_versions={
                    name.removeprefix(_INPUT_VERSION): version
                    for name, version in tags.items()
                    if name.startswith(_INPUT_VERSION)
                },
            )
    return None


def has_failed_blocking_check(instance: dg.DagsterInstance, graph: AssetGraph, key: dg.AssetKey) -> bool:
    """Say whether a blocking check of an asset failed when it last ran, or never ran."""
    checks = (check for check in graph.get_check_keys_for_assets({key}) if graph.get_check_spec(check).blocking)
    return any(_failed(instance, check) for check in checks)


def _failed(instance: dg.DagsterInstance, check: dg.AssetCheckKey) -> bool:
    record = instance.get_latest_asset_check_evaluation_record(check)
    evaluation = None if record is None or record.event is None else record.event.asset_check_evaluation
    return evaluation is None or not evaluation.passed
