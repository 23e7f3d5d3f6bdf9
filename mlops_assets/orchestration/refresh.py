"""How the whole graph is brought up to date in this process, with progress: what is right already is left alone."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

import dagster as dg

from mlops_assets.orchestration.staleness import AssetGraph, Target, has_failed_blocking_check, stale_targets

if TYPE_CHECKING:
    from dagster_shared.error import SerializableErrorInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One target is done, or has failed."""

    target: Target
    done: int
    total: int
    seconds: float
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """What was made, what was right already, what failed and why, and what waits because an input failed."""

    made: tuple[Target, ...] = ()
    untouched: int = 0
    failures: dict[str, str] = field(default_factory=dict[str, str])
    waiting: tuple[Target, ...] = ()
    seconds: float = 0.0

    @property
    def is_complete(self) -> bool:
        return not self.failures


_MODULE_PATH = re.compile(r"^(\w+\.)+(?=\w+: )")
"""The modules before an error's class, as Dagster writes them."""

OnProgress = Callable[[Progress], None]

TagsOf = Callable[[str], Mapping[str, str]]
"""The tags of a run, by its id: they may say who launched it."""


def _no_tags(run_id: str) -> Mapping[str, str]:
    return {}


def materialise_stale(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    on_progress: OnProgress,
    *,
    changed: Collection[dg.AssetKey] = (),
    tags_of: TagsOf = _no_tags,
) -> Refresh:
    """Materialise what is stale, inputs first. What depends on a failure waits; the rest is made all the same.

    Args:
        changed: assets whose source outside the graph changed.
    """
    started = time.monotonic()
    graph = definitions.resolve_asset_graph()
    stale = stale_targets(graph, instance, changed=changed)
    report = _Report(on_progress, total=len(stale))
    unready: set[dg.AssetKey] = set()
    waiting: list[Target] = []
    for batch in _batches(graph, stale):
        possible: list[Target] = []
        for target in batch:
            if graph.get(target.key).parent_keys & unready:
                unready.add(target.key)
                waiting.append(target)
            else:
                possible.append(target)
        if possible:
            _run(definitions, instance, possible, report, tags_of)
        unmade = [target for target in possible if target not in report.made]
        waiting += [target for target in unmade if str(target) not in report.failures]
        unready |= {target.key for target in unmade}
        unready |= {target.key for target in possible if has_failed_blocking_check(instance, graph, target.key)}
    return Refresh(
        made=tuple(report.made),
        untouched=_target_count(graph) - len(stale),
        failures=report.failures,
        waiting=tuple(waiting),
        seconds=time.monotonic() - started,
    )


def materialise(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    keys: Sequence[dg.AssetKey],
    on_progress: OnProgress,
    *,
    tags_of: TagsOf = _no_tags,
) -> Refresh:
    """Materialise the named assets and nothing else, with their checks."""
    started = time.monotonic()
    targets = [Target(key=one, partition=None) for one in keys]
    report = _Report(on_progress, total=len(targets))
    _run(definitions, instance, targets, report, tags_of)
    return Refresh(made=tuple(report.made), failures=report.failures, seconds=time.monotonic() - started)


class _Report:
    """Turns the events of runs into progress."""

    def __init__(self, on_progress: OnProgress, *, total: int) -> None:
        self.made: list[Target] = []
        self.failures: dict[str, str] = {}
        self.end_of_run = ""
        self._on_progress, self._total = on_progress, total
        self._since = time.monotonic()

    def hear(self, entry: dg.EventLogEntry, partition: str | None) -> None:
        event = entry.dagster_event
        if event is None:
            return
        if event.is_step_materialization and event.asset_key is not None:
            target = Target(key=event.asset_key, partition=partition)
            self.made.append(target)
            self._tell(target)
        elif event.is_step_failure:
            failed = Target(key=dg.AssetKey((event.step_key or "?").split("__")), partition=partition)
            self.fail(failed, _reason(event.step_failure_data.error))
        elif event.event_type is dg.DagsterEventType.RUN_FAILURE:
            self.end_of_run = _reason(event.job_failure_data.error)

    def fail(self, target: Target, reason: str) -> None:
        """Record why a target was not made."""
        self.failures[str(target)] = reason
        self._tell(target, failure=reason)

    def _tell(self, target: Target, failure: str | None = None) -> None:
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        self._on_progress(
            Progress(target=target, done=len(self.made), total=self._total, seconds=seconds, failure=failure)
        )


def _run(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    batch: Sequence[Target],
    report: _Report,
    tags_of: TagsOf,
) -> None:
    run_id, failures_before = str(uuid.uuid4()), len(report.failures)
    partition = batch[0].partition
    instance.add_event_listener(run_id, lambda entry: report.hear(entry, partition))
    job = definitions.resolve_implicit_job_def_def_for_assets([target.key for target in batch])
    if job is None:
        raise ValueError(f"no job can make {[str(target) for target in batch]} together")
    result = job.execute_in_process(
        instance=instance,
        asset_selection=[target.key for target in batch],
        partition_key=partition,
        raise_on_error=False,
        run_id=run_id,
        tags=dict(tags_of(run_id)),
    )
    if not result.success and len(report.failures) == failures_before:
        report.fail(batch[0], f"the run stopped before its first step: {report.end_of_run}")


def _reason(error: SerializableErrorInfo | None) -> str:
    """Return the innermost message: Dagster wraps what our code raised."""
    while error is not None and error.cause is not None:
        error = error.cause
    return "no reason was given" if error is None else _MODULE_PATH.sub("", error.message.strip())


def _batches(graph: AssetGraph, stale: Sequence[Target]) -> Iterator[list[Target]]:
    """Split targets into runs: neighbours in order that share their partition go together."""
    depth: dict[dg.AssetKey, int] = {}
    for key in graph.toposorted_asset_keys:
        node = graph.get(key)
        # A run holds one partition, so crossing between partitioned and unpartitioned assets starts another.
        depth[key] = max(
            (
                depth[parent] + int(graph.get(parent).partitions_def != node.partitions_def)
                for parent in node.parent_keys
            ),
            default=int(node.partitions_def is not None),
        )

    def run_of(target: Target) -> tuple[int, str, str]:
        partitions = graph.get(target.key).partitions_def
        return (depth[target.key], "" if partitions is None else repr(partitions), target.partition or "")

    for _, batch in groupby(sorted(stale, key=run_of), key=run_of):
        yield list(batch)


def _target_count(graph: AssetGraph) -> int:
    nodes = (graph.get(key) for key in graph.toposorted_asset_keys)
    return sum(len(node.partitions_def.get_partition_keys()) if node.partitions_def else 1 for node in nodes)
