"""Deliverers that are really killed, over one SQLite outbox; each test's id says which MongoDB it ran against."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Listener
from pathlib import Path

import pytest

from mlops_assets.storage.mirror.delivery import CLAIM
from mlops_assets.storage.mirror.mirrors import Mirrors
from mlops_assets.storage.mirror.outbox import MirrorOutbox
from mlops_assets.storage.sql.database import Database
from tests.alerts.worlds import MovingClock
from tests.storage.mirror_deliverer import KEY
from tests.storage.mirror_worlds import REAL_URL, WHICH, Network, Server
from tests.storage.test_mirror_mongodb import expected, put

ROOT = Path(__file__).parents[2]
TURN = timedelta(seconds=25)


def write_what_comes(door: Listener, server: Server) -> None:
    """Do for other processes what they want written to the mongomock of this one."""
    while True:
        try:
            with door.accept() as line:
                while True:
                    kind, requests = line.recv()
                    server.client[server.name][kind].bulk_write(requests, ordered=False)
                    line.send("done")
        except EOFError:  # that process was killed; the next one may come
            continue
        except OSError:  # the door was closed
            return


@pytest.fixture(params=[WHICH])
def shared() -> Iterator[tuple[Server, list[str]]]:
    """A server, and the address at which another process reaches it if it is mongomock."""
    server = Server()
    if REAL_URL:
        yield server, []
    else:
        with Listener(("127.0.0.1", 0), authkey=KEY) as door:
            threading.Thread(target=write_what_comes, args=(door, server), daemon=True).start()
            host, port = door.address
            yield server, [f"{host}:{port}"]
    server.close()


def test_deliverers_that_are_killed_lose_nothing_and_leave_nothing_wrong(
    database: Database, shared: tuple[Server, list[str]]
):
    server, address = shared
    clock = MovingClock(datetime.now(UTC))
    outbox, network = MirrorOutbox(database, clock), Network(server)
    mirrors, rev, there = Mirrors(outbox, [network.mirror()], clock), 0, {"before": 0, "half": 5, "after": 10}
    for when, count in there.items():
        for id in range(10):
            rev += 1
            put(database, outbox, "models", f"{when}{id}", rev)
        command = [sys.executable, "-m", "tests.storage.mirror_deliverer", database.url, server.name, when, *address]
        ended = subprocess.run(command, cwd=ROOT, timeout=60, check=False, capture_output=True, text=True)
        assert ended.returncode == -9, ended.stderr
        assert sum(key.startswith(f"models/{when}") for key in server.documents()) == count
        assert outbox.standing("mongodb", kinds=None).undelivered == rev  # nothing of it was recorded
    put(database, outbox, "models", "half0", rev + 1)  # one changes meanwhile
    assert mirrors.deliver_due(within=TURN)[0].delivered == 0  # the dead still hold their claims
    clock.move(CLAIM + timedelta(minutes=1))
    assert mirrors.deliver_due(within=TURN)[0].delivered == rev
    assert server.documents() == expected(database)
