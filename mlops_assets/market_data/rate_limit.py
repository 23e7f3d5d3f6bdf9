"""When the next call to a vendor may be made: at most so many in any window of time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable


class CallLimiter:
    """Lets at most `calls` through in any `window_seconds`, waiting where it must. For one thread."""

    def __init__(
        self,
        *,
        calls: int,
        window_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if calls < 1 or window_seconds <= 0:
            raise ValueError(f"a limit is at least one call in a window of time, got {calls} in {window_seconds} s")
        self._calls, self._window_seconds = calls, window_seconds
        self._monotonic, self._sleep = monotonic, sleep
        self._made: deque[float] = deque(maxlen=calls)

    def wait(self) -> None:
        """Return when the next call may be made, and count it."""
        if len(self._made) == self._calls:
            remaining = self._made[0] + self._window_seconds - self._monotonic()
            if remaining > 0:
                self._sleep(remaining)
        self._made.append(self._monotonic())
