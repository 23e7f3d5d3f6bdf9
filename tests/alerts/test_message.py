from __future__ import annotations

import html
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.alerts.alert import Severity
from mlops_assets.alerts.message import Message, as_bytes, as_json, as_slack, as_text, without_markup
from mlops_assets.kernel.words import Words
from tests.alerts.worlds import START, alert

ENGLISH, KOREAN = Words("en"), Words("ko")


def message(**said: object) -> Message:
    return Message(id="ab" * 32, alert=alert(**said), raised_at=START)


def texts(payload: object) -> list[str]:
    """Every text of a Slack payload that is not its type."""
    if isinstance(payload, dict):
        return [found for name, value in payload.items() if name != "type" for found in texts(value)]
    if isinstance(payload, list):
        return [found for value in payload for found in texts(value)]
    return [payload] if isinstance(payload, str) else []


def test_programs_get_all_of_it_in_the_same_bytes_each_time():
    found = as_json(message(details={"psi": 0.25}))
    assert found == {
        "type": "alert.raised",
        "timestamp": "2026-01-05T12:00:00.000+00:00",
        "data": {
            "id": "ab" * 32,
            "key": "drift:1",
            "kind": "drift",
            "severity": "high",
            "subject": "drift/momentum",
            "summary": "rsi_14 moved",
            "details": {"psi": 0.25},
        },
    }
    assert as_bytes(message(details={"b": 1, "a": 2})) == as_bytes(message(details={"a": 2, "b": 1}))


def test_a_mail_says_what_where_and_when():
    text = as_text(message(details={"psi": 0.25, "note": "a\nFrom: b"}), ENGLISH)
    assert text == (
        "rsi_14 moved\n\nSubject: drift/momentum\nKind: drift\nRaised at: 2026-01-05 12:00:00 UTC\n"
        "psi: 0.25\nnote: a From: b\n\n`mlops alerts show abababababab` has the details\n"
    )
    assert "대상: drift/momentum" in as_text(message(), KOREAN)


def test_slack_shows_title_summary_fields_and_where_to_look():
    found = as_slack(message(details={"psi": 0.25}), KOREAN)
    assert found["text"] == "[\u200b높음]\u200b rsi_\u200b14 moved"
    kinds = [block["type"] for block in found["blocks"]]
    assert kinds == ["header", "section", "section", "context"]
    assert found["blocks"][0]["text"] == {"type": "plain_text", "text": "[높음] rsi_14 moved", "emoji": False}
    assert [field["text"] for field in found["blocks"][2]["fields"]] == [
        "대상: drift/momentum",
        "종류: drift",
        "발생 시각: 2026-01-05 12:00:00 UTC",
        "psi: 0.25",
    ]


HOSTILE = "<!channel> <@U123> <https://evil.example|statement> *bold* _it_ ~no~ `code` @here & [a](http://x)"


def test_data_can_forge_no_mention_link_or_emphasis():
    found = as_slack(message(summary=HOSTILE, subject=HOSTILE, details={HOSTILE: HOSTILE}), ENGLISH)
    assert not any(re.search(r"[<>]", text) for text in texts(found))
    assert not re.search(r"@\w|\*\w|_\w|~\w|`\w|\]\(", found["text"])
    assert {text["type"] for block in found["blocks"] for text in blocks_of(block)} == {"plain_text"}


def blocks_of(block: dict) -> list[dict]:
    return [block["text"]] if "text" in block else block.get("fields", block.get("elements"))


@given(st.text(min_size=1, max_size=3_000).filter(lambda text: text.strip(" \n\t")), st.sampled_from(list(Severity)))
def test_slack_takes_whatever_the_summary_is(summary: str, severity: Severity):
    try:
        told = message(summary=summary, severity=severity, details={str(n): summary for n in range(20)})
    except ValueError:  # nothing but control characters
        return
    found = as_slack(told, ENGLISH)
    json.dumps(found).encode()
    header, body, fields, _ = found["blocks"]
    assert len(header["text"]["text"]) <= 150
    assert len(body["text"]["text"]) <= 3_000
    assert len(fields["fields"]) == 10
    assert all(len(field["text"]) <= 2_000 for field in fields["fields"])
    assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", found["text"] + header["text"]["text"])


@given(st.text())
def test_without_markup_loses_nothing_that_is_seen(text: str):
    visible = text.replace("\u200b", "")
    assert html.unescape(without_markup(visible)).replace("\u200b", "") == html.unescape(visible.replace("&", "&amp;"))


@pytest.mark.parametrize("severity", Severity)
def test_every_severity_has_its_word(severity: Severity):
    for words in (ENGLISH, KOREAN):
        assert as_slack(message(severity=severity), words)["text"].startswith("[")
