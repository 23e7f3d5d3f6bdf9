"""How long to wait after an attempt failed."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.kernel.backoff import pause

FIRST, LONGEST = timedelta(seconds=30), timedelta(minutes=10)


@given(seed=st.text(), attempts=st.integers(1, 10**6))
def test_a_pause_is_half_to_all_of_the_doubled_one_and_never_longer_than_the_longest(seed: str, attempts: int):
    full = min(30 * 2.0 ** min(attempts - 1, 40), 600)
    found = pause(seed, attempts, first=FIRST, longest=LONGEST)
    assert full / 2 <= found.total_seconds() <= full
    assert found == pause(seed, attempts, first=FIRST, longest=LONGEST)


def test_pauses_of_different_things_are_spread():
    """Of 1,000 even draws from 300 to 600 seconds, each tenth has 100; five deviations are 47."""
    seconds = [pause(f"thing {n}", 9, first=FIRST, longest=LONGEST).total_seconds() for n in range(1_000)]
    tenths = [sum(300 + 30 * n <= one < 330 + 30 * n for one in seconds) for n in range(10)]
    assert all(53 <= count <= 147 for count in tenths)
