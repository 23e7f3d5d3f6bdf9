"""Log, webhook and Slack against a file and a web server of this machine; the signature by its own library."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from mlops_assets.alerts.alert import Severity
from mlops_assets.alerts.channels import LogChannel, SlackChannel, WebhookChannel, asked_pause, redact
from mlops_assets.alerts.delivery import DeliveryFailure, PermanentFailure, TemporaryFailure
from mlops_assets.alerts.message import Message, as_json
from mlops_assets.kernel.clock import SystemClock
from mlops_assets.kernel.words import Words
from tests.alerts.worlds import SECRET, START, Answer, MovingClock, WebReceiver, alert, closed_port

MESSAGE = Message(id="ab" * 32, alert=alert(summary="변동성 급등", details={"psi": 0.25}), raised_at=START)


def webhook(url: str, timeout_seconds: float = 5.0) -> WebhookChannel:
    return WebhookChannel(url, SECRET, MovingClock(), timeout_seconds=timeout_seconds)


def failure_of(answer: Answer, **options: float) -> DeliveryFailure:
    with WebReceiver([answer]) as receiver, pytest.raises(DeliveryFailure) as failed:
        webhook(receiver.url, **options).send(MESSAGE)
    return failed.value


def test_the_log_gets_one_json_line_for_each_alert(tmp_path: Path):
    path = tmp_path / "logs" / "alerts.jsonl"
    for severity in Severity:
        LogChannel(path).send(
            Message(id=severity.value, alert=alert(severity=severity, summary="a\n한글"), raised_at=START)
        )
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(line["id"], line["level"]) for line in lines] == [
        ("low", "info"),
        ("medium", "warning"),
        ("high", "error"),
        ("critical", "critical"),
    ]
    assert {line["summary"] for line in lines} == {"a 한글"}
    assert lines[0]["timestamp"] == "2026-01-05T12:00:00.000+00:00"


def test_a_log_that_cannot_be_written_is_tried_again_later(tmp_path: Path):
    (tmp_path / "logs").write_text("a file where the folder should be")
    with pytest.raises(TemporaryFailure, match="log file can't be written"):
        LogChannel(tmp_path / "logs" / "alerts.jsonl").send(MESSAGE)


def test_a_webhook_is_signed_so_that_the_receiver_can_verify_it():
    with WebReceiver() as receiver:
        # The verifier looks at the machine's clock and refuses what is older than five minutes.
        WebhookChannel(receiver.url, SECRET, SystemClock()).send(MESSAGE)
    (request,) = receiver.requests
    assert Webhook(SECRET).verify(request.body, request.headers) == as_json(MESSAGE)
    assert request.headers["webhook-id"] == MESSAGE.id
    assert request.headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(request.body.replace(b"0.25", b"0.15"), request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "QUJD" * 8).verify(request.body, request.headers)


def test_each_attempt_has_the_same_id_and_body_and_its_own_time():
    clock = MovingClock()
    with WebReceiver([Answer(status=500)]) as receiver:
        channel = WebhookChannel(receiver.url, SECRET, clock)
        with pytest.raises(TemporaryFailure):
            channel.send(MESSAGE)
        clock.move(timedelta(minutes=7))
        channel.send(MESSAGE)
    first, second = receiver.requests
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 420
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_every_success_is_one(status: int):
    with WebReceiver([Answer(status=status)]) as receiver:
        webhook(receiver.url).send(MESSAGE)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_a_temporary_failure(status: int):
    failure = failure_of(Answer(status=status, body=b"later"))
    assert isinstance(failure, TemporaryFailure)
    assert (str(failure), failure.pause) == (f"HTTP {status}: later", None)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 422])
def test_what_will_not_pass_is_a_permanent_failure(status: int):
    failure = failure_of(Answer(status=status))
    assert isinstance(failure, PermanentFailure)
    assert str(failure) == f"HTTP {status}"


def test_a_redirect_is_not_followed():
    with WebReceiver() as elsewhere:
        failure = failure_of(Answer(status=307, headers={"location": elsewhere.url}))
    assert isinstance(failure, PermanentFailure)
    assert "redirects are not followed" in str(failure)
    assert elsewhere.requests == []


def test_a_receiver_says_when_to_come_back():
    failure = failure_of(Answer(status=429, headers={"retry-after": "90"}))
    assert isinstance(failure, TemporaryFailure)
    assert failure.pause == timedelta(seconds=90)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("120", 120),
        ("9" * 4_000, 10**6),
        ("9" * 5_000, None),
        (f"Mon, 05 Jan {'9' * 20} 12:05:00 GMT", None),
        (f"Mon, 05 Jan 2026 12:05:00 +{'9' * 20}", None),
        ("Mon, 05 Jan 2026 12:05:00 GMT", 300),
        ("Mon, 05 Jan 2026 11:00:00 GMT", 0),
        ("Mon, 05 Jan 2026 12:05:00 -0000", 300),
        ("soon", None),
        ("-5", None),
        ("9" * 400, 10**6),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: int | None):
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert asked_pause(header, datetime(2026, 1, 5, 12, tzinfo=UTC)) == expected


def test_a_slow_receiver_a_closed_port_and_an_unknown_host_are_temporary_failures():
    assert "ReadTimeout" in str(failure_of(Answer(after_seconds=1.0), timeout_seconds=0.1))
    with closed_port() as port, pytest.raises(TemporaryFailure, match=r"ConnectError.*refused"):
        webhook(f"http://127.0.0.1:{port}/").send(MESSAGE)
    with pytest.raises(TemporaryFailure, match="ConnectError"):
        webhook("https://no-such-host.invalid/").send(MESSAGE)


def test_no_more_of_an_answer_is_kept_than_its_beginning():
    assert len(str(failure_of(Answer(status=500, body=b"x" * 1_000_000)))) == 200


def test_secrets_are_in_no_error_log_or_repr(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    said = f"no route for /hooks/T0ken-in-the-path, secret {SECRET}".encode()
    with WebReceiver([Answer(status=404, body=said)] * 2) as receiver:
        channels = [webhook(receiver.url), SlackChannel(receiver.url, Words("en"), MovingClock())]
        for channel in channels:
            with pytest.raises(PermanentFailure) as failed:
                channel.send(MESSAGE)
            assert "T0ken" not in str(failed.value)
            assert "***" in str(failed.value)
        with closed_port() as port, pytest.raises(TemporaryFailure) as failed:
            webhook(f"http://127.0.0.1:{port}/T0ken-in-the-path").send(MESSAGE)
    everything = f"{caplog.text} {channels!r} {failed.value!r} {failed.value.__cause__!r}"
    assert "T0ken" not in everything
    assert SECRET not in everything


def test_redaction_replaces_the_longest_first_and_leaves_short_words():
    assert redact("abcdefgh abcdef ab", ["abcdef", "abcdefgh", "ab", ""]) == "*** *** ab"


def test_slack_gets_its_format():
    with WebReceiver([Answer(status=200, body=b"ok")]) as receiver:
        SlackChannel(receiver.url, Words("ko"), MovingClock()).send(MESSAGE)
    (request,) = receiver.requests
    assert request.json["blocks"][0]["text"]["text"] == "[높음] 변동성 급등"
    assert request.path == "/hooks/T0ken-in-the-path"


@pytest.mark.parametrize("url", ["http://example.com/x", "file:///etc/passwd", "http://169.254.169.254/latest"])
def test_a_channel_is_not_built_for_an_address_that_is_not_allowed(url: str):
    with pytest.raises(ValueError, match="webhook"):
        webhook(url)
    with pytest.raises(ValueError, match="webhook"):
        SlackChannel(url, Words("en"), MovingClock())
