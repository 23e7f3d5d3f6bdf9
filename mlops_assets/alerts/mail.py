"""By mail: one message to all receivers, over an encrypted connection wherever the server offers one."""

from __future__ import annotations

import base64
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP

from mlops_assets.alerts import addresses
from mlops_assets.alerts.addresses import MailServer
from mlops_assets.alerts.alert import one_line
from mlops_assets.alerts.channels import TIMEOUT_SECONDS, redact
from mlops_assets.alerts.delivery import DeliveryFailure, PermanentFailure, TemporaryFailure
from mlops_assets.alerts.message import Message, as_text, title
from mlops_assets.kernel.words import Words

_LONGEST_SUBJECT = 200


class MailChannel:
    """Sends each alert as a plain text mail, with the same Message-ID at every attempt."""

    name = "email"

    def __init__(
        self,
        server: MailServer,
        *,
        sender: str,
        receivers: Sequence[str],
        words: Words,
        timeout_seconds: float = TIMEOUT_SECONDS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._server, self._words, self._timeout_seconds = server, words, timeout_seconds
        self._sender = addresses.mail_address(sender)
        self._receivers = [addresses.mail_address(receiver) for receiver in receivers]
        self._tls = tls

    def send(self, message: Message) -> None:
        try:
            connection = self._connect()
            try:
                refused = connection.send_message(mail(message, self._sender, self._receivers, self._words))
            finally:
                # The mail is taken or refused by now: how the goodbye goes does not matter.
                with suppress(smtplib.SMTPException, OSError):
                    connection.quit()
                connection.close()
        except smtplib.SMTPRecipientsRefused as error:
            refused = error.recipients
        except smtplib.SMTPResponseException as error:
            raise self._failure(error.smtp_code, error.smtp_error) from None
        except smtplib.SMTPNotSupportedError as error:
            raise PermanentFailure(self._redacted(f"the mail server can't do it: {error}")) from None
        except (smtplib.SMTPException, OSError) as error:
            raise TemporaryFailure(self._redacted(f"{type(error).__name__}: {error}")) from None
        if refused:
            raise self._failure(*_refusal(refused, len(self._receivers)))

    def _connect(self) -> smtplib.SMTP:
        server, context = self._server, self._tls or ssl.create_default_context()
        if server.is_encrypted:
            connection = smtplib.SMTP_SSL(server.host, server.port, timeout=self._timeout_seconds, context=context)
        else:
            connection = smtplib.SMTP(server.host, server.port, timeout=self._timeout_seconds)
        try:
            self._introduce(connection, context)
        except BaseException:
            connection.close()
            raise
        return connection

    def _introduce(self, connection: smtplib.SMTP, context: ssl.SSLContext) -> None:
        """Encrypt if the server offers it, then log in; a password is never sent in clear over a network."""
        server = self._server
        connection.ehlo_or_helo_if_needed()
        is_encrypted = server.is_encrypted
        if not is_encrypted and connection.has_extn("starttls"):
            connection.starttls(context=context)
            connection.ehlo()
            is_encrypted = True
        if server.user:
            if not is_encrypted and not server.is_loopback:
                raise PermanentFailure("the mail server offers no STARTTLS, so the password is not sent; use smtps://")
            connection.login(server.user, server.password)

    def _failure(self, code: int, answer: bytes | str) -> DeliveryFailure:
        said = self._redacted(f"SMTP {code}: {_text(answer)}")
        return PermanentFailure(said) if code >= 500 else TemporaryFailure(said)

    def _redacted(self, text: str) -> str:
        server = self._server
        plain = f"\0{server.user}\0{server.password}".encode()
        return redact(text, (server.password, base64.b64encode(plain).decode()))


def mail(message: Message, sender: str, receivers: Sequence[str], words: Words) -> EmailMessage:
    """Write the mail of an alert."""
    written = EmailMessage(policy=SMTP)
    written["From"] = sender
    written["To"] = ", ".join(receivers)
    written["Subject"] = one_line(title(message, words), _LONGEST_SUBJECT)
    written["Date"] = message.raised_at
    written["Message-ID"] = f"<{message.id}@mlops-assets>"
    written["Auto-Submitted"] = "auto-generated"
    written.set_content(as_text(message, words))
    return written


def _refusal(refused: Mapping[str, tuple[int, bytes]], asked: int) -> tuple[int, str]:
    """Return the mildest code, and who was refused, all by name before what the server said of the first.

    The others have got the mail. As long as one refusal may pass, all are sent it again, with the same Message-ID.
    """
    mildest = min(code for code, _ in refused.values())
    answer = next(iter(refused.values()))[1]
    return mildest, f"{len(refused)} of {asked} receivers refused, {', '.join(refused)}: {_text(answer)}"


def _text(answer: bytes | str) -> str:
    return answer.decode(errors="replace") if isinstance(answer, bytes) else answer
