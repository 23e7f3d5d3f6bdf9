"""Bars are read once a trading day, when every source has published the day."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from mlops_assets.market_data.alpha_vantage import AlphaVantage
from mlops_assets.market_data.automation import daily_ingestion
from mlops_assets.market_data.folder import BarFolder
from mlops_assets.market_data.sample import BundledSample

CLOSE = timedelta(hours=16)  # in New York, where an early close is at 13:00


def test_the_daily_reading_comes_after_every_source_has_published(tmp_path):
    sources = [BundledSample(), BarFolder(tmp_path), AlphaVantage(api_key="k", symbols=["IBM"])]
    minute, hour, *_, days = str(daily_ingestion().cron_schedule).split()
    assert timedelta(hours=int(hour), minutes=int(minute)) > CLOSE + max(one.publication_lag for one in sources)
    assert (days, daily_ingestion().execution_timezone) == ("1-5", "America/New_York")


def test_the_schedule_runs_from_the_start():
    assert daily_ingestion().default_status is dg.DefaultScheduleStatus.RUNNING
