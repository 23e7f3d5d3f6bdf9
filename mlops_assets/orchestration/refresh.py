"""How the whole graph is brought up to date in this process, with progress: what is right already is left alone."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import dagster as dg

from mlops_assets.orchestration.staleness import Target, stale_targets


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
    """What was made and what was right already. `failures` says, by target, why a run stopped."""

    made: tuple[Target, ...] = ()
    untouched: int = 0
    failures: dict[str, str] = field(default_factory=dict[str, str])
    seconds: float = 0.0

    @property
    def is_complete(self) -> bool:
        return not self.failures


OnProgress = Callable[[Progress], None]


def materialise_stale(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    on_progress: OnProgress,
    *,
    changed: Collection[dg.AssetKey] = (),
) -> Refresh:
    """Materialise what is stale, inputs first; stop at the first run that fails.

    Args:
        changed: assets whose source outside the graph changed.
    """
    started = time.monotonic()
    stale = stale_targets(definitions, instance, changed=changed)
    untouched = _target_count(definitions) - len(stale)
    made: list[Target] = []
    failures: dict[str, str] = {}
    for batch in _batches(definitions, stale):
        report = _Report(on_progress, total=len(stale), done=len(made))
        _run(definitions, instance, batch, report)
        made += report.made
        failures |= report.failures
        if failures:
            break
    return Refresh(made=tuple(made), untouched=untouched, failures=failures, seconds=time.monotonic() - started)


class _Report:
    """Turns the events of one run into progress."""

    def __init__(self, on_progress: OnProgress, *, total: int, done: int) -> None:
        self.made: list[Target] = []
        self.failures: dict[str, str] = {}
        self._on_progress, self._total, self._done = on_progress, total, done
        self._since = time.monotonic()

    def hear(self, entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event is None:
            return
        if event.is_step_materialization and event.asset_key is not None:
            target = Target(key=event.asset_key, partition=event.partition)
            self.made.append(target)
            self._tell(target)
        elif event.is_step_failure:
            step = event.step_key or "?"
            reason = _reason(event)
            self.failures[step] = reason
            self._tell(Target(key=dg.AssetKey(step.split("__"))), failure=reason)

    def fail(self, batch: Sequence[Target], reason: str) -> None:
        """Record a run that stopped before any of its steps."""
        self.failures[str(batch[0])] = reason
        self._tell(batch[0], failure=reason)

    def _tell(self, target: Target, failure: str | None = None) -> None:
        now = time.monotonic()
        done, seconds = self._done + len(self.made), now - self._since
        self._since = now
        self._on_progress(Progress(target=target, done=done, total=self._total, seconds=seconds, failure=failure))


def _run(definitions: dg.Definitions, instance: dg.DagsterInstance, batch: Sequence[Target], report: _Report) -> None:
    run_id = str(uuid.uuid4())
    instance.add_event_listener(run_id, report.hear)
    job = definitions.resolve_implicit_job_def_def_for_assets([target.key for target in batch])
    if job is None:
        raise ValueError(f"no job can make {[str(target) for target in batch]} together")
    result = job.execute_in_process(
        instance=instance,
        asset_selection=[target.key for target in batch],
        partition_key=batch[0].partition,
        raise_on_error=False,
        run_id=run_id,
    )
    if not result.success and not report.failures:
        report.fail(batch, "the run stopped before its first step; its page in the Dagster UI says why")


def _reason(event: dg.DagsterEvent) -> str:
    """Return the innermost message: Dagster wraps what our code raised."""
    data = event.step_failure_data
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return "no reason was given" if error is None else error.message.strip()


def _batches(definitions: dg.Definitions, stale: Sequence[Target]) -> Iterator[list[Target]]:
    """Split targets into runs: neighbours in order that share their partition go together."""
    graph = definitions.resolve_asset_graph()
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


def _target_count(definitions: dg.Definitions) -> int:
    graph = definitions.resolve_asset_graph()
    nodes = (graph.get(key) for key in graph.toposorted_asset_keys)
    return sum(len(node.partitions_def.get_partition_keys()) if node.partitions_def else 1 for node in nodes)
