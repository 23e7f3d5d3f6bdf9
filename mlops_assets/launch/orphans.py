"""Who ends the services when their parent was killed: a process that only waits for the parent to vanish.

Run as a script by `children.py`; standard library only, so that it starts at once. Its input is a pipe from the parent:
one line for each process group; the pipe closes when the parent ends, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

GRACE_SECONDS = 10.0


def main() -> None:
    """Collect process groups until the parent is gone, then end those that are still there."""
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)  # only the parent's end counts
    groups = {int(line) for line in sys.stdin if line.strip()}
    end_groups(groups, GRACE_SECONDS)


def end_groups(groups: set[int], grace_seconds: float) -> None:
    """Ask process groups to stop and, after a time of grace, kill what is left of them."""
    for group in groups:
        _signal(group, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while any(is_alive(group) for group in groups) and time.monotonic() < deadline:
        time.sleep(0.1)
    for group in groups:
        _signal(group, signal.SIGKILL)


def is_alive(group: int) -> bool:
    """Tell whether a process group still has a member."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    main()
