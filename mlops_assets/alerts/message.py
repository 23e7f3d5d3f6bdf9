"""What is sent of an alert: as JSON for programs, as Slack blocks, as the text of a mail."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from mlops_assets.alerts.alert import Alert, one_line
from mlops_assets.kernel.fingerprint import Json, canonical_json
from mlops_assets.kernel.words import Words

# Limits of Slack's block kit.
_SLACK_HEADER = 150
_SLACK_FIELD = 2_000
_SLACK_FIELDS = 10
_LONGEST_VALUE = 300
_MARKUP = re.compile(r"[*_~`@\[\]|]")
_ZERO_WIDTH_SPACE = "\u200b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An alert as every attempt on every channel sends it. `id` is the same each time: receivers drop a second one."""

    id: str
    alert: Alert
    raised_at: datetime


def as_json(message: Message) -> dict[str, Json]:
    """Return the payload for programs: type, time and data, as Standard Webhooks advises."""
    return {
        "type": "alert.raised",
        "timestamp": message.raised_at.isoformat(timespec="milliseconds"),
        "data": {"id": message.id, **message.alert.as_json()},
    }


def as_bytes(message: Message) -> bytes:
    """Return that payload in canonical JSON: the same bytes at every attempt."""
    return canonical_json(as_json(message))


def title(message: Message, words: Words) -> str:
    """Return the one line that a person reads first."""
    alert = message.alert
    return words.say("alert_title", severity=words.say(f"alert_{alert.severity.value}"), summary=alert.summary)


def labelled(message: Message, words: Words) -> dict[str, str]:
    """Return what a person may want to know, each with its label."""
    alert = message.alert
    return {
        words.say("alert_subject"): alert.subject,
        words.say("alert_kind"): alert.kind,
        words.say("alert_raised_at"): f"{message.raised_at:%Y-%m-%d %H:%M:%S} UTC",
        **{name: _shown(value) for name, value in alert.details.items()},
    }


def as_text(message: Message, words: Words) -> str:
    """Return the text of a mail."""
    lines = [message.alert.summary, ""]
    lines += [f"{one_line(label, _LONGEST_VALUE)}: {value}" for label, value in labelled(message, words).items()]
    return "\n".join([*lines, "", words.say("alert_footer", id=message.id[:12]), ""])


def as_slack(message: Message, words: Words) -> Mapping[str, Json]:
    """Return Slack's incoming-webhook payload. What data say stays data: no mention, link or emphasis can be forged.

    The blocks are plain text. `text` is what notifications and look-alikes of Slack show, which read markup in it.
    """
    shown = title(message, words)
    fields = [f"{label}: {value}" for label, value in labelled(message, words).items()]
    return {
        "text": without_markup(shown),
        "blocks": [
            {"type": "header", "text": _plain(shown, _SLACK_HEADER)},
            {"type": "section", "text": _plain(message.alert.summary, _SLACK_FIELD)},
            {"type": "section", "fields": [_plain(field, _SLACK_FIELD) for field in fields[:_SLACK_FIELDS]]},
            {"type": "context", "elements": [_plain(words.say("alert_footer", id=message.id[:12]), _SLACK_FIELD)]},
        ],
        "unfurl_links": False,
    }


def without_markup(text: str) -> str:
    """Escape what Slack's mrkdwn reads: `&<>` as its entities, the other marks parted from what they would mark."""
    return _escaped(_MARKUP.sub(lambda mark: f"{mark[0]}{_ZERO_WIDTH_SPACE}", text))


def _plain(text: str, longest: int) -> dict[str, Json]:
    # Entities count towards the limit, and a cut must not fall into one.
    cut = one_line(text, longest)
    while len(escaped := _escaped(cut)) > longest:
        cut = one_line(cut, longest - (len(escaped) - len(cut)))
    return {"type": "plain_text", "text": escaped, "emoji": False}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _shown(value: Json) -> str:
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), _LONGEST_VALUE)
