"""The outbox: what is raised is written at once, and reaches each channel by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from standardwebhooks import Webhook

from mlops_assets.alerts import store
from mlops_assets.alerts.alert import Severity
from mlops_assets.alerts.channels import WebhookChannel
from mlops_assets.alerts.delivery import CLAIM, MAX_ATTEMPTS, PermanentFailure, State, TemporaryFailure, claimed, pause
from mlops_assets.alerts.message import Message
from mlops_assets.alerts.service import Alerts
from mlops_assets.kernel.clock import SystemClock
from mlops_assets.kernel.errors import Conflict, NotFound
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import alert as alert_table
from tests.alerts.worlds import SECRET, START, Answer, MovingClock, Scripted, WebReceiver, alert, closed_port

Over = Callable[..., Alerts]


def fails_for_now(_: Message) -> None:
    raise TemporaryFailure("HTTP 503")


def fails_for_ever(_: Message) -> None:
    raise PermanentFailure("HTTP 404")


def states(alerts: Alerts, alert_id: str) -> dict[str, State]:
    return {one.channel: one.state for one in alerts.get(alert_id).deliveries}


def actions(ledger: Ledger) -> list[str]:
    return [entry.action for entry in ledger.entries()]


def test_raising_writes_alert_ledger_entry_and_a_delivery_for_each_channel(over: Over, ledger: Ledger):
    alerts = over(Scripted("log"), Scripted("slack"))
    raised = alerts.raise_alert(alert(details={"psi": 0.25}), "dagster")
    assert (raised.is_new, raised.occurrences) == (True, 1)
    known = alerts.get(raised.id)
    assert known.alert == alert(details={"psi": 0.25})
    assert (known.raised_at, known.last_seen_at, known.ledger_seq) == (START, START, 1)
    assert states(alerts, raised.id) == {"log": State.PENDING, "slack": State.PENDING}
    (entry,) = ledger.entries()
    assert (entry.action, entry.actor, entry.subject, entry.after) == (
        "alert.raise",
        "dagster",
        "drift/momentum",
        raised.id,
    )
    assert entry.details == {"key": "drift:1", "severity": "high", "channels": ["log", "slack"]}


def test_the_same_key_counts_until_its_cool_down_ends_and_what_is_worse_is_told_at_once(
    over: Over, clock: MovingClock, ledger: Ledger
):
    channel = Scripted()
    alerts = over(channel)
    first = alerts.raise_alert(alert(), "dagster")
    clock.move(timedelta(hours=3))
    assert alerts.raise_alert(alert(severity=Severity.LOW), "dagster").id == first.id
    assert alerts.raise_alert(alert(), "dagster").occurrences == 3
    assert alerts.get(first.id).last_seen_at == clock.at
    worse = alerts.raise_alert(alert(severity=Severity.CRITICAL), "dagster")
    assert worse.is_new
    clock.move(timedelta(minutes=59))
    assert alerts.raise_alert(alert(), "dagster").id == worse.id
    clock.move(timedelta(minutes=1))
    again = alerts.raise_alert(alert(), "dagster")
    assert (again.is_new, again.occurrences) == (True, 1)
    alerts.deliver_due(by="dagster")
    assert [message.id for message in channel.sent] == [first.id, worse.id, again.id]
    entries = list(ledger.entries(action="alert.raise"))
    assert [(entry.before, entry.after) for entry in entries] == [
        (None, first.id),
        (first.id, worse.id),
        (worse.id, again.id),
    ]


def test_other_keys_have_their_own_cool_down(over: Over):
    alerts = over(Scripted())
    assert all(alerts.raise_alert(alert(key), "dagster").is_new for key in ("a", "b"))


def test_an_alert_in_a_transaction_that_fails_was_never_raised(over: Over, database: Database, ledger: Ledger):
    alerts = over(Scripted())
    with pytest.raises(RuntimeError), database.begin() as connection:
        alerts.raise_within(connection, alert(), "dagster")
        raise RuntimeError
    assert alerts.list() == []
    assert actions(ledger) == []
    with database.begin() as connection:
        assert alerts.raise_within(connection, alert(), "dagster").is_new
    assert len(alerts.list()) == 1


def test_details_that_are_no_json_leave_nothing_behind(over: Over, ledger: Ledger):
    alerts = over(Scripted())
    with pytest.raises(ValueError, match="nan"):
        alerts.raise_alert(alert(details={"psi": float("nan")}), "dagster")
    assert alerts.list() == []
    assert actions(ledger) == []


def test_a_channel_that_is_down_costs_the_others_nothing(over: Over, clock: MovingClock, ledger: Ledger):
    up, down = Scripted("up"), Scripted("down", fails_for_now)
    alerts = over(down, up)
    ids = []
    for key in ("a", "b", "c"):
        ids.append(alerts.raise_alert(alert(key), "dagster").id)
        clock.move(timedelta(seconds=1))
    alerts.deliver_due(by="dagster")
    assert [message.id for message in up.sent] == ids
    attempts = [one.attempts for known in alerts.list() for one in known.deliveries if one.channel == "down"]
    assert sorted(attempts) == [0, 0, 1]  # one try a turn: a server that is down is not asked for each alert
    assert actions(ledger).count("alert.deliver") == 3
    assert alerts.deliver_due(by="dagster") != []  # the next alert's turn


def test_attempts_come_after_the_documented_pauses_and_end_as_a_dead_letter(
    over: Over, clock: MovingClock, ledger: Ledger
):
    tried_at = []
    channel = Scripted("down", lambda message: (tried_at.append(clock.at), fails_for_now(message)))
    alerts = over(channel)
    raised = alerts.raise_alert(alert(), "dagster")
    expected = [START]
    for _ in range(MAX_ATTEMPTS):
        (after,) = alerts.deliver_due(by="dagster")
        expected.append(clock.at + pause(after))
        clock.at = expected[-1] - timedelta(microseconds=1)
        assert alerts.deliver_due(by="dagster") == []
        clock.at = expected[-1]
    assert tried_at == expected[:-1]
    assert alerts.deliver_due(by="dagster") == []
    (letter,) = alerts.get(raised.id).dead_letters
    assert (letter.attempts, letter.last_error) == (MAX_ATTEMPTS, "HTTP 503")
    assert [known.id for known in alerts.dead()] == [raised.id]
    assert actions(ledger) == ["alert.raise", "alert.dead_letter"]
    (entry,) = ledger.entries(action="alert.dead_letter")
    assert (entry.reason, entry.details["channel"], entry.details["attempts"]) == ("HTTP 503", "down", MAX_ATTEMPTS)


def test_a_dead_letter_is_sent_again_when_somebody_asks(over: Over, ledger: Ledger, clock: MovingClock):
    channel, other = Scripted("down", fails_for_ever), Scripted("up")
    alerts = over(channel, other)
    raised = alerts.raise_alert(alert(), "dagster")
    alerts.deliver_due(by="dagster")
    assert states(alerts, raised.id) == {"down": State.DEAD, "up": State.DELIVERED}
    channel.outcome = lambda _: None
    clock.move(timedelta(days=2))
    assert [one.channel for one in alerts.retry(raised.id, by="ann")] == ["down"]
    alerts.deliver_due(by="dagster")
    assert alerts.get(raised.id).is_delivered
    assert len(other.sent) == 1
    assert actions(ledger)[-2:] == ["alert.retry", "alert.deliver"]
    assert next(ledger.entries(action="alert.retry")).actor == "ann"
    with pytest.raises(Conflict, match=r"has no dead letter \(down delivered, up delivered\)"):
        alerts.retry(raised.id, by="ann")
    with pytest.raises(NotFound, match="alert 'x'"):
        alerts.retry("x", by="ann")


def test_what_waits_for_a_channel_that_is_no_longer_set_is_a_dead_letter(over: Over):
    raised = over(Scripted("slack"), Scripted("log")).raise_alert(alert(), "dagster")
    alerts = over(Scripted("log"))
    alerts.deliver_due(by="dagster")
    assert states(alerts, raised.id) == {"slack": State.DEAD, "log": State.DELIVERED}
    assert "channel slack is not configured" in alerts.get(raised.id).dead_letters[0].last_error


class Killed(BaseException):
    """The process ends here, in a test."""


def test_what_was_sent_and_not_recorded_is_sent_again_with_the_same_id(over: Over, clock: MovingClock):
    sent: list[str] = []

    def killed_after_sending(message: Message) -> None:
        sent.append(message.id)
        raise Killed

    channel = Scripted("webhook", killed_after_sending)
    alerts = over(channel)
    raised = alerts.raise_alert(alert(), "dagster")
    with pytest.raises(Killed):
        alerts.deliver_due(by="dagster")
    assert states(alerts, raised.id) == {"webhook": State.SENDING}
    clock.move(CLAIM - timedelta(microseconds=1))
    assert alerts.deliver_due(by="dagster") == []
    clock.move(timedelta(microseconds=1))
    channel.outcome = lambda _: None
    alerts.deliver_due(by="dagster")
    assert [*sent, *(message.id for message in channel.sent)] == [raised.id] * 2
    assert alerts.get(raised.id).is_delivered


def test_what_kills_its_sender_every_time_ends_as_a_dead_letter(over: Over, clock: MovingClock):
    def kill(_: Message) -> None:
        raise Killed

    alerts = over(Scripted("webhook", kill))
    raised = alerts.raise_alert(alert(), "dagster")
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(Killed):
            alerts.deliver_due(by="dagster")
        clock.move(CLAIM)
    alerts.deliver_due(by="dagster")
    (letter,) = alerts.get(raised.id).dead_letters
    assert "the process of the last one ended before it said how" in letter.last_error


def test_a_deliverer_in_the_middle_of_anothers_attempt_sends_nothing(over: Over, clock: MovingClock):
    channel = Scripted("webhook")
    alerts = over(channel)
    raised = alerts.raise_alert(alert(), "dagster")
    found_meanwhile = []
    channel.outcome = lambda _: found_meanwhile.append(alerts.deliver_due(by="another"))
    alerts.deliver_due(by="dagster")
    assert found_meanwhile == [[]]
    assert [message.id for message in channel.sent] == [raised.id]


def test_a_success_that_comes_after_the_claim_ended_is_recorded_once(over: Over, clock: MovingClock, ledger: Ledger):
    channel = Scripted("webhook")
    alerts = over(channel)
    raised = alerts.raise_alert(alert(), "dagster")

    def slow(_: Message) -> None:
        clock.move(CLAIM)
        channel.outcome = fails_for_now
        alerts.deliver_due(by="another")

    channel.outcome = slow
    alerts.deliver_due(by="dagster")
    assert alerts.get(raised.id).is_delivered
    clock.move(timedelta(days=1))
    assert alerts.deliver_due(by="dagster") == []
    assert actions(ledger).count("alert.deliver") == 1


def test_a_failure_that_comes_after_another_took_the_claim_changes_nothing(
    over: Over, clock: MovingClock, database: Database
):
    def is_overtaken(message: Message) -> None:
        clock.move(CLAIM)
        (ours,) = alerts.get(message.id).deliveries
        with database.begin() as connection:  # another process begins, and has not ended yet
            assert store.move(connection, ours, claimed(ours, clock.at))
        raise TemporaryFailure("too late to say")

    alerts = over(Scripted("webhook", is_overtaken))
    raised = alerts.raise_alert(alert(), "dagster")
    assert alerts.deliver_due(by="dagster") == []
    (theirs,) = alerts.get(raised.id).deliveries
    assert (theirs.state, theirs.attempts, theirs.last_error) == (State.SENDING, 2, "")


@pytest.mark.parametrize("end", [State.DELIVERED, State.DEAD, State.PENDING])
def test_what_ended_since_it_was_read_as_due_is_not_claimed(over: Over, database: Database, end: State):
    alerts = over(Scripted("webhook"))
    raised = alerts.raise_alert(alert(), "dagster")
    (due,) = alerts.get(raised.id).deliveries
    expired = claimed(due, START)
    with database.begin() as connection:
        assert store.move(connection, due, expired)
        assert store.move(connection, expired, replace(expired, state=end))
        assert not store.move(connection, expired, claimed(expired, START))
    assert alerts.get(raised.id).deliveries[0].state is end


def test_a_turn_takes_so_many_and_no_new_message_after_its_time(over: Over, clock: MovingClock):
    channel = Scripted()
    alerts = over(channel)
    for number in range(6):
        alerts.raise_alert(alert(f"k{number}"), "dagster")
    assert len(alerts.deliver_due(by="dagster", limit=2)) == 2
    channel.outcome = lambda _: clock.move(timedelta(seconds=16))
    assert len(alerts.deliver_due(by="dagster")) == 2
    assert len(channel.sent) == 4


def test_lists_are_filtered_and_paged_newest_first(over: Over):
    alerts = over(Scripted("up"), Scripted("down", fails_for_ever))
    low = alerts.raise_alert(alert("a", Severity.LOW), "dagster")
    high = alerts.raise_alert(alert("b", subject="other"), "dagster")
    alerts.deliver(low.id, by="dagster")
    assert [one.id for one in alerts.list()] == [high.id, low.id]
    assert [one.id for one in alerts.list(severity=Severity.LOW)] == [low.id]
    assert [one.id for one in alerts.list(subject="other")] == [high.id]
    assert [one.id for one in alerts.list(state=State.PENDING)] == [high.id]
    assert [one.id for one in alerts.dead()] == [low.id]
    (newest,) = alerts.list(limit=1)
    assert [one.id for one in alerts.list(before_seq=newest.ledger_seq)] == [low.id]
    assert alerts.find(low.id[:10]).id == low.id
    with pytest.raises(NotFound, match="Give more characters"):
        alerts.find("")
    with pytest.raises(NotFound, match="mlops alerts list"):
        alerts.get(low.id[:10])


def test_a_test_alert_is_sent_at_once_and_never_held_back(over: Over):
    alerts = over(Scripted("up"), Scripted("down", fails_for_ever))
    first = alerts.test(by="ann")
    assert {one.channel: one.state for one in first.deliveries} == {"up": State.DELIVERED, "down": State.DEAD}
    assert not first.is_delivered
    assert first.alert.kind == "test"


def test_no_alert_can_be_deleted(over: Over, database: Database):
    over(Scripted()).raise_alert(alert(), "dagster")
    with pytest.raises(sa.exc.DatabaseError, match="never changed or deleted"), database.begin() as connection:
        connection.execute(sa.delete(alert_table))


def test_over_a_flapping_network_every_alert_arrives_and_is_verified(database: Database, ledger: Ledger):
    """500, 429 with a date, a time-out and a closed port, then the receiver is there again."""
    clock = MovingClock(SystemClock().now())
    answers = [
        Answer(status=500),
        Answer(status=429, headers={"retry-after": "300"}),
        Answer(after_seconds=0.5),
    ]
    with WebReceiver(answers) as receiver:
        alerts = Alerts(database, ledger, clock, [WebhookChannel(receiver.url, SECRET, clock, timeout_seconds=0.2)])
        raised = alerts.raise_alert(alert(), "dagster")
        errors, waits = [], []
        for _ in answers:
            (after,) = alerts.deliver_due(by="dagster")
            errors.append(after.last_error.split(":")[0])
            waits.append(after.next_attempt_at - clock.at)
            clock.at = after.next_attempt_at
        with closed_port() as port:
            gone = WebhookChannel(f"http://127.0.0.1:{port}/", SECRET, clock)
            (after,) = Alerts(database, ledger, clock, [gone]).deliver_due(by="dagster")
            errors.append(after.last_error.split(":")[0])
            clock.at = after.next_attempt_at
        (after,) = alerts.deliver_due(by="dagster")
    assert errors == ["HTTP 500", "HTTP 429", "ReadTimeout", "ConnectError"]
    assert waits[1] == timedelta(seconds=300)
    assert (after.state, after.attempts) == (State.DELIVERED, 5)
    assert {request.headers["webhook-id"] for request in receiver.requests} == {raised.id}
    last = receiver.requests[-1]
    # The verifier wants a recent time; what is signed is the injected clock's, so it is checked by signing again.
    signed = Webhook(SECRET).sign(raised.id, clock.at, last.body.decode())
    assert last.headers["webhook-signature"] == signed
    assert ledger.verify().is_intact
