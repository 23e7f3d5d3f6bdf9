"""How the platform is started, waited for and kept running: the services' commands and what "it answers" means."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import ClassVar

import httpx

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.launch.children import Children, Service
from mlops_assets.launch.dagster_ui import DagsterUi
from mlops_assets.launch.instance import WORKSPACE_FILE
from mlops_assets.settings import Settings

UI, DAEMON, API = "dagster-webserver", "dagster-daemon", "rest-api"
START_TIMEOUT_SECONDS = 240.0
_PAUSE_SECONDS = 0.25


class NotReady(PlatformError):
    """A service runs but does not answer as it should."""

    code: ClassVar[str] = "not_ready"


def platform_services(settings: Settings) -> list[Service]:
    """Return the three services with their commands and logs."""
    workspace = str(settings.dagster_home / WORKSPACE_FILE.name)
    address = ["--host", settings.host, "--port"]
    commands = {
        UI: ["dagster_webserver", *address, str(settings.ui_port), "--workspace", workspace],
        DAEMON: ["dagster._daemon", "run", "--workspace", workspace],
        # The API writes its own line a request, without what the caller wrote.
        API: [
            *(
                "uvicorn",
                "--no-access-log",
                "--no-server-header",
                "--factory",
                "mlops_assets.rest.app:from_environment",
            ),
            *(*address, str(settings.api_port)),
        ],
    }
    return [
        Service(name=name, command=[sys.executable, "-m", *command], log=settings.logs_path / f"{name}.log")
        for name, command in commands.items()
    ]


def ui_url(settings: Settings) -> str:
    return f"http://{settings.host}:{settings.ui_port}"


def api_url(settings: Settings) -> str:
    return f"http://{settings.host}:{settings.api_port}"


def wait_until_ready(
    children: Children,
    questions: Sequence[tuple[str, Callable[[], str]]],
    on_ready: Callable[[str], None],
    timeout_seconds: float = START_TIMEOUT_SECONDS,
) -> None:
    """Ask each service until it has no problem left to name.

    `questions` pairs a service's name with a function that returns its problem, empty when there is none.

    Raises:
        ServiceStopped: if a service ends while it is waited for.
        NotReady: naming the service and its last problem when the time is over.
    """
    deadline = time.monotonic() + timeout_seconds
    for name, problem_of in questions:
        while problem := _ask(problem_of):
            children.check()
            if time.monotonic() > deadline:
                raise NotReady(f"{name} is not ready after {timeout_seconds:.0f} seconds: {problem}")
            time.sleep(_PAUSE_SECONDS)
        on_ready(name)


def readiness_questions(ui: DagsterUi, api: httpx.Client) -> list[tuple[str, Callable[[], str]]]:
    """Return what each service is asked: the code location loads, the daemons' hearts beat, the stores answer."""
    return [
        (API, lambda: _api_problem(api)),
        (UI, lambda: _location_problem(ui)),
        (DAEMON, lambda: "; ".join(f"{name}: {why}" for name, why in ui.unhealthy_daemons().items())),
    ]


def stay_until_stopped(children: Children) -> None:
    """Keep watching the services until this process is interrupted.

    Raises:
        ServiceStopped: if one ends by itself.
        KeyboardInterrupt: on Ctrl-C and on SIGTERM (see `interruptible`).
    """
    while True:
        children.check()
        time.sleep(_PAUSE_SECONDS)


@contextmanager
def interruptible() -> Iterator[None]:
    """Make SIGINT and SIGTERM raise KeyboardInterrupt here, and have their default meaning in children.

    A shell without job control starts background commands with SIGINT ignored, and the ignoring is inherited: the
    services would then outlive every attempt to stop them.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_interrupts() -> None:
    """Ignore further interrupts: the services are being stopped, which takes seconds at most."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _ask(problem_of: Callable[[], str]) -> str:
    try:
        return problem_of()
    except (httpx.HTTPError, ValueError) as error:  # not listening yet, or the answer is no JSON
        return f"{type(error).__name__}: {error}"


def _api_problem(api: httpx.Client) -> str:
    for path in ("/health", "/ready"):
        response = api.get(path)
        if response.status_code != 200:
            return f"{path} answers {response.status_code}: {response.text[:500]}"
    return ""


def _location_problem(ui: DagsterUi) -> str:
    locations = ui.locations()
    if failed := [one for one in locations if one.problem]:
        # It won't heal by waiting.
        raise NotReady(f"The code location {failed[0].name} does not load: {failed[0].problem}")
    waiting = [one.name for one in locations if not one.is_loaded]
    return f"still loading {', '.join(waiting)}" if waiting or not locations else ""
