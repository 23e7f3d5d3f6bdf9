"""What the database itself refuses, to whoever writes to it past the store."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from mlops_assets.governance.spec import Approval
from tests.governance.worlds import Desk

DECISION = (
    "INSERT INTO approval_decision VALUES (:id, :who, 'approve', :role, :evidence, '', '', '2026-01-05 12:00:00')"
)
OVERRIDE = "INSERT INTO approval_override VALUES (:id, :who, :evidence, 'now', '', '2026-01-05 12:00:00')"


def execute(desk: Desk, request: Approval, *statements: str, **values: str) -> None:
    bound = {"id": request.id, "evidence": request.evidence_fingerprint, "role": "quant", "who": "eve", **values}
    with desk.database.begin() as connection:
        for statement in statements:
            wanted = {name: value for name, value in bound.items() if f":{name}" in statement}
            connection.execute(sa.text(statement), wanted)


def refused(desk: Desk, request: Approval, words: str, *statements: str, **values: str) -> None:
    with pytest.raises(sa.exc.IntegrityError, match=words):
        execute(desk, request, *statements, **values)


@pytest.mark.parametrize("name", ["aron", "dagster"])
def test_nobody_decides_or_overrides_for_their_own_work(desk: Desk, name: str):
    request = desk.request()
    desk.store.start_review(request.id, by=desk.ben)
    refused(desk, request, "authored, launched or submitted", DECISION, who=name)
    refused(desk, request, "authored, launched or submitted", OVERRIDE, who=name)


def test_who_has_decided_can_not_be_made_an_author_afterwards(desk: Desk):
    request = desk.request()
    desk.approve(request, desk.ben)
    party = "INSERT INTO approval_party VALUES (:id, :who, 'author')"
    refused(desk, request, "somebody who decided", party, who="ben")


def test_a_decision_is_one_a_person_about_this_evidence_while_in_review(desk: Desk):
    request = desk.request()
    refused(desk, request, "not in review", DECISION)
    desk.store.start_review(request.id, by=desk.ben)
    refused(desk, request, "other evidence", DECISION, evidence="0" * 64)
    refused(desk, request, "holds this row already", DECISION, DECISION)


def test_approval_takes_the_quorum_the_role_and_no_rejection(desk: Desk):
    request = desk.request(tier=1)
    desk.approve(request, desk.ben)
    approve = "UPDATE approval SET state = 'approved' WHERE id = :id"
    refused(desk, request, "needs its quorum", approve)
    refused(desk, request, "needs its quorum", DECISION, approve, role="mlops")
    rejection = DECISION.replace("'approve'", "'reject'").replace(":who", "'cho'")
    refused(desk, request, "no rejection", DECISION, rejection, approve, role="compliance")
    execute(desk, request, DECISION, approve, role="compliance")


def test_an_override_takes_two_people(desk: Desk):
    request = desk.request()
    desk.store.override(request.id, by=desk.ben, reason="now")
    override = "UPDATE approval SET state = 'approved', is_override = 1 WHERE id = :id"
    refused(desk, request, "two people", override)
    execute(desk, request, OVERRIDE, override)


@pytest.mark.parametrize(
    "change",
    [
        "quorum = 1",
        "required_role = NULL",
        "evidence_fingerprint = '0'",
        "valid_days = 9999",
        "tier = 3",
        "subject = 'x'",
        "evidence = '{}'",
    ],
)
def test_what_a_request_is_bound_to_never_changes(desk: Desk, change: str):
    request = desk.request(tier=1)
    refused(desk, request, "never changes", f"UPDATE approval SET {change} WHERE id = :id")


@pytest.mark.parametrize("table", ["approval", "approval_party", "approval_decision", "approval_override"])
def test_nothing_is_deleted_and_no_word_is_changed(desk: Desk, table: str):
    request = desk.request()
    desk.approve(request, desk.cho)
    desk.store.override(request.id, by=desk.ben, reason="now")
    refused(desk, request, "never changed or deleted", f"DELETE FROM {table}")
    if table != "approval":
        refused(desk, request, "never changed or deleted", f"UPDATE {table} SET approval_id = approval_id")


@pytest.mark.parametrize(
    "change", ["expires_at = '2099-01-01 00:00:00'", "decided_at = NULL", "is_override = 0", "closed_reason = 'x'"]
)
def test_what_a_move_wrote_stays_until_the_next_move(desk: Desk, change: str):
    request = desk.request()
    for one in (desk.ben, desk.cho):
        desk.store.override(request.id, by=one, reason="now")
    refused(desk, request, "changes only by a move", f"UPDATE approval SET {change} WHERE id = :id")
    hidden = "UPDATE approval SET state = 'expired', is_override = 0 WHERE id = :id"
    refused(desk, request, "stays one", hidden)
