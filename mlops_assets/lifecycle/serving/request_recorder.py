"""What one worker saw of the deployments it answers for, written in the background so that no prediction waits.

A flush writes every few seconds and at the worker's end. A worker that is killed loses what came after its last flush.
"""

# hdrh carries no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
from __future__ import annotations

import atexit
import logging
import os
import secrets
import socket
import threading
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from sqlalchemy.exc import SQLAlchemyError

from mlops_assets.kernel.clock import Clock
from mlops_assets.lifecycle.serving.health import LONGEST_MICROSECONDS, Window, new_histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hdrh.histogram import HdrHistogram

FLUSH_SECONDS = 5.0

_log = logging.getLogger(__name__)
_Key = tuple[str, datetime]


class Windows(Protocol):
    """Where windows are written."""

    def write(self, windows: Sequence[Window]) -> None: ...


@dataclass(slots=True, kw_only=True)
class _Counted:
    """What was counted in one minute so far. `written` is how much of it the store has."""

    requests: int = 0
    errors: int = 0
    written: int = 0
    latencies: HdrHistogram = field(default_factory=new_histogram)


class RequestRecorder:
    """Counts requests by deployment and minute. Safe to share between threads."""

    def __init__(
        self, store: Windows, clock: Clock, *, worker: str = "", flush_seconds: float | None = FLUSH_SECONDS
    ) -> None:
        """Begin with nothing; `flush_seconds` None writes only when `flush` or `close` is called."""
        self._store, self._clock, self._flush_seconds = store, clock, flush_seconds
        self._worker = worker or f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(8)}"
        self._counted: dict[_Key, _Counted] = {}
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None

    def answered(self, deployment_id: str, seconds: float) -> None:
        """Count a request that was answered, and how long it took."""
        microseconds = min(max(round(seconds * 1e6), 1), LONGEST_MICROSECONDS)
        with self._lock:
            counted = self._minute(deployment_id)
            counted.requests += 1
            counted.latencies.record_value(microseconds)

    def refused(self, deployment_id: str) -> None:
        """Count a request that had no answer for a reason outside the version."""
        with self._lock:
            self._minute(deployment_id).requests += 1

    def failed(self, deployment_id: str) -> None:
        """Count a request that the version itself could not answer."""
        with self._lock:
            counted = self._minute(deployment_id)
            counted.requests += 1
            counted.errors += 1

    def flush(self) -> None:
        """Write what is new. Where the database does not answer, the next flush writes it."""
        with self._writing:
            with self._lock:
                news = {key: one for key, one in self._counted.items() if one.requests > one.written}
                windows = [self._window(key, one) for key, one in news.items()]
            if not windows:
                return
            try:
                self._store.write(windows)
            except SQLAlchemyError as error:
                _log.warning("%d minutes of serving were not written: %s", len(windows), type(error).__name__)
                return
            with self._lock:
                for one in windows:
                    self._counted[one.deployment_id, one.started_at].written = one.request_count
                self._forget_what_is_over()

    def close(self) -> None:
        """Write what is left and stop writing in the background."""
        self._is_over.set()
        if self._thread is not None:
            self._thread.join()
        atexit.unregister(self.close)
        self.flush()

    def _minute(self, deployment_id: str) -> _Counted:
        self._begin()
        key = (deployment_id, self._clock.now().replace(second=0, microsecond=0))
        if key not in self._counted:
            self._counted[key] = _Counted()
        return self._counted[key]

    def _begin(self) -> None:
        """Start writing in the background with the first request: a process that predicts nothing has no thread."""
        if self._thread is None and self._flush_seconds is not None and not self._is_over.is_set():
            self._thread = threading.Thread(target=self._write_often, name="serving-health", daemon=True)
            self._thread.start()
            atexit.register(self.close)

    def _write_often(self) -> None:
        while not self._is_over.wait(self._flush_seconds):
            self.flush()

    def _window(self, key: _Key, counted: _Counted) -> Window:
        deployment_id, started_at = key
        return Window(
            deployment_id=deployment_id,
            started_at=started_at,
            worker=self._worker,
            request_count=counted.requests,
            error_count=counted.errors,
            latencies=bytes(counted.latencies.encode()),
            updated_at=self._clock.now(),
        )

    def _forget_what_is_over(self) -> None:
        minute = self._clock.now().replace(second=0, microsecond=0)
        for key, one in list(self._counted.items()):
            if key[1] < minute and one.written == one.requests:
                del self._counted[key]
