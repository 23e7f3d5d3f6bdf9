"""When bars are read: every trading day, once the exchange has closed and vendors have published."""

from __future__ import annotations

import dagster as dg

from mlops_assets.market_data.bars import BARS
from mlops_assets.orchestration.declared import key


def daily_ingestion() -> dg.ScheduleDefinition:
    """Read the source at 20:30 New York time; what follows refreshes because its input changed.

    The exchange closes at 16:00, and the slowest source (Alpha Vantage) may take four hours to publish the day: a
    reading before 20:00 would miss it, and the day would wait for the next one.
    """
    return dg.ScheduleDefinition(
        name="daily_bars",
        description="Read the day's bars once every source has published them.",
        target=dg.AssetSelection.assets(key(BARS)),
        cron_schedule="30 20 * * 1-5",
        execution_timezone="America/New_York",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
