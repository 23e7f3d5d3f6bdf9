"""When assets refresh: named automation conditions, so that every subject means the same by them."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg


def refresh_when_inputs_change() -> dg.AutomationCondition:
    """Run when the content of an input or the asset's code changed, unless a blocking check of an input failed.

    `eager()` alone runs whenever an input was made again, and ignores blocking checks of other runs.
    """
    condition = _by_content(dg.AutomationCondition.eager()) & dg.AutomationCondition.all_deps_blocking_checks_passed()
    return condition.with_label("refresh_when_inputs_change")


def refresh_when_any_input_changes() -> dg.AutomationCondition:
    """The same for an asset that looks at what there is: some of its inputs may never be made."""
    patient = dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing())
    condition = _by_content(patient) & dg.AutomationCondition.all_deps_blocking_checks_passed()
    return condition.with_label("refresh_when_any_input_changes")


ON_CADENCE = "refresh_on_cadence"
BY_HAND = {"mlops/refresh": "by_hand"}
"""The tag of an asset that is made only when somebody asks for it."""


def refresh_on_cadence() -> dg.AutomationCondition:
    """Run for the first time when an input is there, and when its code or that of an input changed.

    New content waits for a schedule: a model is trained again because it is time, and not because a day went by.
    """
    changed = dg.AutomationCondition.code_version_changed()
    first = dg.AutomationCondition.missing() & dg.AutomationCondition.any_deps_updated()
    condition = dg.AutomationCondition.eager().replace(
        "any_deps_updated", dg.AutomationCondition.any_deps_match(changed) | changed | first
    )
    return (condition & dg.AutomationCondition.all_deps_blocking_checks_passed()).with_label(ON_CADENCE)


def check_when_refreshed() -> dg.AutomationCondition:
    """Run a check with its asset: a run that a condition asked for has only the checks that asked for it too."""
    return dg.AutomationCondition.eager().with_label("check_when_refreshed")


def nightly_freshness() -> dg.FreshnessPolicy:
    """Expect what a schedule makes every trading night; a long weekend is not late."""
    return dg.FreshnessPolicy.time_window(warn_window=timedelta(days=3, hours=2), fail_window=timedelta(days=5))


def hourly_freshness() -> dg.FreshnessPolicy:
    """Expect what a schedule makes every hour, at any time of any day."""
    return dg.FreshnessPolicy.time_window(warn_window=timedelta(hours=3), fail_window=timedelta(hours=24))


def content_freshness() -> dg.FreshnessPolicy:
    """Expect some change within a month of what refreshes only when its inputs change.

    That bars are late is said by the freshness of `market/bars` and its check of the latest trading day.
    """
    return dg.FreshnessPolicy.time_window(warn_window=timedelta(days=35), fail_window=timedelta(days=100))


def cadence_freshness(within: timedelta) -> dg.FreshnessPolicy:
    """Expect a refresh within the promised time; half as long again is a failure."""
    return dg.FreshnessPolicy.time_window(warn_window=within, fail_window=within * 1.5)


def refresh_sensor() -> dg.AutomationConditionSensorDefinition:
    """Evaluate every asset's condition in the daemon, from the start."""
    return dg.AutomationConditionSensorDefinition(
        "refresh",
        target=dg.AssetSelection.all(),
        description="Runs what refreshes by itself: assets whose inputs or code changed, with their checks.",
        default_status=dg.DefaultSensorStatus.RUNNING,
    )


def _by_content(condition: dg.AutomationCondition) -> dg.AutomationCondition:
    """Let a condition look at the content of inputs and at the asset's code, not at whether inputs were made again."""
    changed = dg.AutomationCondition.data_version_changed() | dg.AutomationCondition.will_be_requested()
    return condition.replace(
        "any_deps_updated",
        dg.AutomationCondition.any_deps_match(changed) | dg.AutomationCondition.code_version_changed(),
    )
