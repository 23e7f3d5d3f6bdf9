from __future__ import annotations

import pytest

from mlops_assets.storage.sql.database import Database
from tests.lifecycle.deployment_worlds import Floor


@pytest.fixture
def floor(database: Database) -> Floor:
    return Floor(database)
