"""The directory that the tests of this room ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.identity.house import House, house_in


@pytest.fixture
def house(tmp_path: Path) -> House:
    return house_in(tmp_path)
