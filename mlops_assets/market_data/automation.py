"""When bars are read: every trading day, once the exchange has closed and vendors have published."""

from __future__ import annotations

import dagster as dg

from mlops_assets.market_data.bars import BARS
from mlops_assets.orchestration.declared import key


def daily_ingestion() -> dg.ScheduleDefinition:
    """Read the source at 18:30 New York time; what follows refreshes because its input changed."""
    return dg.ScheduleDefinition(
        name="daily_bars",
        description="Read the day's bars after the close.",
        target=dg.AssetSelection.assets(key(BARS)),
        cron_schedule="30 18 * * 1-5",
        execution_timezone="America/New_York",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
