"""What the outbox keeps and when it is due: SQLite always, PostgreSQL where a server is installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from mlops_assets.storage.mirror import delivery as rules
from mlops_assets.storage.mirror.mirrors import Mirrors
from mlops_assets.storage.mirror.outbox import MirrorOutbox
from mlops_assets.storage.mirror.target import MirrorDocument, MirrorUnavailable, Refused
from mlops_assets.storage.sql.database import Database
from tests.alerts.worlds import MovingClock
from tests.ledger.databases import has_postgres, postgres_cluster

needs_postgres = pytest.mark.skipif(not has_postgres(), reason="no PostgreSQL server is installed here")
TURN = timedelta(seconds=25)


class Notebook:
    """A mirror that writes down what it takes, unless it is told not to."""

    kinds: frozenset[str] | None = None

    def __init__(self, name: str = "notebook", *, at_once: int = 100) -> None:
        self.name, self.at_once = name, at_once
        self.taken: list[tuple[str, int]] = []
        self.down = ""
        self.refuses: dict[str, str] = {}
        self.within: list[timedelta] = []

    def take(self, documents: Sequence[MirrorDocument], *, within: timedelta) -> Refused:
        self.within.append(within)
        if self.down:
            raise MirrorUnavailable(self.down)
        self.taken += [(one.key, one.rev) for one in documents if one.key not in self.refuses]
        return {one.key: self.refuses[one.key] for one in documents if one.key in self.refuses}

    def forget(self) -> None: ...


@pytest.fixture
def moving() -> MovingClock:
    return MovingClock()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        made = Database(f"sqlite:///{tmp_path / 'platform.db'}")
        made.migrate()
        yield made
        return
    with postgres_cluster() as url:
        made = Database(url)
        made.migrate()
        yield made
        made.dispose()


@pytest.fixture
def outbox(database: Database, moving: MovingClock) -> MirrorOutbox:
    return MirrorOutbox(database, moving)


def put(database: Database, outbox: MirrorOutbox, id: str, rev: int, *, kind: str = "models", value: int = 0) -> None:
    with database.begin() as connection:
        outbox.put(connection, kind, id, rev, {"value": value or rev})


def test_the_newest_state_goes_out_once_and_what_comes_later_goes_out_again(kept: Database, moving: MovingClock):
    outbox, target = MirrorOutbox(kept, moving), Notebook()
    mirrors = Mirrors(outbox, [target], moving)
    for id, rev in (("a", 1), ("b", 2), ("a", 4), ("a", 3)):  # 3 is older than what is there
        put(kept, outbox, id, rev)
    (before,) = mirrors.standings()
    assert (before.documents, before.undelivered, before.oldest_at) == (2, 2, moving.at)
    assert [turn.delivered for turn in mirrors.deliver_due(within=TURN)] == [2]
    assert target.taken == [("models/b", 2), ("models/a", 4)]
    assert [turn.delivered for turn in mirrors.deliver_due(within=TURN)] == [0]
    put(kept, outbox, "b", 9)
    mirrors.deliver_due(within=TURN)
    assert target.taken[2:] == [("models/b", 9)]
    (after,) = mirrors.standings()
    assert (after.undelivered, after.oldest_at, after.delivered_at) == (0, None, moving.at)
    late = Notebook("late")  # a mirror that is switched on later gets everything
    Mirrors(outbox, [late], moving).deliver_due(within=TURN)
    assert late.taken == [("models/a", 4), ("models/b", 9)]
    with kept.begin() as connection:
        outbox.reset(connection, "late")
    Mirrors(outbox, [late], moving).deliver_due(within=TURN)
    assert late.taken[2:] == late.taken[:2]


def test_what_is_put_in_a_transaction_that_fails_is_not_there(database: Database, outbox: MirrorOutbox):
    with pytest.raises(RuntimeError), database.begin() as connection:
        outbox.put(connection, "models", "a", 1, {})
        raise RuntimeError("the ledger did not take it")
    assert outbox.claim("x", kinds=None, limit=9) == []


def test_one_mirror_that_is_down_holds_up_no_other_and_never_loses_anything(
    database: Database, outbox: MirrorOutbox, moving: MovingClock
):
    down, up = Notebook("down"), Notebook("up")
    down.down = "connection refused\nwhile asking"
    mirrors = Mirrors(outbox, [down, up], moving)
    put(database, outbox, "a", 1)
    waits: list[timedelta] = []
    for _ in range(40):
        first, second = mirrors.deliver_due(within=TURN)
        assert (first.delivered, first.problem) == (0, down.down)
        assert second.problem == ""
        standing, _ = mirrors.standings()
        assert (standing.undelivered, standing.last_error) == (1, "connection refused while asking")
        assert outbox.claim("down", kinds=None, limit=9) == []  # it waits
        began = moving.at
        while not (due := outbox.claim("down", kinds=None, limit=9)):
            moving.move(timedelta(seconds=5))
        waits.append(moving.at - began)
        outbox.conclude(due, {"models/a": "again"})
        moving.move(rules.LONGEST_PAUSE)
    assert up.taken == [("models/a", 1)]
    assert timedelta(seconds=15) <= waits[0] <= timedelta(seconds=35)
    assert all(rules.LONGEST_PAUSE / 2 <= one <= rules.LONGEST_PAUSE + timedelta(seconds=5) for one in waits[9:])
    assert len(set(waits[9:])) > 3  # spread, not in step
    down.down = ""
    moving.move(rules.LONGEST_PAUSE)
    mirrors.deliver_due(within=TURN)
    assert down.taken == [("models/a", 1)]


def test_delivering_by_hand_does_not_wait_for_the_pause(database: Database, outbox: MirrorOutbox, moving: MovingClock):
    target = Notebook()
    target.down = "connection refused"
    mirrors = Mirrors(outbox, [target], moving)
    put(database, outbox, "a", 1)
    mirrors.deliver_due(within=TURN)
    target.down = ""
    assert mirrors.deliver_due(within=TURN)[0].delivered == 0
    assert mirrors.deliver_now(target).delivered == 1


def test_a_document_that_is_refused_holds_up_no_other(database: Database, outbox: MirrorOutbox, moving: MovingClock):
    target = Notebook(at_once=2)
    target.refuses = {"models/b": "too large"}
    mirrors = Mirrors(outbox, [target], moving)
    for rev, id in enumerate("abcd", start=1):
        put(database, outbox, id, rev)
    (turn,) = mirrors.deliver_due(within=TURN)
    assert (turn.delivered, turn.refused, turn.problem) == (3, 1, "")
    assert [key for key, _ in target.taken] == ["models/a", "models/c", "models/d"]
    (standing,) = mirrors.standings()
    assert (standing.undelivered, standing.last_error) == (1, "too large")


def test_what_is_put_while_an_older_state_is_on_its_way_goes_out_too(database: Database, outbox: MirrorOutbox):
    put(database, outbox, "a", 1)
    claims = outbox.claim("x", kinds=None, limit=9)
    put(database, outbox, "a", 2)
    assert outbox.claim("x", kinds=None, limit=9) == []  # somebody is at it
    outbox.conclude(claims, {})
    assert [one.document.rev for one in outbox.claim("x", kinds=None, limit=9)] == [2]


def test_a_deliverer_that_died_is_taken_for_dead_when_its_claim_ends(
    database: Database, outbox: MirrorOutbox, moving: MovingClock
):
    put(database, outbox, "a", 1)
    dead = outbox.claim("x", kinds=None, limit=9)
    moving.move(rules.CLAIM)
    second = outbox.claim("x", kinds=None, limit=9)
    assert [one.delivery.attempts for one in (*dead, *second)] == [1, 2]
    outbox.conclude(dead, {"models/a": "it only was slow"})  # says nothing about the second attempt
    assert outbox.standing("x", kinds=None).last_error == ""
    outbox.conclude(dead, {})  # what was delivered is, whoever did it
    outbox.conclude(second, {"models/a": "too late to fail"})
    standing = outbox.standing("x", kinds=None)
    assert (standing.undelivered, standing.last_error) == (0, "")


def test_an_older_delivery_never_takes_a_newer_one_back(moving: MovingClock):
    now = replace(rules.first("x", "models", "a", moving.at), delivered_rev=7)
    assert rules.delivered(now, 5, moving.at).delivered_rev == 7


def test_a_reset_counts_more_than_what_was_on_its_way(database: Database, outbox: MirrorOutbox):
    put(database, outbox, "a", 1)
    claims = outbox.claim("x", kinds=None, limit=9)
    with database.begin() as connection:
        outbox.reset(connection, "x")
    outbox.conclude(claims, {})
    assert outbox.standing("x", kinds=None).undelivered == 1


def test_a_mirror_gets_only_the_kinds_that_it_takes(database: Database, outbox: MirrorOutbox, moving: MovingClock):
    target = Notebook()
    target.kinds = frozenset({"models"})
    put(database, outbox, "a", 1)
    put(database, outbox, "a", 2, kind="serving")
    mirrors = Mirrors(outbox, [target], moving)
    mirrors.deliver_due(within=TURN)
    assert target.taken == [("models/a", 1)]
    (standing,) = mirrors.standings()
    assert (standing.documents, standing.undelivered) == (1, 0)


def test_no_call_begins_in_the_second_half_of_a_turn_and_each_ends_with_it(
    database: Database, outbox: MirrorOutbox, moving: MovingClock
):
    class Slow(Notebook):
        def take(self, documents: Sequence[MirrorDocument], *, within: timedelta) -> Refused:
            moving.move(timedelta(seconds=6))
            return super().take(documents, within=within)

    target = Slow(at_once=1)
    for rev in range(1, 9):
        put(database, outbox, f"m{rev}", rev)
    (turn,) = Mirrors(outbox, [target], moving).deliver_due(within=TURN)
    assert turn.delivered == 3
    assert [one.total_seconds() for one in target.within] == [25, 19, 13]


def test_a_mirror_that_is_not_on_is_named_with_those_that_are(outbox: MirrorOutbox, moving: MovingClock):
    from mlops_assets.kernel.errors import UnknownReference

    mirrors = Mirrors(outbox, [Notebook("mongodb")], moving)
    with pytest.raises(UnknownReference, match="did you mean 'mongodb'"):
        mirrors.chosen("mongo", asked_by="tests")
