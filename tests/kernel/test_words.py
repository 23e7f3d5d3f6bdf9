from __future__ import annotations

import pytest

from mlops_assets.kernel.errors import UnknownReference
from mlops_assets.kernel.words import LOCALES, MESSAGES, Words, placeholders, say


@pytest.mark.parametrize("key", MESSAGES)
def test_both_languages_have_the_same_placeholders(key: str):
    message = MESSAGES[key]
    assert placeholders(message.ko) == message.placeholders
    assert message.en.strip()
    assert message.ko.strip()


@pytest.mark.parametrize("key", MESSAGES)
def test_every_message_can_be_said(key: str):
    values = {name: f"<{name}>" for name in MESSAGES[key].placeholders}
    for locale in LOCALES:
        assert all(value in say(key, locale, **values) for value in values.values())


def test_words_speak_the_language_they_were_made_for():
    assert Words("ko").say("failed", step="ingest") == "실패: ingest"
    assert Words("en").say("failed", step="ingest") == "Failed: ingest"


def test_an_unknown_key_names_the_near_misses():
    with pytest.raises(UnknownReference, match="did you mean 'failed'"):
        say("faild", "en", step="x")


@pytest.mark.parametrize("values", [{}, {"step": "x", "more": "y"}])
def test_missing_and_left_over_values_are_mistakes(values: dict[str, str]):
    with pytest.raises(ValueError, match="exactly"):
        say("failed", "en", **values)
