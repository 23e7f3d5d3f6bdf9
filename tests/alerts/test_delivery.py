from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.alerts import delivery as rules
from mlops_assets.alerts.delivery import MAX_ATTEMPTS, Delivery, PermanentFailure, State, TemporaryFailure
from mlops_assets.kernel.errors import Conflict
from tests.alerts.worlds import START


def attempt(number: int, alert_id: str = "a", channel: str = "webhook") -> Delivery:
    return replace(rules.first(alert_id, channel, START), state=State.SENDING, attempts=number)


def by_hand(alert_id: str, channel: str, number: int) -> float:
    """The documented formula, once more: 30 s doubled, an hour at most, of which a half to all."""
    full = [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600, 3600][number - 1]
    digest = hashlib.sha256(f"{alert_id}:{channel}:{number}".encode()).hexdigest()
    return full * (0.5 + int(digest[:16], 16) / 2**64 / 2)


@given(st.text(max_size=20), st.sampled_from(["webhook", "email"]), st.integers(1, MAX_ATTEMPTS))
def test_the_pause_is_the_documented_one(alert_id: str, channel: str, number: int):
    expected = by_hand(alert_id, channel, number)
    assert rules.pause(attempt(number, alert_id, channel)).total_seconds() == pytest.approx(expected)


def test_pauses_are_spread_over_alerts_and_channels():
    pauses = {rules.pause(attempt(3, alert_id, channel)) for alert_id in "abcdefgh" for channel in ("log", "slack")}
    assert len(pauses) == 16
    assert max(pauses) - min(pauses) > timedelta(seconds=30)


def test_pauses_grow_until_an_hour_and_all_of_them_take_half_a_night():
    pauses = [rules.pause(attempt(number)) for number in range(1, MAX_ATTEMPTS)]
    assert all(later > earlier / 2 for earlier, later in pairwise(pauses))
    assert timedelta(hours=2) < sum(pauses, timedelta(0)) < timedelta(hours=5)


def test_a_temporary_failure_waits_for_its_pause():
    after = rules.failed(attempt(2), TemporaryFailure("HTTP 503"), START)
    assert (after.state, after.last_error, after.attempts) == (State.PENDING, "HTTP 503", 2)
    assert after.next_attempt_at == START + rules.pause(attempt(2))


def test_a_receiver_may_ask_for_a_longer_pause_but_not_for_a_shorter_one_or_for_ever():
    for asked, expected in ((600, 600), (10**6, 6 * 3600)):
        failure = TemporaryFailure("HTTP 429", pause=timedelta(seconds=asked))
        assert rules.failed(attempt(1), failure, START).next_attempt_at == START + timedelta(seconds=expected)
    failure = TemporaryFailure("HTTP 429", pause=timedelta(seconds=1))
    assert rules.failed(attempt(1), failure, START).next_attempt_at == START + rules.pause(attempt(1))


def test_a_permanent_failure_and_the_last_attempt_end_as_dead_letters():
    assert rules.failed(attempt(1), PermanentFailure("HTTP 404"), START).state is State.DEAD
    assert rules.failed(attempt(MAX_ATTEMPTS - 1), TemporaryFailure("x"), START).state is State.PENDING
    assert rules.failed(attempt(MAX_ATTEMPTS), TemporaryFailure("x"), START).state is State.DEAD


def test_what_is_kept_of_an_error_is_one_short_line():
    after = rules.failed(attempt(1), TemporaryFailure("a\n" * 500), START)
    assert len(after.last_error) == 200
    assert "\n" not in after.last_error


def test_a_claim_ends():
    claimed = rules.claimed(rules.first("a", "log", START), START)
    assert (claimed.state, claimed.attempts) == (State.SENDING, 1)
    assert not claimed.is_due(START + timedelta(seconds=119))
    assert claimed.is_due(START + timedelta(seconds=120))


def test_only_a_dead_letter_is_revived_and_gets_all_its_attempts():
    dead = rules.failed(attempt(MAX_ATTEMPTS), TemporaryFailure("x"), START)
    revived = rules.revived(dead, START + timedelta(days=1))
    assert (revived.state, revived.attempts, revived.last_error) == (State.PENDING, 0, "x")
    assert revived.is_due(START + timedelta(days=1))
    with pytest.raises(Conflict, match="only a dead letter"):
        rules.revived(attempt(1), START)
