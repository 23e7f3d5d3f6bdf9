from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.alerts.alert import COOL_DOWN, Alert, Seen, Severity, identity, is_repeat, one_line
from tests.alerts.worlds import START, alert

TICK = timedelta(microseconds=1)
SEVERITIES = st.sampled_from(list(Severity))


def seen(severity: Severity, ago: timedelta) -> Seen:
    return Seen(id="a" * 64, severity=severity, raised_at=START - ago)


def test_what_was_never_told_is_no_repeat():
    assert not is_repeat(alert(), None, START)


@pytest.mark.parametrize("severity", Severity)
def test_a_key_is_silent_until_its_cool_down_ends(severity: Severity):
    cool_down = {"low": 24, "medium": 12, "high": 4, "critical": 1}[severity]
    told = alert(severity=severity)
    assert is_repeat(told, seen(severity, timedelta(hours=cool_down) - TICK), START)
    assert not is_repeat(told, seen(severity, timedelta(hours=cool_down)), START)


@given(SEVERITIES, SEVERITIES, st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=2)))
def test_only_what_is_worse_breaks_the_cool_down(now: Severity, before: Severity, ago: timedelta):
    ranks = {"low": 0, "medium": 1, "high": 2, "critical": 3}
    expected = ranks[now] <= ranks[before] and ago < COOL_DOWN[before]
    assert is_repeat(alert(severity=now), seen(before, ago), START) == expected


def test_a_clock_set_back_by_a_day_silences_nothing():
    assert not is_repeat(alert(), seen(Severity.HIGH, -timedelta(days=1)), START)
    assert is_repeat(alert(), seen(Severity.HIGH, -timedelta(minutes=1)), START)


def test_the_id_changes_with_everything_the_alert_says():
    others = [
        alert("drift:2"),
        alert(severity=Severity.LOW),
        alert(kind="other"),
        alert(subject="other"),
        alert(summary="other"),
        alert(details={"a": 1}),
    ]
    told = seen(Severity.HIGH, TICK)
    ids = [identity(one, None, START) for one in (alert(), *others)]
    ids += [identity(alert(), told, START), identity(alert(), None, START + TICK)]
    assert len(set(ids)) == len(ids)
    assert identity(alert(), None, START) == ids[0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key", ""),
        ("key", " "),
        ("key", "a" * 401),
        ("key", "a\nb"),
        ("subject", "a\r\nBcc: x@y"),
        ("subject", ""),
        ("kind", "Two words"),
        ("kind", ""),
        ("summary", " \n"),
    ],
)
def test_an_alert_that_says_nothing_or_more_than_a_line_is_refused(field: str, value: str):
    fields = {"key": "k", "kind": "drift", "subject": "s", "summary": "text", field: value}
    with pytest.raises(ValueError, match=rf"alert.*{field}"):
        Alert(severity=Severity.LOW, **fields)


@given(st.text(), st.integers(1, 50))
def test_one_line_is_one_line_of_at_most_so_many_characters(text: str, longest: int):
    found = one_line(text, longest)
    assert len(found) <= longest
    assert len(found.splitlines()) <= 1
    assert one_line(found, longest) == found


def test_a_summary_becomes_one_line():
    assert alert(summary="a\r\nBcc: x@y\x00\ud800\tb").summary == "a Bcc: x@y b"
    assert len(alert(summary="a" * 5_000).summary) == 1_000
