"""Named points at which a test can kill the process, to prove that a crash there loses nothing."""

from __future__ import annotations

import os
import signal
from typing import Final

_VARIABLE: Final = "MLOPS_FAILPOINT"


def failpoint(name: str) -> None:
    """Kill this process with SIGKILL if the environment names this point; else do nothing.

    This is the one place besides `settings.py` that reads the environment: a crash test must reach into a child
    process that shares no object with it.
    """
    if os.environ.get(_VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
