"""Mail against a server in this process (aiosmtpd): plain, with STARTTLS, with TLS from the start, and refusing."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mlops_assets.alerts.addresses import MailServer, mail_server
from mlops_assets.alerts.delivery import DeliveryFailure, PermanentFailure, TemporaryFailure
from mlops_assets.alerts.mail import MailChannel
from mlops_assets.alerts.message import Message
from mlops_assets.kernel.words import Words
from tests.alerts.worlds import START, alert, closed_port

MESSAGE = Message(id="ab" * 32, alert=alert(summary="변동성 급등", details={"psi": 0.25}), raised_at=START)
RECEIVERS = ("desk@example.com", "risk@example.com")


class Mailbox:
    """Keeps what was accepted, and refuses what a test says."""

    def __init__(self, *, refused: dict[str, str] | None = None, answer: str = "250 OK") -> None:
        self.envelopes: list[Envelope] = []
        self.were_encrypted: list[bool] = []
        self.refused, self.answer = refused or {}, answer

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.answer.startswith("250"):
            self.envelopes.append(envelope)
            self.were_encrypted.append(session.ssl is not None)
        return self.answer


@contextmanager
def serving(mailbox: Mailbox, **options: Any) -> Iterator[MailServer]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(mailbox, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield mail_server(f"smtp://127.0.0.1:{port}")
    finally:
        controller.stop()


def channel(server: MailServer, **options: Any) -> MailChannel:
    words = options.pop("words", Words("ko"))
    return MailChannel(server, sender="mlops@example.com", receivers=RECEIVERS, words=words, **options)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 with its key, made for these tests."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("certificate") / "both.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def of_server(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def only(mailbox: Mailbox) -> Any:
    (envelope,) = mailbox.envelopes
    assert isinstance(envelope.content, bytes)
    return message_from_bytes(envelope.content, policy=default)


def test_a_mail_reaches_every_receiver_in_korean():
    mailbox = Mailbox()
    with serving(mailbox) as server:
        channel(server).send(MESSAGE)
    mail = only(mailbox)
    assert mailbox.envelopes[0].rcpt_tos == list(RECEIVERS)
    assert mail["subject"] == "[높음] 변동성 급등"
    assert (mail["from"], mail["to"]) == ("mlops@example.com", "desk@example.com, risk@example.com")
    assert (
        "대상: drift/momentum\n종류: drift\n발생 시각: 2026-01-05 12:00:00 UTC\npsi: 0.25"
        in mail.get_content().replace("\r\n", "\n")
    )
    assert mail["message-id"] == f"<{MESSAGE.id}@mlops-assets>"
    assert mail["date"].datetime == START
    assert mail["auto-submitted"] == "auto-generated"


def test_every_attempt_sends_the_same_mail():
    mailbox = Mailbox()
    with serving(mailbox) as server:
        for _ in range(2):
            channel(server).send(MESSAGE)
    first, second = (envelope.content for envelope in mailbox.envelopes)
    assert first == second


def test_data_can_add_no_header_and_no_receiver():
    hostile = "x\r\nBcc: eve@example.com\r\n\r\nother body"
    mailbox = Mailbox()
    with serving(mailbox) as server:
        message = Message(id="a", alert=alert(summary=hostile, details={"a": hostile}), raised_at=START)
        channel(server, words=Words("en")).send(message)
    mail = only(mailbox)
    assert mail["bcc"] is None
    assert mail["subject"] == "[HIGH] x Bcc: eve@example.com other body"
    assert mailbox.envelopes[0].rcpt_tos == list(RECEIVERS)


@pytest.mark.parametrize("address", ["desk@example.com\r\nBcc: eve@example.com", "desk@example.com, eve@example.com"])
def test_a_channel_is_not_built_for_addresses_that_hold_more_than_one(address: str):
    server = mail_server("smtp://127.0.0.1:2525")
    with pytest.raises(ValueError, match="mail address"):
        MailChannel(server, sender=address, receivers=RECEIVERS, words=Words("en"))
    with pytest.raises(ValueError, match="mail address"):
        MailChannel(server, sender="mlops@example.com", receivers=[address], words=Words("en"))


def test_starttls_is_used_where_it_is_offered_and_the_login_goes_through_it(certificate: Path):
    logins: list[LoginPassword] = []

    def authenticate(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
        logins.append(data)
        return AuthResult(success=data.password == b"p@ss-word", handled=False)

    mailbox = Mailbox()
    options = {"tls_context": of_server(certificate), "authenticator": authenticate, "auth_required": True}
    trusting = ssl.create_default_context(cafile=str(certificate))
    with serving(mailbox, **options) as server:
        known = replace(server, user="ann", password="p@ss-word")
        channel(known, tls=trusting).send(MESSAGE)
        with pytest.raises(PermanentFailure, match="SMTP 535") as refused:
            channel(replace(known, password="wr0ng-word"), tls=trusting).send(MESSAGE)
    assert mailbox.were_encrypted == [True]
    assert logins[0].login == b"ann"
    assert "wr0ng-word" not in f"{refused.value!r} {channel(known)!r}"


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(certificate: Path):
    mailbox = Mailbox()
    with (
        serving(mailbox, tls_context=of_server(certificate)) as server,
        pytest.raises(TemporaryFailure, match="SSLCertVerificationError"),
    ):
        channel(server).send(MESSAGE)
    assert mailbox.envelopes == []


def test_smtps_is_encrypted_from_the_start(certificate: Path):
    mailbox = Mailbox()
    trusting = ssl.create_default_context(cafile=str(certificate))
    with serving(mailbox, ssl_context=of_server(certificate)) as server:
        channel(replace(server, is_encrypted=True), tls=trusting).send(MESSAGE)
    assert only(mailbox)["subject"] == "[높음] 변동성 급등"


class Elsewhere(MailServer):
    """A server that is not this machine, though the tests' one is."""

    is_loopback = False  # pyright: ignore[reportAssignmentType]


