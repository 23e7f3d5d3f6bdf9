"""A copy in MongoDB: one collection for each kind, one document for each thing, only ever replaced by a newer one.

`{_id, rev: {$lte: rev}}` is replaced or inserted. Where a newer one is, MongoDB finds no match, tries to insert and
reports a duplicate key: the state is stale and nothing is to be done. At the same revision it writes the same again,
which mends a copy that somebody edited.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from mlops_assets.storage.mirror.target import MirrorDocument, MirrorUnavailable, MissingExtra, Refused

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.collection import Collection

NAME = "mongodb"
_LONGEST_CONNECT = timedelta(seconds=5)
_DUPLICATE_KEY = 11000
_LARGEST = 16 * 1024 * 1024


class MongoMirror:
    """The mirror that `MLOPS_MONGODB_URL` switches on."""

    name = NAME
    kinds = None
    at_once = 500

    def __init__(
        self,
        url: str,
        database: str,
        *,
        connect: Callable[[timedelta], MongoClient[dict[str, Any]]] | None = None,
    ) -> None:
        self._url, self._database = url, database
        self._connect = connect or self._client

    def take(self, documents: Sequence[MirrorDocument], *, within: timedelta) -> Refused:
        """Write documents, those of a kind in one call.

        Raises:
            MirrorUnavailable: if the server does not answer in time or refuses us.
        """
        try:
            from pymongo.errors import PyMongoError
        except ImportError as error:
            raise MissingExtra(package="pymongo", extra="mongodb", setting="MLOPS_MONGODB_URL") from error
        by_kind: dict[str, list[MirrorDocument]] = defaultdict(list)
        refused: dict[str, str] = {}
        for one in documents:
            if problem := _unfit(one):
                refused[one.key] = problem
            else:
                by_kind[one.kind].append(one)
        try:
            with self._connect(within) as client:
                for kind, of_kind in by_kind.items():
                    refused |= _write(client[self._database][kind], of_kind)
        except (PyMongoError, ValueError) as error:  # ValueError: a port in the URL that is none
            raise MirrorUnavailable(f"MongoDB: {type(error).__name__}: {error}") from error
        return refused

    def forget(self) -> None:
        """Do nothing: what MongoDB has is known to MongoDB alone."""

    def _client(self, within: timedelta) -> MongoClient[dict[str, Any]]:
        """Return a client whose server answers. A client with a time for all tries again until that is over."""
        import pymongo
        from pymongo.errors import PyMongoError

        client: MongoClient[dict[str, Any]] = pymongo.MongoClient(
            self._url, timeoutMS=int(within.total_seconds() * 1000), w="majority", appname="mlops_assets"
        )
        try:
            with pymongo.timeout(min(within, _LONGEST_CONNECT).total_seconds()):
                client.admin.command("ping")
        except PyMongoError:
            client.close()
            raise
        return client


def _write(collection: Collection[dict[str, Any]], documents: Sequence[MirrorDocument]) -> Refused:
    from pymongo import ReplaceOne
    from pymongo.errors import BulkWriteError

    requests = [ReplaceOne({"_id": one.id, "rev": {"$lte": one.rev}}, _stored(one), upsert=True) for one in documents]
    try:
        collection.bulk_write(requests, ordered=False)
    except BulkWriteError as error:
        found: Mapping[str, Any] = error.details
        if found.get("writeConcernErrors"):
            raise
        problems = {documents[one["index"]].key: one for one in found["writeErrors"]}
        stale = [one for one in documents if problems.get(one.key, {}).get("code") == _DUPLICATE_KEY]
        others = {key: one["errmsg"] for key, one in problems.items() if one["code"] != _DUPLICATE_KEY}
        return {**others, **_overtaken(collection, stale)}
    return {}


def _overtaken(collection: Collection[dict[str, Any]], stale: Sequence[MirrorDocument]) -> Refused:
    """Name what is not stale: somebody inserted an older state between our search and our insert."""
    ids = [one.id for one in stale]
    there = {one["_id"]: one["rev"] for one in collection.find({"_id": {"$in": ids}}, {"rev": 1})}
    return {
        one.key: "an older state was written at the same moment" for one in stale if there.get(one.id, -1) < one.rev
    }


def _stored(one: MirrorDocument) -> dict[str, Any]:
    return {"updated_at": one.updated_at.isoformat(), **one.content, "_id": one.id, "rev": one.rev}


def _unfit(one: MirrorDocument) -> str:
    """Say why BSON can't hold a document: it would fail the whole call."""
    import bson
    from bson.errors import BSONError

    try:
        size = len(bson.encode(_stored(one)))
    except (BSONError, OverflowError, UnicodeEncodeError) as error:
        return f"{type(error).__name__}: {error}"
    return f"{size} bytes, MongoDB takes {_LARGEST}" if size > _LARGEST else ""
