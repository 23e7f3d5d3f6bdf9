"""When the ledger is verified and signed: every hour, whether or not anything else runs."""

from __future__ import annotations

import dagster as dg

from mlops_assets.orchestration.declared import key


def hourly_checkpoint(asset: str) -> dg.ScheduleDefinition:
    """Return the schedule of the checkpoint: what happens in an hour can be undone unseen for an hour only."""
    return dg.ScheduleDefinition(
        name="hourly_audit_checkpoint",
        description="Verifies the audit ledger and signs a checkpoint of it every hour.",
        target=dg.AssetSelection.assets(key(asset)),
        cron_schedule="15 * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
