"""The store's verbs against hand-worked cases: who may, what moves, and what the ledger says of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from mlops_assets.governance.approvals import UnusableNote
from mlops_assets.governance.spec import Approval, Duty, Party
from mlops_assets.governance.transitions import State
from mlops_assets.kernel.errors import Conflict, Forbidden, IntegrityViolation, NotFound
from mlops_assets.kernel.identity import Principal, Role
from tests.governance.worlds import NOW, SUBJECT, Desk, evidence


def test_a_draft_asks_nobody_and_knows_who_made_and_launched_it(desk: Desk):
    drafted = desk.draft()
    assert (drafted.state, drafted.quorum, drafted.required_role) == (State.DRAFT, 2, None)
    assert drafted.parties == (
        Party(principal="aron", duty=Duty.AUTHOR),
        Party(principal="dagster", duty=Duty.LAUNCHER),
    )
    assert desk.store.queue() == []
    assert desk.actions() == [("dagster", "draft")]


def test_two_approvers_reach_the_quorum_of_tier_two(desk: Desk):
    request = desk.request()
    assert desk.approve(request, desk.ben).state is State.IN_REVIEW
    approved = desk.approve(request, desk.cho)
    assert (approved.state, approved.decided_at, approved.expires_at) == (
        State.APPROVED,
        NOW,
        NOW + timedelta(days=365),
    )
    assert desk.store.get(request.id) == approved
    assert desk.actions() == [
        ("dagster", "draft"),
        ("dagster", "submit"),
        ("ben", "review"),
        ("ben", "approve"),
        ("cho", "approve"),
    ]


def test_tier_one_waits_for_compliance_however_many_approve(desk: Desk):
    request = desk.request(tier=1)
    assert [desk.approve(request, one).state for one in (desk.ben, desk.cho)] == [State.IN_REVIEW] * 2
    (waiting,) = desk.store.queue()
    assert waiting.needed == "1 more, compliance"
    assert desk.approve(request, desk.ana).state is State.APPROVED


def test_tier_three_needs_one(desk: Desk):
    assert desk.approve(desk.request(tier=3), desk.cho).state is State.APPROVED


def test_several_roles_count_in_the_required_one_while_it_is_needed(desk: Desk):
    first = desk.approve(desk.request(tier=1), desk.dee)
    assert first.decisions[0].capacity is Role.COMPLIANCE
    second = desk.request(tier=1, subject="deployments/other")
    desk.approve(second, desk.ana)
    assert desk.approve(second, desk.dee).decisions[1].capacity is Role.MLOPS


def test_one_rejection_closes_and_needs_words(desk: Desk):
    request = desk.request()
    desk.approve(request, desk.ben)
    with pytest.raises(UnusableNote, match="Give a note"):
        desk.reject(request, desk.cho, "  ")
    assert desk.reject(request, desk.cho).state is State.REJECTED
    with pytest.raises(Conflict, match="is rejected"):
        desk.approve(request, desk.ana)
    assert desk.request().state is State.REJECTED


@pytest.mark.parametrize("name", ["aron", "dagster", "sue"])
def test_who_authored_launched_or_submitted_decides_nothing_and_the_attempt_is_recorded(desk: Desk, name: str):
    drafted = desk.draft()
    desk.store.submit(drafted.id, by=desk.people.named("sue", Role.QUANT))
    party = desk.people.named(name, Role.COMPLIANCE)
    before = desk.store.get(drafted.id)
    for attempt in (
        lambda: desk.store.start_review(drafted.id, by=party),
        lambda: desk.approve(drafted, party),
        lambda: desk.reject(drafted, party),
        lambda: desk.store.override(drafted.id, by=party, reason="now"),
    ):
        with pytest.raises(Forbidden, match=r"and can't decide on it"):
            attempt()
    assert desk.store.get(drafted.id) == before
    refused = list(desk.ledger.entries(action="approval.refuse"))
    assert [(one.actor, one.details["attempted"]) for one in refused] == [
        *[(name, "approval.decide")] * 3,
        (name, "approval.override"),
    ]
    assert {(one.before, one.after) for one in refused} == {(before.fingerprint, before.fingerprint)}


def test_a_service_never_decides_whatever_roles_it_has(desk: Desk):
    request = desk.request()
    robot = desk.people.named("robot", Role.SERVICE, Role.COMPLIANCE)
    with pytest.raises(Forbidden, match="only people decide"):
        desk.approve(request, robot)


def test_a_service_with_the_roles_of_a_person_alone_decides_nothing_either(desk: Desk):
    request = desk.request()
    bot = replace(desk.people.named("bot", Role.COMPLIANCE), is_service=True)
    for attempt in (
        lambda: desk.approve(request, bot),
        lambda: desk.reject(request, bot),
        lambda: desk.store.override(request.id, by=bot, reason="now"),
    ):
        with pytest.raises(Forbidden, match="only people decide"):
            attempt()


def test_a_verdict_ends_when_its_approver_becomes_a_service(desk: Desk):
    request = desk.request()
    desk.approve(request, desk.ben)
    desk.people.services.add("ben")
    assert desk.approve(request, desk.cho).state is State.IN_REVIEW


def test_roles_and_scopes_are_asked_before_anything_else(desk: Desk):
    request = desk.request()
    narrow = Principal(name="ben", roles=frozenset({Role.MLOPS}), scopes=frozenset({"platform.read"}))
    for principal in (desk.vera, narrow):
        with pytest.raises(Forbidden):
            desk.approve(request, principal)
        with pytest.raises(Forbidden):
            desk.store.override(request.id, by=principal, reason="now")
        with pytest.raises(Forbidden):
            desk.store.revoke(request.id, by=principal, reason="no")
        with pytest.raises(Forbidden):
            desk.store.submit(request.id, by=principal)
    assert desk.actions() == [("dagster", "draft"), ("dagster", "submit")]


def test_nobody_decides_twice(desk: Desk):
    request = desk.request()
    desk.approve(request, desk.ben)
    with pytest.raises(Conflict, match="already decided"):
        desk.approve(request, desk.ben)
    assert desk.store.get(request.id).state is State.IN_REVIEW


def test_a_draft_is_not_decided_and_not_reviewed(desk: Desk):
    drafted = desk.draft()
    for attempt in (
        lambda: desk.approve(drafted, desk.ben),
        lambda: desk.store.start_review(drafted.id, by=desk.ben),
        lambda: desk.store.override(drafted.id, by=desk.ben, reason="now"),
    ):
        with pytest.raises(Conflict, match=r"is draft.*mlops approvals submit"):
            attempt()


def test_asking_again_for_the_same_evidence_is_asking_once(desk: Desk):
    first = desk.request()
    desk.approve(first, desk.ben)
    again = desk.request()
    assert (again.id, again.state) == (first.id, State.IN_REVIEW)
    assert len(desk.actions()) == 4


def test_who_makes_the_same_evidence_again_becomes_a_party_unless_they_have_spoken(desk: Desk):
    request = desk.request()
    desk.approve(request, desk.ben)
    for launcher in (desk.ben, desk.cho):
        desk.store.draft(subject=SUBJECT, tier=2, evidence=evidence(), authors=["aron"], by=launcher)
    assert {one.principal for one in desk.store.get(request.id).parties} == {"aron", "dagster", "cho"}
    with pytest.raises(Forbidden, match="cho is launcher"):
        desk.approve(request, desk.cho)


@pytest.mark.parametrize("state", ["draft", "submitted", "in_review", "approved"])
def test_other_evidence_voids_what_is_open_or_approved_and_names_the_part(desk: Desk, state: str):
    first = desk.draft()
    if state != "draft":
        first = desk.store.submit(first.id, by=desk.dagster)
    if state in {"in_review", "approved"}:
        first = desk.approve(first, desk.ben)
    if state == "approved":
        first = desk.approve(first, desk.cho)
    assert first.state == state
    other = desk.draft(evidence("b", extra="4"))
    void = desk.store.get(first.id)
    assert (void.state, other.state) == (State.REVOKED, State.DRAFT)
    assert void.moved == ("extra was added: 444444444444…", "report.covid_crash moved: aaaaaaaaaaaa… → bbbbbbbbbbbb…")
    (entry,) = desk.ledger.entries(action="approval.revoke")
    assert (entry.details["moved"], entry.after) == (list(void.moved), void.fingerprint)
    assert desk.draft(evidence("b", extra="4")) == other


def test_evidence_that_moves_back_starts_a_new_round_without_votes(desk: Desk):
    first = desk.request()
    desk.approve(first, desk.ben)
    desk.request(evidence("b"))
    again = desk.request()
    assert (again.round, again.state, again.decisions) == (2, State.SUBMITTED, ())
    assert again.id != first.id


def test_an_undecided_request_expires_on_use_at_its_last_second(desk: Desk):
    request = desk.request()
    desk.clock.pass_by(days=14, seconds=-1)
    assert desk.approve(request, desk.ben).state is State.IN_REVIEW
    desk.clock.pass_by(seconds=1)
    with pytest.raises(Conflict, match="expired"):
        desk.approve(request, desk.cho)
    assert desk.store.get(request.id).state is State.EXPIRED
    again = desk.request()
    assert (again.round, again.state) == (2, State.SUBMITTED)


def test_expiring_what_is_due_ends_requests_and_approvals_once(desk: Desk):
    waiting, approved = desk.request(subject="reports/a"), desk.request(tier=1, subject="reports/b")
    desk.draft(subject="reports/c")
    desk.approve(approved, desk.ben)
    desk.approve(approved, desk.ana)
    desk.clock.pass_by(days=14)
    assert [one.id for one in desk.store.expire_due(by=desk.dagster)] == [waiting.id]
    desk.clock.pass_by(days=166)
    assert [one.id for one in desk.store.expire_due(by=desk.dagster)] == [approved.id]
    assert desk.store.expire_due(by=desk.dagster) == []
    assert sorted(one.state for one in desk.store.list()) == [State.DRAFT, State.EXPIRED, State.EXPIRED]


def test_an_approval_stands_for_exactly_its_evidence(desk: Desk):
    request = desk.request()
    assert desk.store.standing(SUBJECT, evidence()).words == "the request is submitted"
    desk.approve(request, desk.ben)
    desk.approve(request, desk.cho)
    assert desk.store.standing(SUBJECT, evidence()).is_approved
    assert desk.store.require_approved(SUBJECT, evidence(), by=desk.dagster).id == request.id
    assert desk.store.standing("reports/x", evidence()).words == "nobody has asked for the approval of reports/x"


def test_using_an_approval_whose_evidence_moved_revokes_it_and_names_the_part(desk: Desk):
    request = desk.request()
    desk.approve(request, desk.ben)
    desk.approve(request, desk.cho)
    standing = desk.store.standing(SUBJECT, evidence("b"))
    assert standing.moved == ("report.covid_crash moved: aaaaaaaaaaaa… → bbbbbbbbbbbb…",)
    assert desk.store.get(request.id).state is State.APPROVED
    with pytest.raises(Conflict, match=r"report\.covid_crash moved: aaaaaaaaaaaa… → bbbbbbbbbbbb…"):
        desk.store.require_approved(SUBJECT, evidence("b"), by=desk.dagster)
    assert desk.store.get(request.id).state is State.REVOKED
    assert not desk.store.standing(SUBJECT, evidence()).is_approved


def test_using_an_approval_after_its_time_expires_it(desk: Desk):
    request = desk.request(tier=3)
    desk.approve(request, desk.cho)
    desk.clock.pass_by(days=365)
    with pytest.raises(Conflict, match="the approval ended on 2027-01-05"):
        desk.store.require_approved(SUBJECT, evidence(), by=desk.dagster)
    assert desk.store.get(request.id).state is State.EXPIRED


@pytest.mark.parametrize("roles", [None, {Role.QUANT}])
def test_an_approver_who_lost_role_or_activity_counts_no_more_until_they_have_it_back(
    desk: Desk, roles: set[Role] | None
):
    request = desk.request(tier=1)
    for one in (desk.ben, desk.ana):
        desk.approve(request, one)
    del desk.people.roles["ana"]
    if roles:
        desk.people.named("ana", *roles)
    with pytest.raises(Conflict, match="ana no longer decides as compliance; it needs 1 more, compliance"):
        desk.store.require_approved(SUBJECT, evidence(), by=desk.dagster)
    desk.people.named("ana", Role.COMPLIANCE)
    assert desk.store.standing(SUBJECT, evidence()).is_approved


def test_a_vote_whose_voter_left_before_the_last_one_does_not_make_the_quorum(desk: Desk):
    request = desk.request()
    desk.approve(request, desk.ben)
    del desk.people.roles["ben"]
    assert desk.approve(request, desk.cho).state is State.IN_REVIEW
    assert desk.approve(request, desk.ana).state is State.APPROVED


def test_somebody_deactivated_after_signing_in_decides_nothing(desk: Desk):
    request = desk.request()
    del desk.people.roles["ben"]
    for attempt in (
        lambda: desk.approve(request, desk.ben),
        lambda: desk.store.override(request.id, by=desk.ben, reason="now"),
    ):
        with pytest.raises(Forbidden, match="no longer active"):
            attempt()


def test_the_first_voice_of_an_override_counts_no_longer_than_an_override_lasts(desk: Desk):
    request = desk.request()
    desk.store.override(request.id, by=desk.ben, reason="the feed is down")
    desk.clock.pass_by(hours=24)
    assert desk.store.override(request.id, by=desk.cho, reason="and again").state is State.IN_REVIEW
    with pytest.raises(Conflict, match="counted until 2026-01-06 12:00 UTC"):
        desk.store.override(request.id, by=desk.ben, reason="still")
    desk.clock.pass_by(hours=24, seconds=-1)
    approved = desk.store.override(request.id, by=desk.ana, reason="the feed is still down")
    assert (approved.state, approved.is_override) == (State.APPROVED, True)
    assert desk.store.standing(SUBJECT, evidence()).is_approved
    del desk.people.roles["ana"]
    assert desk.store.standing(SUBJECT, evidence()).words == "ana may no longer override"


def test_an_override_takes_two_people_lasts_a_day_and_is_marked(desk: Desk):
    request = desk.request(tier=1)
    with pytest.raises(UnusableNote, match="Give a reason"):
        desk.store.override(request.id, by=desk.ben, reason="")
    first = desk.store.override(request.id, by=desk.ben, reason="the feed is down")
    assert (first.state, first.is_override) == (State.IN_REVIEW, False)
    with pytest.raises(Conflict, match="counted until 2026-01-06 12:00 UTC; it needs a second person"):
        desk.store.override(request.id, by=desk.ben, reason="again")
    second = desk.store.override(request.id, by=desk.cho, reason="so it is")
    assert (second.state, second.is_override, second.expires_at) == (State.APPROVED, True, NOW + timedelta(hours=24))
    assert desk.store.standing(SUBJECT, evidence()).is_approved
    assert [entry.reason for entry in desk.ledger.entries(action="approval.override")] == [
        "the feed is down",
        "so it is",
    ]
    del desk.people.roles["cho"]
    assert desk.store.standing(SUBJECT, evidence()).words == "cho may no longer override"
    desk.clock.pass_by(hours=24)
    assert [one.state for one in desk.store.expire_due(by=desk.dagster)] == [State.EXPIRED]
    assert desk.request(tier=1).round == 2


def test_a_checkpoint_is_signed_after_an_approval_and_an_override_and_after_nothing_else(desk: Desk):
    request = desk.request()
    desk.approve(request, desk.ben)
    assert desk.sealed == []
    desk.approve(request, desk.cho)
    assert desk.sealed == [5]
    other = desk.request(subject="reports/x")
    desk.store.override(other.id, by=desk.ben, reason="now")
    desk.store.override(other.id, by=desk.cho, reason="now")
    assert len(desk.sealed) == 2


def test_revoking_takes_a_reason_and_the_role(desk: Desk):
    request = desk.request()
    with pytest.raises(Forbidden):
        desk.store.revoke(request.id, by=desk.cho, reason="no")
    with pytest.raises(UnusableNote):
        desk.store.revoke(request.id, by=desk.ana, reason="")
    assert desk.store.revoke(request.id, by=desk.ana, reason="withdrawn").closed_reason == "withdrawn"
    with pytest.raises(Conflict, match=r"is revoked \(withdrawn\)"):
        desk.store.revoke(request.id, by=desk.ana, reason="again")


def test_withdrawing_ends_what_is_live_of_the_named_subjects_only(desk: Desk):
    one, other = desk.request(subject="deployments/a"), desk.draft(subject="deployments/b")
    kept = desk.request(subject="deployments/c")
    withdrawn = desk.store.withdraw(["deployments/a", "deployments/b"], by=desk.dagster, reason="superseded")
    assert [found.id for found in withdrawn] == [one.id, other.id]
    assert desk.store.withdraw(["deployments/a"], by=desk.dagster, reason="superseded") == []
    assert desk.store.get(kept.id).state is State.SUBMITTED


@pytest.mark.parametrize(
    "forged",
    [
        "UPDATE approval SET state = 'approved', decided_at = submitted_at",
        "UPDATE approval_decision SET note = 'I have read all of it'",
        "UPDATE approval_decision SET credential = 'oidc:the-issuer'",
        "UPDATE approval SET expires_at = '2099-01-01 00:00:00.000000'",
    ],
)
def test_what_the_ledger_did_not_record_counts_for_nothing(desk: Desk, forged: str):
    open_one, approved = desk.request(subject="reports/open"), desk.request(tier=3, subject="reports/x")
    desk.approve(approved, desk.cho)
    assert desk.store.standing("reports/x", evidence()).is_approved
    with desk.database.begin() as connection:
        for trigger in connection.scalars(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
            connection.execute(sa.text(f"DROP TRIGGER {trigger}"))
        connection.execute(sa.text(forged))
    subject = open_one.subject if "state" in forged else "reports/x"
    with pytest.raises(IntegrityViolation, match="compared with the ledger"):
        desk.store.require_approved(subject, evidence(), by=desk.dagster)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE approval SET evidence = replace(evidence, 'aaaa', 'bbbb')",
        """UPDATE approval SET evidence = '{"parts": []}'""",
        "UPDATE approval SET evidence = 'nonsense'",
    ],
)
def test_stored_evidence_that_was_changed_is_refused_wherever_it_would_count(desk: Desk, change: str):
    request, approved = desk.request(), desk.request(tier=3, subject="reports/x")
    desk.approve(approved, desk.cho)
    with desk.database.begin() as connection:
        connection.execute(sa.text("DROP TRIGGER approval_moves"))
        connection.execute(sa.text(change))
    for attempt in (
        lambda: desk.approve(request, desk.ben),
        lambda: desk.store.start_review(request.id, by=desk.ben),
        lambda: desk.store.override(request.id, by=desk.ben, reason="now"),
        lambda: desk.store.standing("reports/x", evidence()),
        lambda: desk.store.require_approved("reports/x", evidence(), by=desk.dagster),
    ):
        with pytest.raises(IntegrityViolation, match="Revoke it"):
            attempt()
    assert [one.is_intact for one in desk.store.list()] == [False, False]
    assert desk.store.revoke(request.id, by=desk.ana, reason="tampered with").state is State.REVOKED


def test_a_request_is_found_by_the_beginning_of_its_id(desk: Desk):
    requests = [desk.draft(subject=f"reports/r{number}") for number in range(20)]
    first = requests[0]
    assert desk.store.find(first.id[:10]).id == first.id
    with pytest.raises(Conflict, match="several"):
        desk.store.find(_shared_prefix(requests))
    for unknown in ("0" * 64, "", "%", "_" * 4, "zz", "A" * 65):
        with pytest.raises(NotFound, match="approvals list"):
            desk.store.find(unknown)


def _shared_prefix(requests: list[Approval]) -> str:
    """A first character that two ids share: there are 20 of them and 16 characters."""
    firsts = [one.id[0] for one in requests]
    return next(one for one in firsts if firsts.count(one) > 1)


def test_listing_filters_and_pages_without_loss(desk: Desk):
    for number in range(7):
        desk.draft(subject=f"reports/r{number % 3}", found=evidence(str(number)))
        desk.clock.pass_by(seconds=number % 2)
    everything = [one.id for one in desk.store.list()]
    paged: list[str] = []
    while page := desk.store.list(after=paged[-1] if paged else None, limit=2):
        paged += [one.id for one in page]
    assert paged == everything
    assert len(desk.store.list(state=State.DRAFT)) == 3
    assert len(desk.store.list(subject="reports/r0")) == 3


def test_the_queue_shows_what_is_due_first_and_what_is_overdue(desk: Desk):
    slow = desk.request(tier=3, subject="reports/slow")  # due after 72 hours
    desk.clock.pass_by(hours=1)
    urgent = desk.request(tier=1, subject="reports/urgent")  # due after 24
    desk.draft(subject="reports/draft")
    desk.clock.pass_by(hours=24)
    waiting = desk.store.queue()
    assert [(one.approval.id, one.is_overdue) for one in waiting] == [(urgent.id, True), (slow.id, False)]
    assert [one.age for one in waiting] == [timedelta(hours=24), timedelta(hours=25)]
    assert [one.needed for one in waiting] == ["2 more, compliance", "1 more"]


@pytest.mark.parametrize(("note", "words"), [("x" * 2_001, "keep it to 2000"), ("a\x00b", "control characters")])
def test_a_note_that_can_not_be_kept_is_refused_before_anything_is_written(desk: Desk, note: str, words: str):
    request = desk.request()
    with pytest.raises(UnusableNote, match=words):
        desk.approve(request, desk.ben, note)
    assert desk.store.get(request.id).state is State.SUBMITTED