def test_a_password_is_not_sent_in_clear_over_a_network():
    mailbox = Mailbox()
    with serving(mailbox) as server, pytest.raises(PermanentFailure, match="no STARTTLS, so the password is not sent"):
        channel(
            Elsewhere(host=server.host, port=server.port, is_encrypted=False, user="ann", password="p@ss-word")
        ).send(MESSAGE)
    assert mailbox.envelopes == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("421 closing", TemporaryFailure),
        ("451 try again", TemporaryFailure),
        ("550 no", PermanentFailure),
        ("554 spam", PermanentFailure),
    ],
)
def test_the_server_says_whether_to_try_again(answer: str, kind: type[DeliveryFailure]):
    with serving(Mailbox(answer=answer)) as server, pytest.raises(kind, match=f"SMTP {answer[:3]}"):
        channel(server).send(MESSAGE)


@pytest.mark.parametrize(
    ("refused", "kind", "said"),
    [
        ({"risk@example.com": "550 unknown"}, PermanentFailure, "SMTP 550: 1 of 2 receivers refused, risk@example.com"),
        ({"risk@example.com": "450 busy"}, TemporaryFailure, "SMTP 450: 1 of 2"),
        ({RECEIVERS[0]: "550 unknown", RECEIVERS[1]: "450 busy"}, TemporaryFailure, "SMTP 450: 2 of 2"),
        (
            dict.fromkeys(RECEIVERS, "550 unknown"),
            PermanentFailure,
            f"2 of 2 receivers refused, {', '.join(RECEIVERS)}",
        ),
    ],
)
def test_a_refused_receiver_is_named(refused: dict[str, str], kind: type[DeliveryFailure], said: str):
    with serving(Mailbox(refused=refused)) as server, pytest.raises(kind, match=said):
        channel(server).send(MESSAGE)


def test_a_server_that_is_not_there_or_says_nothing_is_a_temporary_failure():
    with closed_port() as port, pytest.raises(TemporaryFailure, match="refused"):
        channel(mail_server(f"smtp://127.0.0.1:{port}")).send(MESSAGE)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = mail_server(f"smtp://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(TemporaryFailure, match=r"timed out|Timeout"):
            channel(server, timeout_seconds=0.2).send(MESSAGE)
