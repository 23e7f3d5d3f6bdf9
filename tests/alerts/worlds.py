"""Receivers of alerts on this machine, a clock that is moved by hand, and channels that do what a test says."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from mlops_assets.alerts.alert import Alert, Severity
from mlops_assets.alerts.message import Message

START = datetime(2026, 1, 5, 12, tzinfo=UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class MovingClock:
    """Stands still until a test moves it."""

    def __init__(self, at: datetime = START) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def move(self, by: timedelta) -> None:
        self.at += by


def alert(key: str = "drift:1", severity: Severity = Severity.HIGH, **others: Any) -> Alert:
    fields = {"kind": "drift", "subject": "drift/momentum", "summary": "rsi_14 moved", **others}
    return Alert(key=key, severity=severity, **fields)


class Scripted:
    """A channel that remembers what it sent and fails as told: `outcome` may raise."""

    def __init__(self, name: str = "scripted", outcome: Callable[[Message], None] = lambda _: None) -> None:
        self.name, self.outcome, self.sent = name, outcome, list[Message]()

    def send(self, message: Message) -> None:
        self.outcome(message)
        self.sent.append(message)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a web server says to one request."""

    status: int = 204
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    after_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class WebReceiver:
    """A web server in a thread. It gives the scripted answers in order, then 204."""

    def __init__(self, answers: Sequence[Answer] = ()) -> None:
        self.requests: list[Request] = []
        answers_left = list(answers)
        receiver, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with lock:
                    receiver.requests.append(Request(path=self.path, headers=headers, body=body))
                    answer = answers_left.pop(0) if answers_left else Answer()
                time.sleep(answer.after_seconds)
                self.send_response(answer.status)
                for name, value in {"content-length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(BrokenPipeError):  # who asked did not read to the end
                    self.wfile.write(answer.body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/hooks/T0ken-in-the-path"

    def __enter__(self) -> WebReceiver:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def closed_port() -> Iterator[int]:
    """A port of this machine that nobody listens on, kept by us while it is used."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]
