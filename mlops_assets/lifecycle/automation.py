"""When drift becomes an event: a sensor reads what was published since its cursor, oldest first."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from mlops_assets.kernel.identity import Principal
from mlops_assets.lifecycle.drift import from_table
from mlops_assets.lifecycle.drift_events import DriftEvent, DriftEvents
from mlops_assets.orchestration.declared import key
from mlops_assets.storage.parquet.snapshots import Snapshot, SnapshotStore

_SNAPSHOTS_A_TICK = 10
_SECONDS_BETWEEN_TICKS = 60


def drift_sensor(dataset: str) -> dg.SensorDefinition:
    """Return the sensor that opens and escalates events for a drift dataset. Evaluated twice it does nothing twice."""

    @dg.sensor(
        name=f"{dataset.replace('/', '_')}_events",
        description=(
            f"Opens one event for each feature that {dataset} finds beyond its limit or could not measure, and "
            "escalates it when the drift grows."
        ),
        minimum_interval_seconds=_SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def watch(
        context: dg.SensorEvaluationContext,
        snapshots: dg.ResourceParam[SnapshotStore],
        drift_events: dg.ResourceParam[DriftEvents],
        actor: dg.ResourceParam[Principal],
    ) -> dg.SensorResult:
        seen = int(context.cursor or 0)
        unread = [one for one in snapshots.history(dataset) if one.version > seen][:_SNAPSHOTS_A_TICK]
        raised = raise_events(unread, snapshots=snapshots, events=drift_events, actor=actor)
        return dg.SensorResult(
            cursor=str(unread[-1].version if unread else seen),
            skip_reason=f"read {len(unread)} new versions of {dataset}, raised {len(raised)} events",
            asset_events=[_observation(dataset, event) for event in raised],
        )

    return watch


def raise_events(
    published: Sequence[Snapshot], *, snapshots: SnapshotStore, events: DriftEvents, actor: Principal
) -> list[DriftEvent]:
    """Open or escalate the events that drift snapshots ask for and return those that are new or worse."""
    return [
        event
        for one in published
        for finding in from_table(snapshots.read(one))
        if (
            event := events.observe(
                finding, subject=one.dataset, snapshot_fingerprint=one.fingerprint, actor=actor.name
            )
        )
        is not None
    ]


def _observation(dataset: str, event: DriftEvent) -> dg.AssetObservation:
    return dg.AssetObservation(
        asset_key=key(dataset),
        description=event.message,
        metadata={
            "drift_event": event.id,
            "severity": event.severity.value,
            "metric": event.metric_name,
            "value": "not measured" if event.metric_value is None else event.metric_value,
            "threshold": "-" if event.threshold is None else event.threshold,
        },
    )
