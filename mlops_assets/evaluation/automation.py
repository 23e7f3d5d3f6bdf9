"""When scenarios are replayed: every night after a trading day, whether or not something changed.

A replay of unchanged inputs must give the result it gave before; the store refuses another one.
"""

from __future__ import annotations

import dagster as dg

from mlops_assets.evaluation.spec import Scenario
from mlops_assets.orchestration.declared import key

TIMEZONE = "America/New_York"
_AFTER_EVERY_SESSION = "30 2 * * 2-6"


def nightly_replay(scenario: Scenario) -> dg.ScheduleDefinition:
    """Return the schedule that replays a scenario's strategies and seals its report."""
    datasets = [f"reports/{scenario.name}", *(f"evaluation/{scenario.name}/{name}" for name in scenario.replayed)]
    return dg.ScheduleDefinition(
        name=f"nightly_replay_{scenario.name}",
        target=dg.AssetSelection.assets(*(key(dataset) for dataset in datasets)),
        cron_schedule=_AFTER_EVERY_SESSION,
        execution_timezone=TIMEZONE,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Replays {scenario.name} at 02:30 in New York after every trading day and seals its report.",
    )
