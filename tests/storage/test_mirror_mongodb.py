"""A mirror in MongoDB over a bad network: it becomes what the outbox says, whatever happens on the way.

Each test's id says which MongoDB it ran against.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo import ReplaceOne
from pymongo.errors import BulkWriteError

from mlops_assets.storage.mirror.mirrors import Mirrors
from mlops_assets.storage.mirror.mongodb import MongoMirror
from mlops_assets.storage.mirror.outbox import MirrorOutbox
from mlops_assets.storage.mirror.target import MirrorDocument, MirrorUnavailable
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import mirror_delivery, mirror_document
from tests.alerts.worlds import MovingClock
from tests.storage.mirror_worlds import HOUR, WHICH, Fault, Network, Server

TURN = timedelta(seconds=25)
AT = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture(params=[WHICH])
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def document(id: str, rev: int, *, kind: str = "models", **content: Any) -> MirrorDocument:
    return MirrorDocument(kind=kind, id=id, rev=rev, content={"value": rev, **content}, updated_at=AT)


def put(database: Database, outbox: MirrorOutbox, kind: str, id: str, rev: int) -> None:
    with database.begin() as connection:
        outbox.put(connection, kind, id, rev, {"value": rev, "nested": {"seen": [rev]}})


def expected(database: Database) -> dict[str, dict[str, Any]]:
    """What the mirror has to be, read from the outbox's table and nothing else."""
    with database.read() as connection:
        rows = connection.execute(sa.select(mirror_document)).mappings().all()
    return {
        f"{row['kind']}/{row['id']}": {
            **row["document"],
            "_id": row["id"],
            "rev": row["rev"],
            "updated_at": row["updated_at"].isoformat(),
        }
        for row in rows
    }


def settle(mirrors: Mirrors, network: Network, clock: MovingClock) -> None:
    """Let everything late arrive and deliver until nothing is behind."""
    network.plan.clear()
    network.arrive(random.Random(3))
    for _ in range(3):
        clock.move(HOUR)
        mirrors.deliver_due(within=TURN)
    assert [one.undelivered for one in mirrors.standings()] == [0]


def test_half_of_the_calls_cut_half_of_the_replies_lost_and_everything_out_of_order(database: Database, server: Server):
    chance, clock = random.Random(7), MovingClock()
    outbox, network = MirrorOutbox(database, clock), Network(server)
    mirror = network.mirror()
    mirror.at_once = 7
    mirrors = Mirrors(outbox, [mirror], clock)
    for rev in range(1, 401):
        put(database, outbox, chance.choice(["models", "serving"]), f"m{chance.randrange(25)}", rev)
        if rev % 5 == 0:
            network.plan += [chance.choice(list(Fault)) for _ in range(3)]
            mirrors.deliver_due(within=TURN)
            clock.move(timedelta(seconds=chance.randrange(300)))
        if rev % 50 == 0:
            network.arrive(chance)
    settle(mirrors, network, clock)
    assert server.documents() == expected(database)
    assert len(server.documents()) > 30


STEPS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from("abc"), st.none()),
    st.tuples(st.just("deliver"), st.sampled_from(list(Fault)), st.sampled_from(list(Fault))),
    st.tuples(st.just("arrive"), st.integers(0, 9), st.none()),
    st.tuples(st.just("again"), st.none(), st.none()),
    st.tuples(st.just("die"), st.none(), st.none()),
)


@pytest.mark.parametrize("which", [WHICH])
@settings(max_examples=40)
@given(data=st.data())
def test_any_interleaving_of_changes_drops_lost_replies_and_late_calls_converges(
    emptied: Database, which: str, data: st.DataObject
):
    server, clock = Server(), MovingClock()
    _empty(emptied)
    outbox, network = MirrorOutbox(emptied, clock), Network(server)
    mirrors, rev, seen = Mirrors(outbox, [network.mirror()], clock), 0, list[MirrorDocument]()
    for what, one, other in data.draw(st.lists(STEPS, max_size=25)):
        if what == "put":
            rev += 1
            put(emptied, outbox, "models", str(one), rev)
            seen.append(document(str(one), rev, nested={"seen": [rev]}))
        elif what == "deliver":
            network.plan = [Fault(one), Fault(other)]
            mirrors.deliver_due(within=TURN)
            clock.move(timedelta(minutes=1))
        elif what == "arrive":
            network.arrive(random.Random(one))
        elif what == "again" and seen:  # an old state, once more
            network.plan = []
            network.mirror().take(seen[:1], within=TURN)
            outbox_has = expected(emptied)["models/" + seen[0].id]["rev"]
            assert server.documents()["models/" + seen[0].id]["rev"] <= outbox_has
        elif what == "die":  # somebody claims everything and is never heard of again
            outbox.claim("mongodb", kinds=None, limit=9)
    settle(mirrors, network, clock)
    assert server.documents() == expected(emptied)
    server.close()


