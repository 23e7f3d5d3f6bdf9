from __future__ import annotations

import pytest

from mlops_assets.storage.sql.database import Database
from tests.governance.worlds import Desk


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database)
