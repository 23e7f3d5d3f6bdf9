"""By which ways an alert reaches people and programs: a log file, a signed webhook, a Slack-format webhook.

A channel sends one message once and says how it went; when to send again is the service's business. Mail is in `mail`.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mlops_assets.alerts import addresses
from mlops_assets.alerts.alert import Severity, one_line
from mlops_assets.alerts.delivery import LONGEST_ERROR, PermanentFailure, TemporaryFailure
from mlops_assets.alerts.message import Message, as_bytes, as_json, as_slack
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.fingerprint import canonical_json
from mlops_assets.kernel.words import Words

if TYPE_CHECKING:
    import httpx

TIMEOUT_SECONDS = 10.0
_LONGEST_BODY = 200
_SHORTEST_SECRET = 6
_LONGEST_ASKED_SECONDS = 10**6
_ASK_LATER = frozenset({408, 425, 429})
_LEVELS = {
    Severity.LOW: "info",
    Severity.MEDIUM: "warning",
    Severity.HIGH: "error",
    Severity.CRITICAL: "critical",
}


class Channel(Protocol):
    """One way out."""

    @property
    def name(self) -> str: ...

    def send(self, message: Message) -> None:
        """Send one message once.

        Raises:
            TemporaryFailure: if it may be taken later.
            PermanentFailure: if it never will.
        """
        ...


class LogChannel:
    """Appends each alert to a file, one JSON line each, for whatever collects logs here."""

    name = "log"

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, message: Message) -> None:
        import structlog

        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered, so that a line is one write at the file's end, whoever else writes there.
            with self._path.open("ab", buffering=0) as stream:
                log = structlog.wrap_logger(
                    structlog.BytesLogger(stream),
                    processors=[
                        structlog.processors.add_log_level,
                        structlog.processors.JSONRenderer(serializer=lambda line, **_: canonical_json(line)),
                    ],
                )
                getattr(log, _LEVELS[message.alert.severity])("alert.raised", **_logged(message))
        except OSError as error:
            raise TemporaryFailure(f"the log file can't be written: {error.strerror}") from error


class WebhookChannel:
    """Posts each alert as JSON, signed as Standard Webhooks says."""

    name = "webhook"

    def __init__(self, url: str, secret: str, clock: Clock, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._secret, self._clock = addresses.webhook_secret(secret), clock
        self._post = _Post(addresses.webhook_url(url), timeout_seconds, secrets=(secret,))

    def send(self, message: Message) -> None:
        from standardwebhooks import Webhook

        body, at = as_bytes(message), self._clock.now()
        self._post(
            body,
            {
                "webhook-id": message.id,
                "webhook-timestamp": str(int(at.timestamp())),
                "webhook-signature": Webhook(self._secret).sign(message.id, at, body.decode()),
            },
            at,
        )


class SlackChannel:
    """Posts each alert in Slack's format, which Mattermost, Rocket.Chat and others read too."""

    name = "slack"

    def __init__(self, url: str, words: Words, clock: Clock, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._words, self._clock = words, clock
        self._post = _Post(addresses.webhook_url(url), timeout_seconds)

    def send(self, message: Message) -> None:
        self._post(canonical_json(as_slack(message, self._words)), {}, self._clock.now())


class _Post:
    """One POST to one address. The transport is used without a client, which would log the address it asks for."""

    def __init__(self, url: str, timeout_seconds: float, *, secrets: tuple[str, ...] = ()) -> None:
        self._url, self._timeout_seconds = url, timeout_seconds
        path = url.partition("://")[2].partition("/")[2]
        self._secrets = (*secrets, url, path, *path.split("/"), *path.partition("?")[2].split("="))

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        """The certificates that are trusted here; reading them takes longer than sending."""
        import httpx

        return httpx.create_ssl_context()

    def __call__(self, body: bytes, headers: Mapping[str, str], at: datetime) -> None:
        import httpx

        try:
            request = httpx.Request(
                "POST",
                self._url,
                content=body,
                headers={"content-type": "application/json", "user-agent": "mlops-assets", **headers},
                extensions={"timeout": httpx.Timeout(self._timeout_seconds).as_dict()},
            )
            with httpx.HTTPTransport(verify=self._trust) as transport:
                response = transport.handle_request(request)
                try:
                    said = "" if response.is_success else _beginning(response)
                finally:
                    response.close()
        except httpx.InvalidURL:
            raise PermanentFailure("the address in the settings is no address") from None
        except httpx.TransportError as error:
            raise TemporaryFailure(redact(f"{type(error).__name__}: {error}", self._secrets)) from None
        self._judge(response.status_code, said, response.headers.get("retry-after"), at)

    def _judge(self, status: int, said: str, retry_after: str | None, at: datetime) -> None:
        if 200 <= status < 300:
            return
        problem = redact(f"HTTP {status}: {said}" if said else f"HTTP {status}", self._secrets)
        if status >= 500 or status in _ASK_LATER:
            raise TemporaryFailure(problem, pause=asked_pause(retry_after, at))
        if 300 <= status < 400:
            problem = f"HTTP {status}: redirects are not followed; set the address they lead to"
        raise PermanentFailure(problem)


def asked_pause(retry_after: str | None, at: datetime) -> timedelta | None:
    """Read a Retry-After header: seconds, or a date. What can't be read asks for nothing."""
    if retry_after is None:
        return None
    # The receiver wrote it: numbers may be longer than Python reads or a date holds.
    try:
        if retry_after.strip().isdecimal():
            return timedelta(seconds=min(int(retry_after), _LONGEST_ASKED_SECONDS))
        until = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):
        return None
    return max((until if until.tzinfo else until.replace(tzinfo=UTC)) - at, timedelta(0))


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return `text` in one line, cut, with every secret replaced, also where a receiver repeats it."""
    for secret in sorted({one for one in secrets if len(one) >= _SHORTEST_SECRET}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return one_line(text, LONGEST_ERROR)


def _beginning(response: httpx.Response) -> str:
    """Return the first characters of an answer's body; more of it is not read."""
    return next(response.iter_raw(_LONGEST_BODY), b"").decode(errors="replace")


def _logged(message: Message) -> dict[str, object]:
    payload = as_json(message)
    data = payload["data"]
    assert isinstance(data, Mapping)
    return {"timestamp": payload["timestamp"], **data}
