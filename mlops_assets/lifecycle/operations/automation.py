"""What watches deployments by itself: approvals, limits, MLflow's aliases, challengers; and the weekly drill.

Promotion and rollback take effect without any of these; a sensor that is off or late delays only what it says.
"""

# No `from __future__ import annotations`: Dagster compares the annotation of `context` as a class.

import json
from collections.abc import Mapping, Sequence

import dagster as dg

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.kernel.identity import Principal
from mlops_assets.lifecycle.deployment.deployments import Deployments
from mlops_assets.lifecycle.deployment.serving_moves import Serving
from mlops_assets.lifecycle.deployment.serving_store import ServingStore
from mlops_assets.lifecycle.operations.aliases import Aliases
from mlops_assets.lifecycle.operations.comparison import shadow_dataset
from mlops_assets.lifecycle.operations.drill import DRILL_LIMIT_SECONDS, Drill, DrillResult
from mlops_assets.lifecycle.operations.guarding import Guard, Outcome
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.lifecycle.tracking.tracking import TrackingUnavailable
from mlops_assets.orchestration.declared import key
from mlops_assets.orchestration.timing import check_when_refreshed

DRILL = "rollback_drill"
_SECONDS_BETWEEN_TICKS = 60
_EVERY_SATURDAY = "0 6 * * 6"


def deployment_sensors(models: Sequence[str]) -> list[dg.SensorDefinition]:
    """Return the sensors of deployments. Each of them, evaluated twice, does nothing twice."""
    return [approvals_sensor(), limits_sensor(), alias_sensor(), challengers_sensor(models)]


def approvals_sensor() -> dg.SensorDefinition:
    """Return the sensor that moves deployments whose approval was decided, ended or taken back."""

    @dg.sensor(
        name="deployments_follow_approvals",
        description="Moves each deployment whose approval was decided, has expired or was taken back.",
        minimum_interval_seconds=_SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def follow(deployments: dg.ResourceParam[Deployments], actor: dg.ResourceParam[Principal]) -> dg.SensorResult:
        moved = deployments.follow_approvals(by=actor)
        said = "; ".join(f"{one.subject} is {one.state}" for one in moved)
        return dg.SensorResult(skip_reason=said or "no approval changed")

    return follow


def limits_sensor() -> dg.SensorDefinition:
    """Return the sensor that ends deployments that pass their limits."""

    @dg.sensor(
        name="deployment_limits",
        description=(
            "Holds every version that runs against the limits it was approved with: a challenger that passes one is "
            "stopped, a champion is rolled back to the one before it, and a critical alert says so."
        ),
        minimum_interval_seconds=_SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def watch(guard: dg.ResourceParam[Guard], actor: dg.ResourceParam[Principal]) -> dg.SensorResult:
        seen = guard.guard_once(by=actor)
        ended = [one for one in seen if one.outcome is not Outcome.NOT_ENDED]
        said = "; ".join(map(str, ended or seen))
        return dg.SensorResult(skip_reason=said or "no version runs")

    return watch


def alias_sensor() -> dg.SensorDefinition:
    """Return the sensor that puts MLflow's aliases right."""

    @dg.sensor(
        name="alias_reconciler",
        description=(
            "Compares the aliases champion_<environment> in MLflow with who serves, reverts what was moved or deleted "
            "behind the platform's back and raises an alert about it. While MLflow is down it changes nothing."
        ),
        minimum_interval_seconds=_SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def reconcile(aliases: dg.ResourceParam[Aliases], actor: dg.ResourceParam[Principal]) -> dg.SensorResult:
        try:
            corrected = aliases.reconcile(by=actor.name)
        except TrackingUnavailable as unavailable:
            return dg.SensorResult(skip_reason=f"nothing was compared: {unavailable}")
        return dg.SensorResult(skip_reason="; ".join(map(str, corrected)) or "every alias names its champion")

    return reconcile


def challengers_sensor(models: Sequence[str]) -> dg.SensorDefinition:
    """Return the sensor that compares orders anew when who runs beside a champion changes: the graph can't see that."""

    @dg.sensor(
        name="challengers",
        description="Refreshes shadow/<model> after each move of who serves or runs beside the champion.",
        minimum_interval_seconds=_SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        target=dg.AssetSelection.assets(*(key(shadow_dataset(name)) for name in models)),
    )
    def compare(context: dg.SensorEvaluationContext, serving: dg.ResourceParam[ServingStore]) -> dg.SensorResult:
        seen: Mapping[str, int] = json.loads(context.cursor or "{}")
        heads = [head for head in serving.heads() if head.model in models]
        moved = [head for head in heads if head.epoch > seen.get(_place(head), 0)]
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(
                    run_key=f"shadow:{_place(head)}:{head.epoch}", asset_selection=[key(shadow_dataset(head.model))]
                )
                for head in moved
            ],
            cursor=json.dumps({_place(head): head.epoch for head in heads}, sort_keys=True),
            skip_reason=None if moved else "who runs did not change",
        )

    return compare


def drill_check(spec: ModelSpec) -> dg.AssetChecksDefinition:
    """Return the check that rehearses a rollback on a scratch copy and measures how long it takes."""

    @dg.asset_check(
        asset=key(f"deployments/{spec.name}"),
        name=DRILL,
        description=(
            "Promotes, rolls back and predicts on a scratch copy with the real versions: the version before answers "
            f"the next prediction, within {DRILL_LIMIT_SECONDS:g} seconds."
        ),
        automation_condition=check_when_refreshed(),
    )
    def rollback_drill(drill: dg.ResourceParam[Drill]) -> dg.AssetCheckResult:
        try:
            return drill_result(drill.run(spec))
        except PlatformError as refused:
            return dg.AssetCheckResult(
                check_name=DRILL, passed=False, description=f"the rollback would fail: {refused}"
            )

    return rollback_drill


def drill_result(found: DrillResult) -> dg.AssetCheckResult:
    """Report a drill with its figures."""
    return dg.AssetCheckResult(
        check_name=DRILL,
        passed=found.is_passed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=str(found),
        metadata={
            "from_version": f"copy of {found.earlier}" if found.is_one_version else str(found.later),
            "to_version": found.earlier,
            "answered_by_version": found.answered_by,
            "rollback_seconds": found.rollback_seconds,
            "next_prediction_seconds": found.prediction_seconds,
            "total_seconds": found.total_seconds,
            "limit_seconds": DRILL_LIMIT_SECONDS,
            "symbol": found.symbol,
            "as_of": found.as_of.isoformat(),
        },
    )


def weekly_drills(models: Sequence[str]) -> dg.ScheduleDefinition:
    """Return the schedule that rehearses the rollback of every model while no exchange is open."""
    checks = (dg.AssetCheckKey(asset_key=key(f"deployments/{name}"), name=DRILL) for name in models)
    return dg.ScheduleDefinition(
        name="rollback_drills",
        job=dg.define_asset_job("rollback_drills", selection=dg.AssetSelection.checks(*checks)),
        cron_schedule=_EVERY_SATURDAY,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Rehearses the rollback of every model each Saturday at 06:00 UTC and records the time it took.",
    )


def _place(head: Serving) -> str:
    return f"{head.model}/{head.environment}"
