import pytest

from mlops_assets.market_data.rate_limit import CallLimiter


class FakeTime:
    """A clock that moves only when somebody sleeps or says so."""

    def __init__(self):
        self.at, self.slept = 0.0, []

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds


def test_the_sixth_call_waits_until_the_first_is_a_minute_old():
    time = FakeTime()
    limiter = CallLimiter(calls=5, window_seconds=60, monotonic=time.monotonic, sleep=time.sleep)
    for _ in range(5):
        limiter.wait()
        time.at += 1.0
    assert time.slept == []
    limiter.wait()
    assert time.slept == [55.0]


def test_no_window_ever_holds_more_calls_than_the_limit():
    time = FakeTime()
    limiter = CallLimiter(calls=3, window_seconds=10, monotonic=time.monotonic, sleep=time.sleep)
    made = []
    for pause in [0, 4, 1, 0, 0, 9, 0, 0, 0, 20, 0, 0, 0, 0]:
        time.at += pause
        limiter.wait()
        made.append(time.at)
    assert all(later - earlier >= 10 for earlier, later in zip(made, made[3:], strict=False))


def test_a_slow_caller_never_waits():
    time = FakeTime()
    limiter = CallLimiter(calls=1, window_seconds=10, monotonic=time.monotonic, sleep=time.sleep)
    for _ in range(3):
        limiter.wait()
        time.at += 11
    assert time.slept == []


def test_a_limit_of_nothing_cannot_exist():
    with pytest.raises(ValueError, match="at least one call"):
        CallLimiter(calls=0, window_seconds=60)
