"""The API that the tests of this room ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_assets.kernel.clock import FixedClock
from tests.rest.client import Api, Services, api_over, services_in, with_people


@pytest.fixture
def services(tmp_path: Path, clock: FixedClock) -> Services:
    return with_people(services_in(tmp_path, clock))


@pytest.fixture
def api(services: Services) -> Api:
    return api_over(services)
