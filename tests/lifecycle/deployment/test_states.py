"""The states of a deployment: every one has a REST status and a way on, and the database goes by the same table."""

from __future__ import annotations

import pytest

from mlops_assets.kernel.errors import Conflict
from mlops_assets.lifecycle.deployment.states import (
    FINAL,
    RUNNING,
    TRANSITIONS,
    WAITING,
    DeploymentStatus,
    State,
    Verb,
    moved,
    rest_status,
    state_diagram,
    states_of,
)
from mlops_assets.storage.sql.migrations import lifecycle_guards


def test_every_state_is_shown_and_every_status_shows_some():
    by_status = {
        "pending": {"registered", "evidence_complete", "in_review"},
        "validating": {"approved", "shadow"},
        "deploying": {"canary"},
        "active": {"champion"},
        "failed": {"rejected", "expired"},
        "rollback": {"rolled_back"},
        "terminated": {"superseded", "retired"},
    }
    assert {state.value: rest_status(state).value for state in State} == {
        state: status for status, states in by_status.items() for state in states
    }
    assert {status: states_of(status) for status in DeploymentStatus} == by_status


def test_only_what_people_or_time_ended_has_no_way_on():
    assert {"rolled_back", "retired", "rejected", "expired"} == FINAL
    assert RUNNING | WAITING | FINAL | {State.SUPERSEDED} == set(State)
    assert not RUNNING & WAITING


def test_every_state_but_the_first_is_reached_from_it():
    reached = {State.REGISTERED}
    while more := {one.target for one in TRANSITIONS if one.source in reached} - reached:
        reached |= more
    assert reached == set(State)


def test_the_database_lets_through_what_the_table_says():
    assert set(lifecycle_guards.MOVES) == {(one.source, one.target) for one in TRANSITIONS}
    assert len(lifecycle_guards.MOVES) == len(set(lifecycle_guards.MOVES))


def test_one_verb_leads_between_two_states():
    assert len({(one.source, one.target) for one in TRANSITIONS}) == len(TRANSITIONS)


def test_a_move_that_there_is_not_says_from_where_it_would_be():
    assert moved(State.APPROVED, Verb.PROMOTE, State.CHAMPION, what="it") is State.CHAMPION
    with pytest.raises(Conflict, match=r"it is rejected; to make it champion .* one of: approved, shadow, canary"):
        moved(State.REJECTED, Verb.PROMOTE, State.CHAMPION, what="it")


def test_the_diagram_draws_every_move_and_every_end():
    drawn = state_diagram()
    assert drawn.count(" --> ") == 1 + len(TRANSITIONS) + len(FINAL)
    assert "    superseded --> champion: restore" in drawn
