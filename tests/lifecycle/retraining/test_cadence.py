from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.lifecycle.retraining.cadence import adherence, spent

START = datetime(2024, 1, 1, tzinfo=UTC)
TEN_DAYS = timedelta(days=10)


def days(*numbers: float) -> list[datetime]:
    return [START + timedelta(days=number) for number in numbers]


def test_a_model_that_was_never_trained_keeps_no_cadence():
    found = adherence([], within=TEN_DAYS, now=START)
    assert (found.is_kept, found.due_at, found.share_of_time_kept) == (False, None, None)


@pytest.mark.parametrize(
    ("trained", "now", "is_kept", "share"),
    [
        (days(0), 5, True, 1.0),
        (days(0), 10, True, 1.0),
        (days(0), 20, False, 0.5),
        (days(0, 15), 20, True, 15 / 20),
        (days(15, 0, 2), 20, True, (2 + 10 + 5) / 20),
    ],
)
def test_the_share_of_time_kept_by_hand(trained: list[datetime], now: int, is_kept: bool, share: float):
    found = adherence(trained, within=TEN_DAYS, now=days(now)[0])
    assert found.is_kept is is_kept
    assert found.share_of_time_kept == pytest.approx(share)


def test_a_training_of_the_future_does_not_count():
    assert adherence(days(0, 30), within=TEN_DAYS, now=days(20)[0]).last_trained == START


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0.1, 50))
def test_the_share_is_that_of_days_on_which_the_newest_training_was_recent(numbers: list[float], within: float):
    found = adherence(days(*numbers), within=timedelta(days=within), now=days(100)[0])
    grid = [min(numbers) + (100 - min(numbers)) * (step + 0.5) / 2000 for step in range(2000)]
    recent = sum(any(0 <= at - number <= within for number in numbers) for at in grid) / len(grid)
    assert found.share_of_time_kept == pytest.approx(recent, abs=(len(numbers) + 1) / 1000)


def test_a_year_ago_is_spent_no_more():
    assert spent(days(0, 1, 364.9), now=days(365)[0]) == 2
    assert spent(days(0, 1, 364.9), now=days(364.95)[0]) == 3
