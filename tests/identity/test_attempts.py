"""Who fails to sign in too often waits; who signs in from elsewhere does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mlops_assets.identity.attempts import MOST, WINDOW, Attempts, TooManyAttempts


class Hands:
    """A clock that a test moves."""

    at = datetime(2026, 1, 5, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at


@pytest.fixture
def hands() -> Hands:
    return Hands()


def fail(attempts: Attempts, address: str, times: int) -> None:
    for _ in range(times):
        attempts.check(address)
        attempts.failed(address)


def test_the_eleventh_try_within_a_minute_waits_for_the_first_to_be_a_minute_old(hands: Hands):
    attempts = Attempts(hands)
    fail(attempts, "192.0.2.1", 1)
    hands.at += timedelta(seconds=20)
    fail(attempts, "192.0.2.1", MOST - 1)
    with pytest.raises(TooManyAttempts) as refusal:
        attempts.check("192.0.2.1")
    assert refusal.value.retry_after_seconds == 40
    hands.at += timedelta(seconds=39)
    with pytest.raises(TooManyAttempts):
        attempts.check("192.0.2.1")
    hands.at += timedelta(seconds=1)
    attempts.check("192.0.2.1")


def test_failures_apart_from_each_other_never_block(hands: Hands):
    attempts = Attempts(hands)
    for _ in range(100):
        fail(attempts, "192.0.2.1", 1)
        hands.at += WINDOW / (MOST - 1)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("", "a-socket", True),
    ],
)
def test_an_address_is_a_client(hands: Hands, one: str, other: str, is_same: bool):
    attempts = Attempts(hands)
    fail(attempts, one, MOST)
    if is_same:
        with pytest.raises(TooManyAttempts):
            attempts.check(other)
    else:
        attempts.check(other)


def test_many_addresses_take_bounded_memory(hands: Hands):
    attempts = Attempts(hands)
    for number in range(10_050):
        fail(attempts, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1)
    assert len(attempts._failures) == 10_000
