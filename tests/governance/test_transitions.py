"""The one table of moves, against the diagram, the migration's list and what the database really lets through."""

from __future__ import annotations

import re
from itertools import product

import pytest
import sqlalchemy as sa

from mlops_assets.governance.transitions import LIVE, TRANSITIONS, State, Verb, state_diagram
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.migrations import governance_guards
from mlops_assets.storage.sql.tables import approval
from tests.governance.worlds import NOW

MOVES = {(one.source.value, one.target.value) for one in TRANSITIONS if one.source is not one.target}


def test_the_table_is_that_of_the_issue():
    """draft → submitted → in_review → approved | rejected → expired | revoked"""
    assert set(governance_guards.MOVES) == MOVES
    assert {State.REJECTED, State.EXPIRED, State.REVOKED} == set(State) - LIVE
    assert {one.target for one in TRANSITIONS if one.verb is Verb.SUBMIT} == {State.SUBMITTED}


def test_from_draft_every_state_can_be_reached():
    reached = {State.DRAFT}
    for _ in State:
        reached |= {one.target for one in TRANSITIONS if one.source in reached}
    assert reached == set(State)


def test_the_diagram_draws_every_move_once():
    lines = [line.strip() for line in state_diagram().splitlines()]
    assert lines[:2] == ["stateDiagram-v2", "[*] --> draft: draft"]
    drawn = [re.fullmatch(r"(\w+) --> (\w+): (\w+)( \(.+\))?", line) for line in lines[2:]]
    assert [one.group(1, 3, 2) for one in drawn if one] == [
        (move.source, move.verb, move.target) for move in TRANSITIONS
    ]


def insert(connection: sa.Connection, state: State) -> None:
    """Put a row into a state as only somebody with the database in their hands can: without the guards."""
    connection.execute(
        sa.insert(approval).values(
            id="a" * 64,
            subject="s",
            tier=3,
            evidence={"parts": []},
            evidence_fingerprint="f" * 64,
            round=1,
            quorum=1,
            state=state,
            is_override=False,
            closed_reason="",
            moved=[],
            created_by="dagster",
            created_at=NOW,
            valid_days=1,
        )
    )


@pytest.mark.parametrize(("before", "after"), [pair for pair in product(State, State) if pair[0] is not pair[1]])
def test_the_database_lets_through_what_the_table_says_and_nothing_else(
    database: Database, before: State, after: State
):
    with database.begin() as connection:
        for name in ("approval_begins_as_draft", "approval_decision_keeps_duties_apart"):
            connection.execute(sa.text(f"DROP TRIGGER {name}"))
        insert(connection, before)
        connection.execute(
            sa.text("INSERT INTO approval_decision VALUES (:id, 'ana', 'approve', 'quant', :evidence, '', '', :at)"),
            {"id": "a" * 64, "evidence": "f" * 64, "at": "2026-01-05 12:00:00"},
        )
    move = sa.update(approval).values(state=after)
    if (before.value, after.value) in MOVES:
        with database.begin() as connection:
            connection.execute(move)
    else:
        with pytest.raises(sa.exc.IntegrityError, match="does not move that way"), database.begin() as connection:
            connection.execute(move)
