"""Which services run and how they end: child processes with a log each, stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.launch import orphans

HAS_PROCESS_GROUPS = os.name == "posix"
_LAST_LINES = 12


class ServiceStopped(PlatformError):
    """A service ended by itself."""

    code: ClassVar[str] = "service_stopped"

    def __init__(self, *, service: str, exit_code: int, log: Path) -> None:
        self.service, self.exit_code, self.log = service, exit_code, log
        super().__init__(
            f"{service} stopped by itself with exit code {exit_code}. The full log is in {log}; it ends:\n{tail(log)}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One program to keep running."""

    name: str
    command: Sequence[str]
    log: Path


class Children:
    """The running services. Leaving the context stops them all, also when this process is killed.

    Each service leads a process group of its own, so that its own children (code servers) end with it and a Ctrl-C in
    the terminal reaches this process alone, which then stops them in order.
    """

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._environment, self._folder = dict(environment), folder
        self._running: list[tuple[Service, subprocess.Popen[bytes]]] = []
        self._orphan_guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if HAS_PROCESS_GROUPS:
            self._orphan_guard = subprocess.Popen(
                [sys.executable, orphans.__file__], stdin=subprocess.PIPE, start_new_session=True
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, service: Service) -> None:
        """Start a service; what it prints goes to its log, which begins anew."""
        service.log.parent.mkdir(parents=True, exist_ok=True)
        with service.log.open("wb") as log:
            process = subprocess.Popen(
                list(service.command),
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=HAS_PROCESS_GROUPS,
            )
        self._running.append((service, process))
        if self._orphan_guard is not None and self._orphan_guard.stdin is not None:
            self._orphan_guard.stdin.write(f"{process.pid}\n".encode())
            self._orphan_guard.stdin.flush()

    def check(self) -> None:
        """See whether every service still runs.

        Raises:
            ServiceStopped: naming the first that does not, with the end of its log.
        """
        for service, process in self._running:
            if (exit_code := process.poll()) is not None:
                raise ServiceStopped(service=service.name, exit_code=exit_code, log=service.log)

    def process_groups(self) -> list[int]:
        """Return the process group of each service."""
        return [process.pid for _, process in self._running]

    def stop(self) -> None:
        """Stop every service and wait until they have ended."""
        processes = [process for _, process in self._running]
        self._running = []
        if HAS_PROCESS_GROUPS:
            _stop_groups(processes)
        else:
            for process in processes:
                process.terminate()
        for process in processes:
            process.wait()
        if self._orphan_guard is not None and self._orphan_guard.stdin is not None:
            self._orphan_guard.stdin.close()
            self._orphan_guard.wait()
            self._orphan_guard = None


def _stop_groups(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
    for process in processes:
        try:
            process.wait(timeout=orphans.GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    orphans.end_groups({process.pid for process in processes}, orphans.GRACE_SECONDS)


def tail(log: Path) -> str:
    """Return the last lines of a log."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-_LAST_LINES:])
