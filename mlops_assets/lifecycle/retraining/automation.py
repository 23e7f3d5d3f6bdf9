"""When a candidate is trained again: a schedule for each model, a sensor for drift, and a check of the cadence."""

# No `from __future__ import annotations`: Dagster compares the annotation of `context` as a class.

from collections.abc import Mapping, Sequence

import dagster as dg

from mlops_assets.kernel.errors import InvalidDeclaration
from mlops_assets.kernel.identity import Principal
from mlops_assets.ledger.store import Ledger
from mlops_assets.lifecycle.drift_events import DriftEvent, DriftEvents
from mlops_assets.lifecycle.registry import ModelRegistry
from mlops_assets.lifecycle.retraining.requests import Cause, Requested, Retrainings
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.orchestration.declared import key
from mlops_assets.orchestration.timing import check_when_refreshed

_SECONDS_BETWEEN_TICKS = 60
_ENTRIES_A_TICK = 100
_DAILY = "0 5 * * *"
_RAISED = ("drift_event.open", "drift_event.escalate")


def retraining_definitions(spec: ModelSpec) -> dg.Definitions:
    """Return a model's retraining schedule and the check that it is trained as often as declared.

    Raises:
        InvalidDeclaration: if `retraining.cron` names no time that comes.
    """
    try:
        schedule = _schedule(spec)
    except dg.DagsterInvalidDefinitionError as error:
        raise InvalidDeclaration(
            file=spec.declared_in,
            field="retraining.cron",
            problem=f"{spec.retraining.cron!r} names no time that comes",
            remedy='Write minute, hour, day, month and weekday in UTC, like "0 6 2 1,4,7,10 *".',
        ) from error
    return dg.Definitions(schedules=[schedule], asset_checks=[_check(spec)])


def retrain_after_drift_sensor(models: Mapping[str, ModelSpec]) -> dg.SensorDefinition:
    """Return the sensor that asks for a candidate when grave drift was raised. It reads forward and never promotes."""
    watched = {name: spec for name, spec in models.items() if spec.retraining.after_drift}

    @dg.sensor(
        name="retrain_after_drift",
        description="Asks for a retrained candidate when drift of high or critical severity was raised, within the "
        "model's budget a year.",
        target=dg.AssetSelection.assets(*(key(spec.dataset) for spec in watched.values())),
        minimum_interval_seconds=_SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def watch(
        context: dg.SensorEvaluationContext,
        journal: dg.ResourceParam[Ledger],
        drift_events: dg.ResourceParam[DriftEvents],
        retrainings: dg.ResourceParam[Retrainings],
        actor: dg.ResourceParam[Principal],
    ) -> dg.SensorResult:
        seen = int(context.cursor or 0)
        unread = list(journal.entries(after_seq=seen, action="drift_event.*", limit=_ENTRIES_A_TICK))
        raised = [entry.after for entry in unread if entry.action in _RAISED and entry.after is not None]
        events = [drift_events.get(event) for event in dict.fromkeys(raised)]
        asked = [
            found
            for name, spec in watched.items()
            if (found := retrainings.request_after_drift(spec, _of_model(events, name), by=actor.name)) is not None
        ]
        return dg.SensorResult(
            cursor=str(unread[-1].seq if unread else seen),
            run_requests=[_run(watched[one.model], one) for one in asked],
            skip_reason=None if asked else f"read {len(unread)} entries about drift; nothing to train",
        )

    return watch


def _schedule(spec: ModelSpec) -> dg.ScheduleDefinition:
    declared = spec.retraining

    @dg.schedule(
        name=f"retrain_{spec.name}",
        description=f"Trains a candidate of {spec.name} on its newest training set ({declared.cron} in UTC). "
        "It promotes nothing.",
        cron_schedule=declared.cron,
        execution_timezone="UTC",
        target=dg.AssetSelection.assets(key(spec.dataset)),
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def retrain(
        context: dg.ScheduleEvaluationContext,
        retrainings: dg.ResourceParam[Retrainings],
        actor: dg.ResourceParam[Principal],
    ) -> dg.RunRequest:
        tick = context.scheduled_execution_time.isoformat()
        reason = f"its cadence: {declared.cron} in UTC"
        return _run(spec, retrainings.request(spec.name, Cause.SCHEDULE, tick, by=actor.name, reason=reason))

    return retrain


def _check(spec: ModelSpec) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=key(spec.dataset),
        automation_condition=check_when_refreshed() | dg.AutomationCondition.on_cron(_DAILY),
        description=f"The newest training is at most {spec.retraining.within_days} days old.",
    )
    def retrained_on_cadence(
        retrainings: dg.ResourceParam[Retrainings], models: dg.ResourceParam[ModelRegistry]
    ) -> dg.AssetCheckResult:
        found = retrainings.adherence(spec, models.trained_at(spec.name))
        return dg.AssetCheckResult(
            passed=found.is_kept,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "last_trained": str(found.last_trained or "never"),
                "due": str(found.due_at or "now"),
                "share_of_time_kept": found.share_of_time_kept or 0.0,
                "budget_after_drift": f"{retrainings.budget_used(spec.name)} of {spec.retraining.most_a_year} a year",
            },
        )

    return retrained_on_cadence


def _run(spec: ModelSpec, asked: Requested) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=asked.run_key,
        asset_selection=[key(spec.dataset)],
        tags={"mlops/retraining": asked.cause.value, "mlops/retraining_cause": asked.cause_id},
    )


def _of_model(events: Sequence[DriftEvent], model: str) -> list[DriftEvent]:
    return [event for event in events if event.subject.startswith(f"drift/{model}/")]
