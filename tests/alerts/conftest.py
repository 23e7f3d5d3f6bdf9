from __future__ import annotations

from collections.abc import Callable

import pytest

from mlops_assets.alerts.channels import Channel
from mlops_assets.alerts.service import Alerts
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.sql.database import Database
from tests.alerts.worlds import MovingClock


@pytest.fixture
def clock() -> MovingClock:
    return MovingClock()


@pytest.fixture
def over(database: Database, ledger: Ledger, clock: MovingClock) -> Callable[..., Alerts]:
    """The alert service over channels."""

    def make(*channels: Channel) -> Alerts:
        return Alerts(database, ledger, clock, channels)

    return make
