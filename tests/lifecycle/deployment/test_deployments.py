"""How a version asks to be deployed, how its request follows its approval, and what happens when evidence moves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlops_assets.governance.spec import Verdict
from mlops_assets.governance.transitions import State as ApprovalState
from mlops_assets.kernel.errors import Conflict, Forbidden, IntegrityViolation, NotFound
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.lifecycle.deployment.checklist import ChecklistIncomplete
from mlops_assets.lifecycle.deployment.evidence import Gathered
from mlops_assets.lifecycle.deployment.states import DeploymentStatus, State
from mlops_assets.storage.sql.tables import deployment
from tests.lifecycle.deployment_worlds import COMPLETE, MODEL, SEALED, Floor

OTHER_REPORT = {"explanations": "8" * 64}
INCOMPLETE = {"explained_fingerprint": None}


def test_a_request_waits_for_an_approval_bound_to_its_evidence(floor: Floor):
    requested = floor.ask()
    assert requested.approval is not None
    assert requested.deployment.state is State.IN_REVIEW
    assert requested.deployment.status is DeploymentStatus.PENDING
    assert requested.approval.evidence_fingerprint == requested.deployment.evidence_fingerprint
    assert (requested.approval.quorum, requested.approval.state) == (2, ApprovalState.SUBMITTED)
    assert {one.principal for one in requested.approval.parties} == {"mia", "dagster"}
    assert floor.deployments.get(requested.deployment.id) == requested.deployment
    assert [entry.action for entry in floor.ledger.entries()] == [
        "deployment.request",
        "approval.draft",
        "approval.submit",
    ]
    assert floor.ask() == requested


def test_an_incomplete_checklist_is_remembered_and_completed_later(floor: Floor):
    floor.changes[1] = INCOMPLETE
    registered = floor.ask()
    assert (registered.deployment.state, registered.approval) == (State.REGISTERED, None)
    assert registered.deployment.open_items == ("explanations",)
    assert floor.ask().deployment == registered.deployment
    floor.changes[1] = {**INCOMPLETE, "drift_limits": {"momentum": None}}
    assert floor.ask().deployment.open_items == ("explanations", "drift_calibration.momentum")
    assert floor.approvals.list() == []
    floor.changes.clear()
    asked = floor.ask().deployment
    assert (asked.id, asked.state, asked.open_items) == (registered.deployment.id, State.IN_REVIEW, ())
    assert [one.action for one in floor.ledger.entries(action="deployment.*")] == [
        "deployment.request",
        "deployment.gather",
        "deployment.request",
    ]


def test_somebody_who_asks_now_is_told_what_is_missing_and_nothing_is_kept(floor: Floor):
    floor.changes[1] = INCOMPLETE
    with pytest.raises(ChecklistIncomplete, match="materialise explanations/signal_classifier") as caught:
        floor.ask(insists=True)
    assert caught.value.missing == ["explanations"]
    assert (floor.deployments.list(), list(floor.ledger.entries())) == ([], [])


def test_evidence_that_moves_is_approved_anew_and_says_which_part_moved(floor: Floor):
    one = floor.approved()
    (before,) = floor.approvals.list()
    floor.changes[1] = OTHER_REPORT
    again = floor.ask()
    assert (again.deployment.id, again.deployment.state) == (one.id, State.IN_REVIEW)
    void = floor.approvals.get(before.id)
    assert void.state is ApprovalState.REVOKED
    assert void.moved[0].startswith("explanations moved: dddddddddddd…")
    assert floor.states() == {1: [State.IN_REVIEW]}


def test_an_item_that_is_no_longer_shown_takes_the_request_back(floor: Floor):
    one = floor.approved()
    floor.changes[1] = INCOMPLETE
    after = floor.ask()
    assert (after.deployment.id, after.deployment.state, after.approval) == (one.id, State.REGISTERED, None)
    assert {request.state for request in floor.approvals.list()} == {ApprovalState.REVOKED}


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ({"reports": {"covid_crash": replace(SEALED, sha256="8" * 64)}}, "report.covid_crash moved"),
        ({"reports": {"covid_crash": replace(SEALED, gates_fingerprint="8" * 64)}}, "gates.covid_crash moved"),
        ({"drift_limits": {"momentum": "8" * 64}}, "drift_calibration.momentum moved"),
        ({"plan": {**COMPLETE.plan, "limits": {"max_error_rate": 0.5}}}, "limits_set moved"),
        ({"tier": 3}, "tier_rule moved"),
    ],
)
def test_whatever_moves_voids_the_approval(floor: Floor, change: dict[str, Any], moved: str):
    if "reports" in change:
        own = floor.version(1).fingerprint
        change = {"reports": {name: replace(one, version_fingerprint=own) for name, one in change["reports"].items()}}
    one = floor.approved()
    floor.changes[1] = change
    with pytest.raises(Conflict, match=f"was approved for other evidence: {moved}"):
        floor.promote(one)
    assert floor.state(one) is State.REGISTERED
    assert floor.now().champion is None
    assert {request.state for request in floor.approvals.list()} == {ApprovalState.REVOKED}


def test_a_newer_request_supersedes_what_waits_and_withdraws_its_approval(floor: Floor):
    first = floor.approved(1)
    other = floor.ask(2).deployment
    assert floor.states() == {1: [State.SUPERSEDED], 2: [State.IN_REVIEW]}
    (entry,) = floor.ledger.entries(action="deployment.supersede")
    assert (entry.details["deployment"], entry.details["superseded_by"]) == (first.id, other.id)
    (withdrawn,) = floor.approvals.list(subject=first.subject)
    assert withdrawn.closed_reason == f"superseded by deployment {other.id}"


def test_an_incomplete_candidate_does_not_end_what_people_approved(floor: Floor):
    floor.approved(1)
    floor.changes[2] = INCOMPLETE
    floor.ask(2)
    assert floor.states() == {1: [State.APPROVED], 2: [State.REGISTERED]}
    floor.changes[3] = INCOMPLETE
    floor.ask(3)
    assert floor.states() == {1: [State.APPROVED], 2: [State.SUPERSEDED], 3: [State.REGISTERED]}


def test_requests_of_another_environment_stay(floor: Floor):
    floor.ask(1)
    floor.ask(2, "development")
    assert floor.states() == {1: [State.IN_REVIEW], 2: [State.IN_REVIEW]}


def test_a_version_that_is_the_latest_again_asks_anew(floor: Floor):
    first, _, back = floor.ask(1), floor.ask(2), floor.ask(1)
    assert back.deployment.id != first.deployment.id
    assert floor.states() == {1: [State.SUPERSEDED, State.IN_REVIEW], 2: [State.SUPERSEDED]}


@pytest.mark.parametrize("name", ["dagster", "mia"])
def test_who_asked_or_made_the_evidence_can_not_approve(floor: Floor, name: str):
    approval = floor.ask().approval
    assert approval is not None
    maker = Principal(name=name, roles=frozenset({Role.MLOPS}))
    with pytest.raises(Forbidden, match="can't decide on it"):
        floor.approvals.decide(approval.id, by=maker, verdict=Verdict.APPROVE, note="")


def test_who_may_ask(floor: Floor):
    with pytest.raises(Forbidden, match=r"deployment\.request"):
        floor.ask(by=floor.ana)
    assert floor.ask(by=floor.quin).deployment.created_by == "quin"


def test_a_request_follows_its_approval(floor: Floor):
    rejected = floor.ask(1)
    floor.decide(rejected.approval, Verdict.REJECT)
    assert [one.state for one in floor.deployments.follow_approvals(by=floor.dagster)] == [State.REJECTED]
    assert floor.deployments.follow_approvals(by=floor.dagster) == []
    floor.ask(2)
    floor.clock.pass_by(days=14)
    assert [one.state for one in floor.deployments.follow_approvals(by=floor.dagster)] == [State.EXPIRED]
    approved = floor.approved(3)
    (standing,) = floor.approvals.list(state=ApprovalState.APPROVED)
    floor.approvals.revoke(standing.id, by=floor.ana, reason="the limits are wrong")
    floor.deployments.follow_approvals(by=floor.dagster)
    back = floor.deployments.get(approved.id)
    assert (back.state, back.evidence_fingerprint) == (State.REGISTERED, None)
    (entry,) = floor.ledger.entries(action="deployment.reopen")
    assert entry.reason == "the limits are wrong"
    assert floor.states() == {1: [State.REJECTED], 2: [State.EXPIRED], 3: [State.REGISTERED]}
    assert floor.ledger.verify().is_intact


def test_what_people_rejected_is_asked_for_again_by_people_and_with_new_evidence(floor: Floor):
    floor.decide(floor.ask().approval, Verdict.REJECT)
    assert floor.ask().deployment.state is State.REJECTED
    with pytest.raises(Conflict, match="rejected with exactly this evidence"):
        floor.ask(insists=True)
    floor.changes[1] = OTHER_REPORT
    assert floor.ask().deployment.state is State.REJECTED
    assert floor.ask(insists=True).deployment.state is State.IN_REVIEW
    assert floor.states() == {1: [State.REJECTED, State.IN_REVIEW]}


def test_an_expired_request_is_asked_for_again_in_a_new_round(floor: Floor):
    first = floor.ask()
    floor.clock.pass_by(days=15)
    second = floor.ask()
    assert floor.states() == {1: [State.EXPIRED, State.IN_REVIEW]}
    assert second.approval is not None
    assert first.approval is not None
    assert second.approval.id != first.approval.id


@pytest.mark.parametrize("state", [None, "in_review", "rejected"])
def test_only_what_is_approved_is_promoted(floor: Floor, state: str | None):
    one = floor.ask()
    if state == "rejected":
        floor.decide(one.approval, Verdict.REJECT)
    with pytest.raises(Conflict, match=f"is {state or 'in_review'} and can't be promoted"):
        floor.promote(one.deployment)
    assert floor.now().epoch == 0


def test_promotion_does_not_wait_for_the_sensor(floor: Floor):
    one = floor.ask()
    floor.decide(one.approval)
    assert floor.state(one.deployment) is State.IN_REVIEW
    assert floor.promote(one.deployment).deployment.state is State.CHAMPION


def test_an_approval_counts_as_long_as_those_who_gave_it_may_decide(floor: Floor):
    one = floor.approved()
    floor.people.roles.pop("ana")
    with pytest.raises(Conflict, match="ana no longer decides as compliance"):
        floor.promote(one)
    assert floor.state(one) is State.APPROVED


def test_a_revoked_approval_does_not_slip_in_between_gathering_and_the_move(floor: Floor):
    one = floor.approved()
    (standing,) = floor.approvals.list(state=ApprovalState.APPROVED)

    def revoke_then_gather(model: str, number: int, environment: str) -> Gathered:
        floor.approvals.revoke(standing.id, by=floor.ana, reason="wait")
        return floor.gather(model, number, environment)

    late = Floor(floor.database, clock=floor.clock, people=floor.people, gathers=revoke_then_gather)
    with pytest.raises(Conflict, match="not approved: the request is revoked: wait"):
        late.promote(one)
    assert floor.now().epoch == 0


def test_nobody_but_people_of_mlops_promotes_and_a_candidate_never_itself(floor: Floor):
    one = floor.approved()
    bot = replace(floor.mo, name="bot", is_service=True)
    for by, words in ((floor.dagster, "may not do"), (floor.quin, "may not do"), (bot, "never promotes itself")):
        with pytest.raises(Forbidden, match=words):
            floor.promote(one, by=by)
    assert floor.now().epoch == 0


def test_a_version_that_is_not_the_registered_one_is_not_promoted(floor: Floor):
    one, gathered = floor.approved(), floor.gather(MODEL, 1, "staging")
    swapped = replace(gathered, version=replace(gathered.version, artifact_sha256="0" * 64))
    late = Floor(floor.database, clock=floor.clock, people=floor.people, gathers=lambda *_: swapped)
    with pytest.raises(IntegrityViolation, match="registered version models/signal_classifier@1"):
        late.promote(one)
    assert floor.now().epoch == 0


def test_a_plan_that_was_changed_in_the_database_is_not_promoted(floor: Floor):
    """The guards let a request begin anew with another plan; the approval is of the one that people read."""
    one = floor.approved()
    with floor.database.begin() as connection:
        for state in ("registered", "evidence_complete", "in_review", "approved"):
            values = {"state": state, "plan": {**one.plan, "limits": {"max_error_rate": 0.9}}}
            connection.execute(deployment.update().where(deployment.c.id == one.id).values(values))
    with pytest.raises(IntegrityViolation, match="plan of deployment"):
        floor.promote(one)
    assert floor.now().epoch == 0


def test_a_deployment_is_found_by_the_beginning_of_its_id(floor: Floor):
    one, other = floor.ask(1).deployment, floor.ask(2).deployment
    assert floor.deployments.find(one.id[:12]) == floor.deployments.get(one.id)
    for wrong in ("", "%", "none"):
        with pytest.raises(NotFound):
            floor.deployments.find(wrong)
    assert floor.deployments.list(status=DeploymentStatus.PENDING) == [other]
    assert floor.deployments.list(state=State.SUPERSEDED, environment="production") == []


def test_the_outbox_gets_every_change_with_the_number_of_its_entry(floor: Floor):
    put: list[tuple[str, str, int, str]] = []

    class Box:
        def put(self, connection: object, kind: str, id: str, rev: int, document: Any) -> None:
            put.append((kind, id, rev, document.get("state") or f"epoch {document['epoch']}"))

    mirrored = Floor(floor.database, clock=floor.clock, people=floor.people, outbox=Box())
    one = mirrored.approved()
    mirrored.promote(one)
    entries = {entry.seq: entry.action for entry in floor.ledger.entries(action="deployment.*")}
    assert [(kind, entries[rev], said) for kind, _, rev, said in put] == [
        ("deployments", "deployment.request", "in_review"),
        ("deployments", "deployment.approve", "approved"),
        ("deployments", "deployment.promote", "champion"),
        ("serving", "deployment.promote", "epoch 1"),
    ]
    assert {id for _, id, _, _ in put} == {one.id, "signal_classifier/staging"}


def test_deployments_of_before_keep_their_place(floor: Floor):
    """Rows that migration 0005 found have no plan and an id of another rule."""
    row = {name: getattr(floor.ask(1).deployment, name) for name in deployment.columns.keys()}  # noqa: SIM118
    old = {**row, "id": "0" * 64, "plan": {}, "state": "registered", "model_version": 7}
    with floor.database.begin() as connection:
        connection.execute(deployment.insert().values(old))
    assert floor.deployments.get("0" * 64).planned_sessions(State.SHADOW) == 0
    floor.version(7)
    assert floor.ask(7).deployment.id == "0" * 64
