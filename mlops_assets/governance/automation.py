"""When waiting is over: a sensor ends what has expired and tells once of each request that nobody decided in time."""

# No `from __future__ import annotations`: Dagster compares the annotation of `context` as a class.

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from mlops_assets.alerts.alert import Alert, Severity
from mlops_assets.alerts.service import Alerts
from mlops_assets.governance.reading import Waiting
from mlops_assets.governance.spec import Approval
from mlops_assets.governance.store import ApprovalStore
from mlops_assets.kernel.identity import Principal

_SECONDS_BETWEEN_TICKS = 300
_ALERTS_A_TICK = 50
_HIGHEST_TIER = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What one look at the queue did; `cursor` names the last request that was told of."""

    expired: Sequence[Approval]
    overdue: Sequence[Waiting]
    cursor: str


def approval_sla_sensor() -> dg.SensorDefinition:
    """Return the sensor of the queue. Evaluated twice it does nothing twice."""

    @dg.sensor(
        name="approval_sla",
        description=(
            "Ends requests and approvals whose time is over, and raises one alert for each request that is not decided "
            "within the time that its tier allows."
        ),
        minimum_interval_seconds=_SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def watch(
        context: dg.SensorEvaluationContext,
        approvals: dg.ResourceParam[ApprovalStore],
        alerts: dg.ResourceParam[Alerts],
        actor: dg.ResourceParam[Principal],
    ) -> dg.SensorResult:
        found = watch_queue(approvals, alerts, cursor=context.cursor or "", by=actor)
        said = f"expired {len(found.expired)}, told of {len(found.overdue)} that are overdue"
        return dg.SensorResult(cursor=found.cursor, skip_reason=said)

    return watch


def watch_queue(approvals: ApprovalStore, alerts: Alerts, *, cursor: str, by: Principal) -> Watched:
    """Expire what is due, then tell of what became overdue since the cursor, the first due first.

    A request's due time never changes, so requests become overdue in its order.
    """
    expired = approvals.expire_due(by=by)
    overdue = [one for one in approvals.queue() if one.is_overdue and _position(one) > cursor][:_ALERTS_A_TICK]
    for one in overdue:
        alerts.raise_alert(overdue_alert(one), by=by.name)
    return Watched(expired=expired, overdue=overdue, cursor=_position(overdue[-1]) if overdue else cursor)


def overdue_alert(waiting: Waiting) -> Alert:
    """Return the alert of a request that nobody decided in time."""
    request = waiting.approval
    return Alert(
        key=f"approval:{request.id}:overdue",
        kind="approval_overdue",
        severity=Severity.HIGH if request.tier == _HIGHEST_TIER else Severity.MEDIUM,
        subject=request.subject,
        summary=(
            f"The approval of {request.subject} (tier {request.tier}) was due {waiting.due_at:%Y-%m-%d %H:%M} UTC "
            f"and needs {waiting.needed}"
        ),
        details={
            "approval": request.id,
            "tier": request.tier,
            "due_at": waiting.due_at.isoformat(),
            "needed": waiting.needed,
        },
    )


def _position(waiting: Waiting) -> str:
    return f"{waiting.due_at.isoformat(timespec='microseconds')} {waiting.approval.id}"
