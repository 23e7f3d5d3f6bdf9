"""A process that delivers an outbox and ends by SIGKILL: `mirror_deliverer DATABASE_URL NAME WHEN [HOST:PORT]`.

`WHEN` is `before` the first call, with `half` of it done, or `after` it, before that is recorded. NAME is the database
in MongoDB; without a real one the test's own mongomock is reached at HOST:PORT.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Sequence
from datetime import timedelta
from multiprocessing.connection import Client
from typing import Any

from pymongo import MongoClient, ReplaceOne

from mlops_assets.kernel.clock import SystemClock
from mlops_assets.storage.mirror.mirrors import Mirrors
from mlops_assets.storage.mirror.mongodb import MongoMirror
from mlops_assets.storage.mirror.outbox import MirrorOutbox
from mlops_assets.storage.sql.database import Database
from tests.storage.mirror_worlds import REAL_URL

KEY = b"tests"


def real_write(name: str) -> Any:
    client: MongoClient[dict[str, Any]] = MongoClient(REAL_URL)
    return lambda kind, requests: client[name][kind].bulk_write(requests, ordered=False)


def remote_write(address: str) -> Any:
    host, port = address.split(":")
    line = Client((host, int(port)), authkey=KEY)

    def write(kind: str, requests: list[ReplaceOne[dict[str, Any]]]) -> None:
        line.send((kind, requests))
        assert line.recv() == "done"

    return write


class Killing:
    """A connection during whose first call the process ends."""

    def __init__(self, write: Any, when: str, kind: str = "") -> None:
        self._write, self._when, self._kind = write, when, kind

    def __enter__(self) -> Killing:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __getitem__(self, name: str) -> Killing:
        return Killing(self._write, self._when, name)

    def bulk_write(self, requests: Sequence[ReplaceOne[dict[str, Any]]], *, ordered: bool) -> None:
        count = {"before": 0, "half": len(requests) // 2, "after": len(requests)}[self._when]
        if count:
            self._write(self._kind, list(requests[:count]))
        os.kill(os.getpid(), signal.SIGKILL)

    def find(self, *_: object) -> Iterable[dict[str, Any]]:
        raise AssertionError("nobody lives to ask")


def main(database_url: str, name: str, when: str, *address: str) -> None:
    write = remote_write(*address) if address else real_write(name)
    clock, connection = SystemClock(), Killing(write, when)
    mirror = MongoMirror("mongodb://unused", name, connect=lambda _: connection)  # type: ignore[arg-type]
    outbox = MirrorOutbox(Database(database_url), clock)
    Mirrors(outbox, [mirror], clock).deliver_due(within=timedelta(minutes=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
