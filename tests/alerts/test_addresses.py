from __future__ import annotations

import pytest

from mlops_assets.alerts.addresses import (
    MailServer,
    is_loopback,
    mail_address,
    mail_server,
    webhook_secret,
    webhook_url,
)
from mlops_assets.settings import InvalidSettings, load_settings
from tests.alerts.worlds import SECRET


@pytest.mark.parametrize(
    "url",
    ["https://example.com/a", "http://127.0.0.1:8000/", "http://localhost/x", "http://[::1]:80/", "https://h:8443"],
)
def test_https_and_this_machine_are_addresses_of_webhooks(url: str):
    assert webhook_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/T0ken",
        "http://169.254.169.254/T0ken",
        "http://localhost.example.com/T0ken",
        "http://127.0.0.1.example.com/T0ken",
        "file:///etc/T0ken",
        "ftp://example.com/T0ken",
        "gopher://127.0.0.1/T0ken",
        "https://user:T0ken@example.com/",
        "https:///T0ken",
        "https://example.com:0/T0ken",
        "https://example.com:99999/T0ken",
        "https://example.com/T0ken\r\nX: y",
        "https://example.com/T0 ken",
        "T0ken",
        "",
    ],
)
def test_other_addresses_are_refused_without_repeating_them(url: str):
    with pytest.raises(ValueError, match="webhook") as refused:
        webhook_url(url)
    assert "T0ken" not in str(refused.value)


@pytest.mark.parametrize(
    "secret", ["", "abc", "whsec_", "whsec_c2hvcnQ=", "whsec_" + "!" * 40, SECRET.removeprefix("whsec_")]
)
def test_a_secret_that_signs_nothing_is_refused(secret: str):
    with pytest.raises(ValueError, match="whsec_ and base64 of at least 24 random bytes"):
        webhook_secret(secret)


def test_a_mail_server_is_read_from_its_address():
    assert mail_server("smtp://127.0.0.1") == MailServer(host="127.0.0.1", port=587, is_encrypted=False)
    found = mail_server("smtps://an%40n:p%2Fw%40d@mail.example.com:4650")
    assert found == MailServer(host="mail.example.com", port=4650, is_encrypted=True, user="an@n", password="p/w@d")
    assert "p/w@d" not in repr(found)


@pytest.mark.parametrize(
    "url",
    [
        "mail.example.com",
        "http://mail.example.com",
        "smtp://",
        "smtp://user@mail.example.com",
        "smtp://:T0ken@mail.example.com",
        "smtp://user:p/T0ken@mail.example.com",
        "smtp://mail.example.com:x",
        "smtp://user:%ED%95%9CT0ken@mail.example.com",
    ],
)
def test_another_mail_address_is_refused_without_repeating_it(url: str):
    with pytest.raises(ValueError, match="mail server") as refused:
        mail_server(url)
    assert "T0ken" not in str(refused.value)


@pytest.mark.parametrize("address", ["a", "a@b\r\nBcc: c@d", "a@b, c@d", "A <a@b>", "a b@c", "", "a@b\n"])
def test_what_could_begin_another_header_or_receiver_is_no_mail_address(address: str):
    with pytest.raises(ValueError, match="mail address"):
        mail_address(address)
    assert mail_address("desk+alerts@example.com") == "desk+alerts@example.com"


def test_this_machine_has_these_names():
    assert all(map(is_loopback, ["localhost", "127.0.0.1", "127.9.9.9", "::1"]))
    assert not any(map(is_loopback, ["example.com", "0.0.0.0", "10.0.0.1", "127.0.0.1.example.com", ""]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alert_webhook_url", "http://example.com/T0ken"),
        ("alert_webhook_secret", "T0ken"),
        ("alert_slack_url", "http://example.com/T0ken"),
        ("alert_smtp_url", "smtp://user:p/T0ken@h"),
        ("alert_email_from", "nobody"),
        ("alert_email_to", "a@b,nobody"),
    ],
)
def test_settings_name_the_variable_and_hide_its_value(name: str, value: str):
    with pytest.raises(InvalidSettings, match=f"MLOPS_{name.upper()}") as refused:
        load_settings(**{name: value})
    assert "T0ken" not in str(refused.value)
