from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from mlops_assets.governance.approvals import TIME_TO_LIVE, State, Verdict
from mlops_assets.governance.store import ApprovalStore
from mlops_assets.kernel.clock import FixedClock
from mlops_assets.kernel.errors import Conflict, Forbidden
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.sql.database import Database


def principal(name: str, *roles: Role) -> Principal:
    return Principal(name=name, roles=frozenset(roles or {Role.COMPLIANCE}))


AUTHOR, ANA, BEN = principal("dagster", Role.SERVICE), principal("ana"), principal("ben", Role.MLOPS)
EVIDENCE = {"report": "a" * 64}


@pytest.fixture
def store(database: Database, ledger: Ledger, clock: FixedClock) -> ApprovalStore:
    return ApprovalStore(database, ledger, clock)


def submit(store: ApprovalStore, author: Principal = AUTHOR, evidence: dict[str, str] = EVIDENCE) -> str:
    return store.submit(subject="deployments/m@1", evidence=evidence, author=author, quorum=2).id


def approve(store: ApprovalStore, request: str, approver: Principal) -> State:
    return store.decide(request, approver=approver, verdict=Verdict.APPROVE, note="checked").state


def test_two_approvers_reach_the_quorum(store: ApprovalStore):
    request = submit(store)
    assert [approve(store, request, ANA), approve(store, request, BEN)] == [State.IN_REVIEW, State.APPROVED]


def test_one_rejection_is_enough(store: ApprovalStore):
    request = submit(store)
    approve(store, request, ANA)
    assert store.decide(request, approver=BEN, verdict=Verdict.REJECT, note="no").state is State.REJECTED
    with pytest.raises(Conflict, match="rejected"):
        approve(store, request, principal("cho"))


@pytest.mark.parametrize(
    ("author", "approver", "error"),
    [
        (ANA, ANA, Forbidden),
        (AUTHOR, principal("vera", Role.VIEWER), Forbidden),
        (AUTHOR, principal("quinn", Role.QUANT), Forbidden),
    ],
)
def test_authors_and_people_without_the_role_do_not_decide(
    store: ApprovalStore, ledger: Ledger, author: Principal, approver: Principal, error: type[Exception]
):
    request = submit(store, author=author)
    with pytest.raises(error):
        approve(store, request, approver)
    assert store.get(request).decisions == ()
    assert ledger.verify().entries == 1


def test_nobody_decides_twice(store: ApprovalStore):
    request = submit(store)
    approve(store, request, ANA)
    with pytest.raises(Conflict, match="already decided"):
        approve(store, request, ANA)
    assert store.get(request).state is State.IN_REVIEW


def test_a_request_expires_and_is_asked_for_again(
    store: ApprovalStore, database: Database, ledger: Ledger, clock: FixedClock
):
    request = submit(store)
    just_in_time = ApprovalStore(database, ledger, FixedClock(at=clock.at + TIME_TO_LIVE - timedelta(seconds=1)))
    assert approve(just_in_time, request, ANA) is State.IN_REVIEW
    late = ApprovalStore(database, ledger, FixedClock(at=clock.at + TIME_TO_LIVE))
    with pytest.raises(Conflict, match="expired"):
        approve(late, request, BEN)
    again = submit(late)
    assert again != request
    assert (late.get(request).state, late.get(again).state) == (State.EXPIRED, State.IN_REVIEW)
    assert late.get(again).decisions == ()
    assert submit(late) == again
    assert [approve(late, again, ANA), approve(late, again, BEN)] == [State.IN_REVIEW, State.APPROVED]
    with pytest.raises(Conflict, match="expired"):
        approve(late, request, principal("cho"))


def test_a_rejected_request_stays_rejected(store: ApprovalStore):
    request = submit(store)
    store.decide(request, approver=ANA, verdict=Verdict.REJECT, note="no")
    assert submit(store) == request
    with pytest.raises(Conflict, match="what changes it asks anew"):
        approve(store, request, BEN)


def test_changed_evidence_is_another_request(store: ApprovalStore):
    first, again = submit(store), submit(store)
    changed = submit(store, evidence={"report": "b" * 64})
    assert first == again
    assert changed != first
    assert [one.id for one in store.list(state=State.IN_REVIEW)] in ([first, changed], [changed, first])


def test_every_move_is_in_the_ledger(store: ApprovalStore, ledger: Ledger):
    request = submit(store)
    approve(store, request, ANA)
    approve(store, request, BEN)
    moves = [(entry.actor, entry.action, entry.details["state_after"]) for entry in ledger.entries()]
    assert moves == [
        ("dagster", "approval.submit", "in_review"),
        ("ana", "approval.approve", "in_review"),
        ("ben", "approval.approve", "approved"),
    ]


def test_the_database_refuses_to_change_a_decision(store: ApprovalStore, database: Database):
    approve(store, submit(store), ANA)
    with pytest.raises(sa.exc.IntegrityError, match="append-only"), database.begin() as connection:
        connection.execute(sa.text("UPDATE approval_decision SET approver = 'eve'"))
