"""A MongoDB, real if `MLOPS_TEST_MONGODB_URL` names one and mongomock otherwise, behind a network that misbehaves."""

from __future__ import annotations

import contextlib
import os
import random
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any

import mongomock
from pymongo import MongoClient, ReplaceOne
from pymongo.errors import AutoReconnect, BulkWriteError, NetworkTimeout

from mlops_assets.storage.mirror.mongodb import MongoMirror

REAL_URL = os.environ.get("MLOPS_TEST_MONGODB_URL", "")
WHICH = "real-mongodb" if REAL_URL else "mongomock"
HOUR = timedelta(hours=1)


class Server:
    """One database of one server."""

    def __init__(self) -> None:
        self.name = f"mlops_test_{uuid.uuid4().hex[:12]}"
        self.client: MongoClient[dict[str, Any]] = MongoClient(REAL_URL) if REAL_URL else mongomock.MongoClient()

    def documents(self) -> dict[str, dict[str, Any]]:
        """Everything in it, by kind and id."""
        database = self.client[self.name]
        names = database.list_collection_names()
        return {f"{name}/{one['_id']}": one for name in names for one in database[name].find()}

    def close(self) -> None:
        self.client.drop_database(self.name)
        self.client.close()


class Fault(StrEnum):
    """What happens to one call."""

    NONE = "none"
    CUT = "cut"  # the server never hears of it
    LOST = "lost"  # the server does it, the reply is lost
    HALF = "half"  # the server does half of it, then the connection breaks
    LATE = "late"  # the client gives up waiting, and the server does it some time later


class Network:
    """Between a mirror and its server. It misbehaves as planned, and well once the plan is over."""

    def __init__(self, server: Server, plan: Iterable[Fault] = ()) -> None:
        self.server, self.plan, self.calls = server, list(plan), 0
        self.late: list[Callable[[], object]] = []

    def mirror(self) -> MongoMirror:
        return MongoMirror("mongodb://unused", self.server.name, connect=lambda _: Connection(self))  # type: ignore[arg-type]

    def arrive(self, order: random.Random) -> None:
        """Let what is late reach the server, in any order."""
        order.shuffle(self.late)
        for call in self.late:
            call()
        self.late.clear()

    def send(self, kind: str, requests: Sequence[ReplaceOne[dict[str, Any]]]) -> None:
        self.calls += 1
        collection = self.server.client[self.server.name][kind]
        fault = self.plan.pop(0) if self.plan else Fault.NONE
        if fault is Fault.CUT:
            raise AutoReconnect("connection reset by peer")
        if fault is Fault.LATE:
            self.late.append(lambda: _ignoring_stale(collection, requests))
            raise NetworkTimeout("timed out")
        if fault is Fault.HALF:
            _ignoring_stale(collection, requests[: (len(requests) + 1) // 2])
            raise AutoReconnect("connection closed")
        if fault is Fault.LOST:
            _ignoring_stale(collection, requests)
            raise NetworkTimeout("timed out")
        collection.bulk_write(list(requests), ordered=False)


class Connection:
    """As much of a client as the mirror uses."""

    def __init__(self, network: Network, kind: str = "") -> None:
        self._network, self._kind = network, kind

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __getitem__(self, name: str) -> Connection:
        return Connection(self._network, name)

    def bulk_write(self, requests: Sequence[ReplaceOne[dict[str, Any]]], *, ordered: bool) -> None:
        assert not ordered
        self._network.send(self._kind, requests)

    def find(self, *query: dict[str, Any]) -> Iterable[dict[str, Any]]:
        return self._network.server.client[self._network.server.name][self._kind].find(*query)


def _ignoring_stale(collection: Any, requests: Sequence[ReplaceOne[dict[str, Any]]]) -> None:
    """Do what a server does whose reply nobody hears."""
    with contextlib.suppress(BulkWriteError):
        collection.bulk_write(list(requests), ordered=False)