@pytest.fixture(scope="module")
def emptied(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """One database for all examples: each empties it."""
    made = Database(f"sqlite:///{tmp_path_factory.mktemp('mirror') / 'platform.db'}")
    made.migrate()
    return made


def _empty(database: Database) -> None:
    with database.begin() as connection:
        for table in (mirror_document, mirror_delivery):
            connection.execute(sa.delete(table))


def test_an_older_state_changes_nothing_and_is_taken(server: Server):
    mirror = Network(server).mirror()
    newer, older, other = document("a", 5), document("a", 3), document("b", 4)
    assert mirror.take([newer], within=TURN) == {}
    assert mirror.take([other, older], within=TURN) == {}
    assert {key: one["rev"] for key, one in server.documents().items()} == {"models/a": 5, "models/b": 4}


def test_the_same_state_again_mends_a_copy_that_somebody_edited_or_removed(server: Server):
    mirror, ours = Network(server).mirror(), [document("a", 5), document("b", 6)]
    mirror.take(ours, within=TURN)
    before, models = server.documents(), server.client[server.name]["models"]
    models.update_one({"_id": "a"}, {"$set": {"value": 0, "forged": True}})
    models.delete_one({"_id": "b"})
    assert mirror.take(ours, within=TURN) == {}
    assert server.documents() == before


def test_a_duplicate_key_because_an_older_state_was_inserted_meanwhile_is_not_taken_for_stale(server: Server):
    class Racing(Network):
        """Between our search and our insert, somebody inserts an older state."""

        def send(self, kind: str, requests: list[ReplaceOne[dict[str, Any]]]) -> None:  # type: ignore[override]
            if self.calls == 0:
                self.calls += 1
                self.server.client[self.server.name][kind].insert_one({"_id": "a", "rev": 3})
                raise BulkWriteError({"writeErrors": [{"index": 0, "code": 11000, "errmsg": "E11000"}]})
            super().send(kind, requests)

    mirror = Racing(server).mirror()
    assert mirror.take([document("a", 5)], within=TURN) == {"models/a": "an older state was written at the same moment"}
    assert mirror.take([document("a", 5)], within=TURN) == {}
    assert server.documents()["models/a"]["rev"] == 5


def test_a_document_that_bson_cannot_hold_is_refused_alone(server: Server):
    unfit = [document("large", 1, text="x" * (17 * 1024 * 1024)), document("number", 2, seed=2**70)]
    refused = Network(server).mirror().take([document("a", 3), *unfit], within=TURN)
    assert sorted(refused) == ["models/large", "models/number"]
    assert "MongoDB takes 16777216" in refused["models/large"]
    assert [*server.documents()] == ["models/a"]


def test_a_write_that_the_majority_did_not_confirm_is_not_taken_for_done(server: Server):
    class Unconfirmed(Network):
        def send(self, kind: str, requests: object) -> None:
            raise BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 64, "errmsg": "timed out"}]})

    with pytest.raises(MirrorUnavailable):
        Unconfirmed(server).mirror().take([document("a", 1)], within=TURN)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mongodb://ana:s3cret@127.0.0.1:{port}", "ServerSelectionTimeoutError"),
        ("mongodb://ana:s3cret/x@localhost:1", "ValueError"),
        ("https://ana:s3cret@localhost", "InvalidURI"),
    ],
)
def test_a_server_that_is_not_there_is_told_in_time_and_without_the_password(url: str, said: str):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # taken, and nobody listens
        mirror = MongoMirror(url.format(port=unused.getsockname()[1]), "mlops_assets")
        began = time.monotonic()
        with pytest.raises(MirrorUnavailable, match=said) as caught:
            mirror.take([document("a", 1)], within=timedelta(milliseconds=300))
    assert time.monotonic() - began < 3
    assert "s3cret" not in str(caught.value)
