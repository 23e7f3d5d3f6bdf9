"""A process of its own that deploys and takes back versions as fast as it can: `... <home> <first version> <rounds>`.

It prints one line for each move that it was told succeeded: the epoch, and who served after it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from mlops_assets.kernel.errors import Conflict
from mlops_assets.lifecycle.deployment.deployments import Moved
from mlops_assets.storage.sql.database import Database
from tests.lifecycle.deployment_worlds import Floor


def open_floor(home: Path) -> Floor:
    return Floor(Database(f"sqlite:///{home / 'platform.db'}"))


def deploy(home: Path, first: int, rounds: int) -> list[str]:
    """Bring versions to serve and roll them back, against everybody else who does; return what succeeded."""
    floor, told = open_floor(home), list[str]()
    for number in range(first, first + rounds):
        _told(told, lambda number=number: floor.promote(floor.approved(number, insists=True)))
        _told(told, floor.rollback)
    return told


def _told(told: list[str], act: Callable[[], Moved]) -> None:
    try:
        moved = act()
    except Conflict:
        told.append("refused")
        return
    champion = moved.serving.champion
    told.append(f"{moved.serving.epoch} {champion.deployment_id if champion else 'nobody'}")


if __name__ == "__main__":
    print("\n".join(deploy(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))  # noqa: T201
