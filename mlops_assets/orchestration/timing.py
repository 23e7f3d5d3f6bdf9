"""When assets refresh: named automation conditions, so that every subject means the same by them."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg


def refresh_when_inputs_change() -> dg.AutomationCondition:
    """Run when an input or the declaration changed, unless a blocking check of an input failed.

    `eager()` alone ignores blocking checks of other runs.
    """
    condition = dg.AutomationCondition.eager() & dg.AutomationCondition.all_deps_blocking_checks_passed()
    return condition.with_label("refresh_when_inputs_change")


def refresh_when_any_partition_changes() -> dg.AutomationCondition:
    """The same for an unpartitioned asset under partitioned parents, some of which may never be filled."""
    condition = (
        dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing())
        & dg.AutomationCondition.all_deps_blocking_checks_passed()
    )
    return condition.with_label("refresh_when_any_partition_changes")


def daily_freshness() -> dg.FreshnessPolicy:
    """Expect a refresh every trading day; a long weekend is not late."""
    return dg.FreshnessPolicy.time_window(warn_window=timedelta(hours=26), fail_window=timedelta(days=4, hours=2))


def refresh_sensor() -> dg.AutomationConditionSensorDefinition:
    """Evaluate every asset's condition in the daemon, from the start."""
    return dg.AutomationConditionSensorDefinition(
        "refresh", target=dg.AssetSelection.all(), default_status=dg.DefaultSensorStatus.RUNNING
    )
