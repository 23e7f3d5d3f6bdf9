"""Who served when: the log answers for every instant, and for many models and environments at once."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from mlops_assets.lifecycle.deployment.serving_moves import Action, Serving
from mlops_assets.lifecycle.deployment.states import State
from tests.governance.worlds import NOW
from tests.lifecycle.deployment_worlds import MODEL, STAGING, Floor


def test_where_nobody_ever_served_it_is_epoch_0_and_nobody(floor: Floor):
    nobody = Serving(model=MODEL, environment=STAGING)
    assert floor.now() == floor.serving.at(MODEL, STAGING, NOW) == nobody
    assert (floor.serving.heads(), floor.serving.history(MODEL, STAGING)) == ([], [])
    assert nobody.words == "nobody serves"


def test_which_version_served_at_an_instant(floor: Floor):
    served: list[tuple[int, int | None]] = []
    for hour, number in enumerate((1, 2, None, 4), start=1):
        floor.clock.at = NOW + timedelta(hours=hour)
        if number is None:
            floor.retire()
        else:
            floor.champion(number)
        served.append((hour, number))
    for hour, number in [(0, None), *served]:
        for minutes in (0, 59):
            found = floor.serving.at(MODEL, STAGING, NOW + timedelta(hours=hour, minutes=minutes))
            assert (found.champion and found.champion.version) == number
    assert floor.serving.at(MODEL, STAGING, NOW + timedelta(days=999)) == floor.now()


def test_the_question_is_one_query(floor: Floor):
    floor.champion(1)
    asked: list[str] = []
    sa.event.listen(floor.database.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    floor.serving.at(MODEL, STAGING, NOW)
    floor.now()
    assert [statement.split()[0] for statement in asked if statement.startswith("SELECT")] == ["SELECT", "SELECT"]


def test_who_serves_now_is_read_by_the_key_without_walking_or_sorting_the_log(floor: Floor):
    asked: list[tuple[str, object]] = []
    sa.event.listen(floor.database.engine, "before_cursor_execute", lambda *args: asked.append((args[2], args[3])))
    floor.now()
    ((statement, values),) = [one for one in asked if one[0].startswith("SELECT")]
    with floor.database.read() as connection:
        (step,) = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
    assert step[-1].startswith("SEARCH serving_move USING INDEX")
    assert step[-1].endswith("(model=? AND environment=?)")


def test_the_log_goes_forward_when_a_clock_goes_back(floor: Floor):
    floor.champion(1)
    two = floor.approved(2)
    floor.clock.at = NOW - timedelta(hours=3)
    moved = floor.promote(two)
    assert [move.at for move in floor.serving.history(MODEL, STAGING)] == [NOW, NOW]
    assert floor.serving.at(MODEL, STAGING, NOW) == moved.serving


def test_the_history_tells_who_did_what_and_why(floor: Floor):
    one = floor.champion(1)
    two = floor.approved(2)
    floor.promote(two, State.SHADOW, reason="try it")
    floor.stop(by=floor.quin)
    log = floor.serving.history(MODEL, STAGING)
    assert [(move.action, move.deployment_id, move.actor, move.reason) for move in log] == [
        (Action.CHAMPION, one.id, "mo", "it is better"),
        (Action.SHADOW, two.id, "mo", "try it"),
        (Action.STOP, two.id, "quin", "it trails"),
    ]
    actions = {entry.seq: entry.action for entry in floor.ledger.entries()}
    assert [actions[move.ledger_seq] for move in log] == [
        "deployment.promote",
        "deployment.promote",
        "deployment.rollback",
    ]


def test_heads_are_the_newest_of_every_place(floor: Floor):
    floor.champion(1, "development")
    floor.champion(1)
    floor.champion(2)
    heads = floor.serving.heads()
    assert [(one.environment, one.epoch) for one in heads] == [("development", 1), ("staging", 2)]
    assert heads == [floor.now("development"), floor.now()]


def test_the_moves_of_a_deployment_are_those_that_name_it(floor: Floor):
    one = floor.champion(1)
    two = floor.promote(floor.approved(2), State.SHADOW).deployment
    floor.stop()
    other = floor.champion(1, "development")
    found = floor.serving.of([one.id, two.id, other.id, "0" * 64])
    assert {key: [move.after.epoch for move in moves] for key, moves in found.items()} == {
        one.id: [1, 2, 3],
        two.id: [2, 3],
        other.id: [1],
        "0" * 64: [],
    }
    assert [move.runs(two.id) for move in found[two.id]] == [True, False]
    assert floor.serving.of([]) == {}


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (State.CHAMPION, "version 2 serves"),
        (State.SHADOW, "version 1 serves, version 2 runs as shadow"),
        (State.CANARY, "version 1 serves, version 2 runs as canary"),
    ],
)
def test_who_serves_in_words(floor: Floor, step: State, words: str):
    floor.champion(1)
    assert floor.promote(floor.approved(2), step).serving.words == words
