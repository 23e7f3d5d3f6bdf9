"""Journeys of versions through shadow, canary and champion, back again, and to their end."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mlops_assets.alerts.alert import Severity
from mlops_assets.governance.approvals import DutiesNotApart, UnusableNote
from mlops_assets.governance.automation import overdue_alert
from mlops_assets.governance.spec import Verdict
from mlops_assets.governance.transitions import State as ApprovalState
from mlops_assets.kernel.errors import Conflict, Forbidden, PlatformError
from mlops_assets.lifecycle.deployment.evidence import Gathered
from mlops_assets.lifecycle.deployment.serving_moves import Mode, Serving, Slot
from mlops_assets.lifecycle.deployment.states import State
from tests.governance.worlds import NOW
from tests.lifecycle.deployment_worlds import MODEL, STAGING, Floor

STEPS = {"shadow_sessions": 5, "canary_sessions": 10}


def versions(serving: Serving) -> tuple[int | None, int | None, Mode | None]:
    champion, challenger = serving.champion, serving.challenger
    return (champion and champion.version, challenger and challenger.version, serving.mode)


def test_the_whole_way_from_request_to_champion(floor: Floor):
    first = floor.champion(1)
    floor.rollout = STEPS
    second = floor.approved(2)
    shadow = floor.promote(second, State.SHADOW)
    assert versions(shadow.serving) == (1, 2, Mode.SHADOW)
    assert shadow.serving.slice is None
    floor.passed = 5
    canary = floor.promote(second, State.CANARY)
    assert versions(canary.serving) == (1, 2, Mode.CANARY)
    assert canary.serving.slice == {"by": "symbols", "share": 0.2}
    floor.passed = 10
    done = floor.promote(second, State.CHAMPION)
    assert done.serving == Serving(
        model=MODEL, environment=STAGING, epoch=4, champion=Slot(deployment_id=second.id, version=2)
    )
    assert (floor.state(first), floor.state(second)) == (State.SUPERSEDED, State.CHAMPION)
    entries = list(floor.ledger.entries(action="deployment.promote"))
    assert [one.details["serving"]["epoch"] for one in entries] == [1, 2, 3, 4]
    assert entries[-1].details["also"] == {first.id: "superseded"}
    assert [one.before for one in entries[1:]] == [one.after for one in entries[:-1]]
    assert floor.projected[-1] == done.serving
    assert floor.ledger.verify().is_intact


def test_without_a_champion_there_is_nothing_to_compare_with(floor: Floor):
    floor.rollout = STEPS
    one = floor.approved()
    for to in (State.SHADOW, State.CANARY):
        with pytest.raises(Conflict, match=r"nothing to compare a \w+ with\. Promote it to champion"):
            floor.promote(one, to)
    assert floor.promote(one).deployment.state is State.CHAMPION


@pytest.mark.parametrize(
    ("rollout", "to", "words"),
    [
        (STEPS, State.CANARY, "shadow for 5 sessions before canary. Promote it to shadow first"),
        (STEPS, State.CHAMPION, "shadow for 5 sessions, then canary for 10 sessions before champion"),
        ({"shadow_sessions": 0, "canary_sessions": 3}, State.CHAMPION, "canary for 3 sessions before champion"),
    ],
)
def test_a_planned_step_is_not_skipped(floor: Floor, rollout: dict[str, int], to: State, words: str):
    floor.champion(1)
    floor.rollout = rollout
    second = floor.approved(2)
    with pytest.raises(Conflict, match=words):
        floor.promote(second, to)
    assert floor.state(second) is State.APPROVED


def test_a_step_of_no_sessions_may_be_left_out_or_taken(floor: Floor):
    floor.champion(1)
    assert floor.promote(floor.approved(2), State.CANARY).deployment.state is State.CANARY
    floor.promote(floor.deployments.list(state=State.CANARY)[0])
    assert floor.promote(floor.approved(3)).deployment.state is State.CHAMPION


def test_a_step_is_not_left_early_nor_while_a_limit_is_passed(floor: Floor):
    floor.champion(1)
    floor.rollout = STEPS
    second = floor.promote(floor.approved(2), State.SHADOW).deployment
    floor.passed = 4
    with pytest.raises(Conflict, match=r"runs as shadow for 4 of 5 planned sessions; .* canary after 1 more"):
        floor.promote(second, State.CANARY)
    floor.passed, floor.breached = 5, ["max_error_rate 0.2 > 0.01"]
    with pytest.raises(Conflict, match=r"does not keep its limits as shadow: max_error_rate 0\.2 > 0\.01"):
        floor.promote(second, State.CANARY)
    floor.breached = ()
    floor.promote(second, State.CANARY)
    with pytest.raises(Conflict, match="5 of 10 planned"):
        floor.promote(second)


@pytest.mark.parametrize("epoch", [None, 2])
def test_a_step_that_somebody_else_begins_meanwhile_is_not_left_at_once(floor: Floor, epoch: int | None):
    """Two people promote the approved version, one to shadow, one to what the plan asks for after it."""
    floor.champion(1)
    floor.rollout = {"shadow_sessions": 5}
    second = floor.approved(2)

    def somebody_is_faster(model: str, number: int, environment: str) -> Gathered:
        if floor.state(second) is State.APPROVED:
            floor.promote(second, State.SHADOW)
        return floor.gather(model, number, environment)

    late = Floor(floor.database, clock=floor.clock, people=floor.people, gathers=somebody_is_faster)
    with pytest.raises(Conflict, match="decide again"):
        late.promote(second, epoch=epoch)
    assert versions(floor.now()) == (1, 2, Mode.SHADOW)


def test_a_rollback_never_goes_back_to_the_version_that_failed(floor: Floor):
    floor.champion(1)
    floor.champion(2)
    floor.champion(3)
    floor.champion(2)
    floor.promote(floor.approved(1, insists=True))
    assert floor.states()[2] == [State.SUPERSEDED, State.SUPERSEDED]
    assert [versions(floor.rollback().serving)[0] for _ in range(2)] == [2, 3]
    with pytest.raises(Conflict, match="no version served before version 3"):
        floor.rollback()


def test_a_version_that_served_again_after_its_rollback_is_gone_back_to(floor: Floor):
    floor.champion(1)
    floor.champion(2)
    floor.rollback()
    floor.champion(2)
    floor.champion(3)
    assert versions(floor.rollback().serving)[0] == 2


def test_one_challenger_at_a_time(floor: Floor):
    floor.champion(1)
    floor.promote(floor.approved(2), State.SHADOW)
    third = floor.approved(3)
    for to in (State.SHADOW, State.CHAMPION):
        with pytest.raises(Conflict, match=r"version 2 runs as shadow\. One challenger at a time"):
            floor.promote(third, to)


def test_a_request_leaves_what_runs_alone(floor: Floor):
    first = floor.champion(1)
    second = floor.promote(floor.approved(2), State.SHADOW).deployment
    floor.approved(3)
    assert floor.states() == {1: [State.CHAMPION], 2: [State.SHADOW], 3: [State.APPROVED]}
    assert floor.ask(1).deployment.id == first.id
    assert floor.ask(2).deployment.id == second.id


@pytest.mark.parametrize("step", [State.SHADOW, State.CANARY])
def test_evidence_that_moves_stops_the_challenger(floor: Floor, step: State):
    floor.champion(1)
    second = floor.promote(floor.approved(2), step).deployment
    floor.changes[2] = {"explanations": "8" * 64}
    with pytest.raises(Conflict, match="explanations moved"):
        floor.promote(second)
    assert versions(floor.now()) == (1, None, None)
    assert floor.state(second) is State.REGISTERED
    assert floor.projected[-1] == floor.now()


@pytest.mark.parametrize("is_promoted", [False, True])
def test_a_challenger_that_loses_its_approval_stops(floor: Floor, is_promoted: bool):
    floor.champion(1)
    second = floor.promote(floor.approved(2), State.CANARY).deployment
    (standing,) = floor.approvals.list(subject=second.subject)
    floor.approvals.revoke(standing.id, by=floor.ana, reason="the limits are wrong")
    if is_promoted:
        with pytest.raises(Conflict, match="is registered and can't be promoted"):
            floor.promote(second)
    else:
        floor.deployments.follow_approvals(by=floor.dagster)
    assert versions(floor.now()) == (1, None, None)
    assert floor.state(second) is State.REGISTERED


def test_a_champion_serves_on_when_its_approval_ends(floor: Floor):
    first = floor.champion(1)
    floor.clock.pass_by(days=400)
    floor.approvals.expire_due(by=floor.dagster)
    assert floor.deployments.follow_approvals(by=floor.dagster) == []
    assert floor.state(first) is State.CHAMPION


def test_a_rollback_serves_the_version_of_before(floor: Floor):
    first, second = floor.champion(1), floor.champion(2)
    done = floor.rollback(by=floor.ana)
    assert versions(done.serving) == (1, None, None)
    assert (floor.state(first), floor.state(second)) == (State.CHAMPION, State.ROLLED_BACK)
    assert floor.approvals.list(subject=second.subject)[0].state is ApprovalState.REVOKED
    assert floor.approvals.list(subject=first.subject)[0].state is ApprovalState.APPROVED


def test_a_rollback_passes_over_what_was_itself_rolled_back(floor: Floor):
    for number in (1, 2, 3):
        floor.champion(number)
    assert versions(floor.rollback().serving)[0] == 2
    floor.champion(4)
    assert versions(floor.rollback().serving)[0] == 2
    assert versions(floor.rollback().serving)[0] == 1
    with pytest.raises(Conflict, match=r"no version served before version 1 .* `mlops deployments retire"):
        floor.rollback()
    assert floor.states() == {
        1: [State.CHAMPION],
        2: [State.ROLLED_BACK],
        3: [State.ROLLED_BACK],
        4: [State.ROLLED_BACK],
    }


def test_a_rollback_opens_a_review_that_somebody_else_decides_within_a_day(floor: Floor):
    floor.champion(1)
    second = floor.champion(2)
    review = floor.rollback().review
    assert review is not None
    assert (review.subject, review.quorum) == (f"rollbacks/{MODEL}/{STAGING}/3", 1)
    assert review.due_at == NOW + timedelta(hours=24)
    part = {one.name: one for one in review.evidence.parts}["move"]
    assert part.fingerprint == floor.now().fingerprint
    assert part.note == f"roll_back of {second.id[:12]}: version 1 serves. it loses"
    with pytest.raises(DutiesNotApart):
        floor.approvals.decide(review.id, by=floor.mo, verdict=Verdict.APPROVE, note="")
    floor.clock.pass_by(hours=25)
    (waiting,) = floor.approvals.queue()
    assert waiting.is_overdue
    assert overdue_alert(waiting).severity is Severity.MEDIUM
    done = floor.approvals.decide(review.id, by=floor.ana, verdict=Verdict.APPROVE, note="it lost")
    assert done.state is ApprovalState.APPROVED


@pytest.mark.parametrize(("step", "is_reviewed"), [(State.SHADOW, False), (State.CANARY, True)])
def test_stopping_ends_the_challenger_and_leaves_the_champion(floor: Floor, step: State, is_reviewed: bool):
    floor.champion(1)
    second = floor.promote(floor.approved(2), step).deployment
    done = floor.stop(by=floor.dagster)
    assert (versions(done.serving), done.deployment.id) == ((1, None, None), second.id)
    assert floor.state(second) is State.ROLLED_BACK
    assert (done.review is not None) is is_reviewed
    with pytest.raises(Conflict, match="no challenger runs"):
        floor.stop()


def test_a_rollback_of_the_champion_leaves_the_challenger_beside_the_version_of_before(floor: Floor):
    floor.champion(1)
    floor.champion(2)
    floor.promote(floor.approved(3), State.SHADOW)
    done = floor.rollback()
    assert versions(done.serving) == (1, 3, Mode.SHADOW)
    assert floor.states()[2] == [State.ROLLED_BACK]


def test_what_was_rolled_back_is_asked_for_again_by_people_only(floor: Floor):
    floor.champion(1)
    floor.champion(2)
    floor.rollback()
    assert floor.ask(2).deployment.state is State.ROLLED_BACK
    again = floor.ask(2, insists=True)
    assert again.deployment.state is State.IN_REVIEW
    with pytest.raises(Conflict, match="is in_review"):
        floor.promote(again.deployment)
    floor.decide(again.approval)
    assert versions(floor.promote(again.deployment).serving)[0] == 2
    assert sorted(floor.states()[2]) == [State.CHAMPION, State.ROLLED_BACK]


def test_of_requests_of_one_instant_the_last_counts(floor: Floor):
    floor.champion(1)
    for number in (2, 3, 4, 5):
        floor.champion(number)
        floor.rollback()
        again = floor.champion(number)
        assert floor.ask(number).deployment.id == again.id


def test_an_old_version_is_promoted_again_by_a_new_request(floor: Floor):
    first = floor.champion(1)
    floor.champion(2)
    again = floor.champion(1)
    assert again.id != first.id
    assert versions(floor.now())[0] == 1
    assert versions(floor.rollback().serving)[0] == 2


def test_retiring_ends_champion_and_challenger_with_nothing_in_their_place(floor: Floor):
    floor.champion(1)
    floor.promote(floor.approved(2), State.CANARY)
    done = floor.retire()
    assert versions(done.serving) == (None, None, None)
    assert floor.states() == {1: [State.RETIRED], 2: [State.ROLLED_BACK]}
    for verb in (floor.retire, floor.rollback):
        with pytest.raises(Conflict, match="nobody serves"):
            verb()
    floor.champion(3)
    with pytest.raises(Conflict, match="no version served before version 3"):
        floor.rollback()


def test_who_may_take_back_and_end(floor: Floor):
    floor.champion(1)
    floor.champion(2)
    for by in (floor.quin, floor.ana, floor.dagster):
        with pytest.raises(Forbidden, match=r"deployment\.retire"):
            floor.retire(by=by)
    vera = floor.people.named("vera")
    with pytest.raises(Forbidden, match=r"deployment\.rollback"):
        floor.rollback(by=vera)
    floor.rollback(by=floor.quin)


def test_a_move_names_the_epoch_it_starts_from(floor: Floor):
    floor.champion(1)
    second = floor.approved(2)
    with pytest.raises(Conflict, match="asked for at epoch 0, and by now it is 1: version 1 serves"):
        floor.promote(second, epoch=0)
    floor.promote(second, epoch=1)
    for verb in (floor.rollback, floor.retire):
        with pytest.raises(Conflict, match="asked for at epoch 1, and by now it is 2"):
            verb(epoch=1)
    floor.rollback(epoch=2)
    assert floor.now().epoch == 3


@pytest.mark.parametrize("reason", ["", "  \n", "x" * 2001, "a\x1bb"])
def test_every_move_says_why(floor: Floor, reason: str):
    floor.champion(1)
    second = floor.approved(2)
    with pytest.raises(UnusableNote):
        floor.promote(second, reason=reason)
    for verb in (floor.rollback, floor.retire):
        with pytest.raises(UnusableNote):
            verb(reason=reason)
    assert floor.now().epoch == 1


def test_a_long_reason_fits_wherever_it_is_told(floor: Floor):
    floor.champion(1)
    floor.champion(2)
    floor.rollback(reason="x" * 2000)
    assert floor.serving.history(MODEL, STAGING)[-1].reason == "x" * 2000


def test_environments_are_apart(floor: Floor):
    floor.champion(1)
    floor.champion(2, "development")
    assert (versions(floor.now())[0], versions(floor.now("development"))[0]) == (1, 2)
    with pytest.raises(Conflict, match="no version served before"):
        floor.rollback()


def test_an_alias_that_does_not_follow_leaves_the_move_standing(floor: Floor):
    class Down(PlatformError):
        code = "tracking_unavailable"

    def fail(serving: Serving) -> None:
        raise Down("MLflow does not answer.")

    lame = Floor(floor.database, clock=floor.clock, people=floor.people, projects=fail)
    done = lame.promote(lame.approved(1))
    assert done.unprojected == "MLflow does not answer."
    assert versions(floor.now())[0] == 1
