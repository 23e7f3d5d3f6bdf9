"""The fast way to look at a seal against the slow one: RFC 8785 by its library, over the entry as it was recorded."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlops_assets.kernel.change import Change
from mlops_assets.ledger.entry import GENESIS_HASH, Entry, chain
from mlops_assets.ledger.seal import Row, line_of_row, link_of_row, links_of_lines
from tests.ledger.chains import AT, change, line_of

_FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([1e21, 1e-7, -0.0, 0.1, 5e-324, 1e16, 2.0])
_SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | _FLOATS | st.text(max_size=5)
_JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
_DETAILS = st.dictionaries(st.text(max_size=3), _JSON, max_size=4)
_WORDS = st.text(min_size=1, max_size=8)
_INSTANTS = st.datetimes(timezones=st.just(UTC))


def recorded(details: dict[str, Any], words: str = "w", at: datetime = AT) -> Entry:
    made = Change(actor=words, action=f"a.{words}", subject=words, before=words, reason=words, details=details)
    return chain(made, after=None, at=at)


def stored(entry: Entry, **changed: object) -> Row:
    at = entry.at.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
    values = {name: getattr(entry, name) for name in Row._fields}
    return Row(**values | {"at": at, "details": json.dumps(entry.details)} | changed)


def seal_of_line(line: bytes) -> bool:
    (link,) = links_of_lines([line])
    return link.is_sealed


# Names outside the basic plane sort otherwise by UTF-16 than by code point.
@example(details={"\ufb33": 1, "\U0001f600": 2}, words="w", at=AT)
@example(details={"x": 1e16, "y": 1.0, "z": -0.0, "n": 123456789012345678 % 2**53}, words='"\\\x7f\x1f\u2028', at=AT)
@given(details=_DETAILS, words=_WORDS, at=_INSTANTS)
def test_what_the_ledger_recorded_is_sealed_as_a_row_and_as_a_line(details: dict[str, Any], words: str, at: datetime):
    entry = recorded(details, words, at)
    assert entry.is_sealed
    expected = (entry.seq, GENESIS_HASH, entry.hash, True)
    assert link_of_row(stored(entry)) == expected
    assert link_of_row(stored(entry, at=at.replace(tzinfo=None))) == expected
    assert list(links_of_lines([line_of(entry) + b"\n"])) == [expected]


@given(details=_DETAILS, other=_DETAILS)
def test_other_details_break_the_seal(details: dict[str, Any], other: dict[str, Any]):
    entry, forged = recorded(details), recorded(other)
    is_same = entry.hash == forged.hash
    assert link_of_row(stored(entry, details=json.dumps(other))).is_sealed == is_same
    assert seal_of_line(line_of(forged).replace(forged.hash.encode(), entry.hash.encode())) == is_same


@pytest.mark.parametrize("name", [name for name in Row._fields if name != "details"])
def test_every_field_of_a_row_is_sealed(name: str):
    entry = recorded({"n": 1})
    for value in ("other", None, 3, b"\xff", ""):
        if value != getattr(entry, name):
            link = link_of_row(stored(entry, **{name: value}))
            assert not link.is_sealed or link.previous_hash != GENESIS_HASH


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"n": 1, "n": 1}', '{"n": NaN}', '{"n":1}', '{"n": 1} ', "[" * 10**5, '{"n": 1e999}'],
)
def test_details_that_the_store_did_not_write_are_not_sealed(text: str):
    assert not link_of_row(stored(recorded({"n": 1}), details=text)).is_sealed


def reordered(line: bytes) -> bytes:
    fields = json.loads(line)
    return json.dumps(dict(reversed(list(fields.items()))), separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "rewritten",
    [
        lambda line: line.replace(b",", b", ", 1),
        lambda line: line.replace(b'"actor":"ana"', b'"actor":"eve","actor":"ana"'),
        lambda line: line.replace(b'"seq":1', b'"seq":1.0'),
        lambda line: line.replace(b'"seq":1', b'"seq":true'),
        lambda line: line.replace(b'"ana"', b'"\\u0061na"'),
        lambda line: line.replace(b"+00:00", b"Z"),
        lambda line: line[:-1] + b',"zz":1}',
        lambda line: line + b"\r",
        lambda line: b"\xef\xbb\xbf" + line,
        reordered,
    ],
)
def test_a_line_is_canonical_to_the_byte(rewritten: Any):
    line = line_of(chain(change(), after=None, at=AT))
    assert seal_of_line(line)
    assert rewritten(line) != line
    assert not seal_of_line(rewritten(line))


@pytest.mark.parametrize("line", [b"", b"null", b"[]", b"1", b"\xff", b'{"seq":1}', b"[" * 10**5, b'{"details":{}}'])
def test_a_line_that_is_no_entry_is_not_sealed(line: bytes):
    assert not seal_of_line(line)


def test_numbers_that_json_can_not_hold_never_get_into_the_ledger():
    for number in (math.nan, math.inf, 2**53):
        with pytest.raises(ValueError, match=r"JCS|domain"):
            recorded({"n": number})


@given(details=_DETAILS, words=_WORDS)
def test_the_line_of_a_row_is_the_canonical_json_of_its_entry(details: dict[str, Any], words: str):
    entry = recorded(details, words)
    assert line_of_row(stored(entry)) == line_of(entry)
