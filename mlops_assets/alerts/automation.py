"""When alerts go out, and when a broken audit chain becomes one: two sensors."""

# No `from __future__ import annotations`: Dagster compares the annotation of `context` as a class.

from collections import Counter
from collections.abc import Mapping

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from mlops_assets.alerts.alert import Alert, Severity
from mlops_assets.alerts.service import Alerts
from mlops_assets.kernel.identity import Principal
from mlops_assets.orchestration.declared import key

_SECONDS_BETWEEN_TICKS = 30
_FAILURES_A_TICK = 20


def alert_delivery_sensor() -> dg.SensorDefinition:
    """Return the sensor that empties the outbox. A channel that is down costs it nothing but that channel."""

    @dg.sensor(
        name="alert_delivery",
        description="Sends the alerts that are due on each channel; what fails waits longer each time.",
        minimum_interval_seconds=_SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def deliver(alerts: dg.ResourceParam[Alerts], actor: dg.ResourceParam[Principal]) -> dg.SensorResult:
        moved = alerts.deliver_due(by=actor.name)
        counts = Counter(f"{one.channel} {one.state.value}" for one in moved)
        said = ", ".join(f"{what}: {count}" for what, count in sorted(counts.items()))
        return dg.SensorResult(skip_reason=said or "nothing is due")

    return deliver


def failed_check_sensor(asset: str, check: str, *, severity: Severity) -> dg.SensorDefinition:
    """Return the sensor that raises an alert when the newest evaluation of a check failed, once for each evaluation."""
    check_key = dg.AssetCheckKey(asset_key=key(asset), name=check)

    @dg.sensor(
        name=f"{check}_alert",
        description=f"Raises an alert when the check {check} of {asset} fails.",
        minimum_interval_seconds=_SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def watch(
        context: dg.SensorEvaluationContext, alerts: dg.ResourceParam[Alerts], actor: dg.ResourceParam[Principal]
    ) -> dg.SensorResult:
        seen = int(context.cursor or 0)
        unread = _failures_after(context.instance, check_key, seen)
        raised = [
            alerts.raise_alert(failed_check_alert(asset, check, severity, found), by=actor.name) for _, found in unread
        ]
        new = sum(one.is_new for one in raised)
        return dg.SensorResult(
            cursor=str(unread[-1][0] if unread else seen),
            skip_reason=f"{len(unread)} new failures of {check}, raised {new} alerts",
        )

    return watch


def failed_check_alert(asset: str, check: str, severity: Severity, found: Mapping[str, str]) -> Alert:
    """Return the alert of a failed check, with what the check found."""
    return Alert(
        key=f"check:{asset}:{check}",
        kind="failed_check",
        severity=severity,
        subject=asset,
        summary=f"Check {check} of {asset} failed",
        details=dict(found),
    )


def _failures_after(
    instance: dg.DagsterInstance, check: dg.AssetCheckKey, seen: int
) -> list[tuple[int, dict[str, str]]]:
    """Return the failed evaluations behind the cursor, oldest first: the number of each and what it found."""
    newest_first = instance.event_log_storage.get_asset_check_execution_history(
        check, limit=_FAILURES_A_TICK, status={AssetCheckExecutionRecordStatus.FAILED}
    )
    found: list[tuple[int, dict[str, str]]] = []
    for record in reversed(newest_first):
        evaluation = None if record.event is None else record.event.asset_check_evaluation
        if evaluation is not None and record.id > seen:
            found.append((record.id, _stated(evaluation.metadata)))
    return found


def _stated(metadata: Mapping[str, dg.MetadataValue]) -> dict[str, str]:
    return {name: str(one.value) for name, one in metadata.items() if one.value is not None}
