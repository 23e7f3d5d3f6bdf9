"""A body means one thing to every reader, or is refused before anybody reads it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.rest.strict_json import MAX_DEPTH, InvalidJson, check_json
from tests.rest.client import Api

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)

REFUSED = {
    b'{"a": 1, "a": 2}': "'a' twice",
    b'[{"b": {"c": 1, "c": 1}}]': "'c' twice",
    b'{"a": NaN}': "not finite",
    b'{"a": -Infinity}': "not finite",
    b'{"a": 1e999}': "not finite",
    b'{"a": 9007199254740992}': "beyond 2^53",
    b"1" * 100_000: "beyond 2^53",
    b'{"a": "\\u0000"}': "NUL",
    b'{"\\u0000": 1}': "NUL",
    b'{"a": "\\ud800"}': "surrogate",
    b'{"a": "\xff"}': "not UTF-8: byte 7",
    '{"a": 1}'.encode("utf-16"): "not UTF-8",
    b'\xef\xbb\xbf{"a": 1}': "not JSON",
    b'{"a": 1': "line 1, column 8",
    b"{'a': 1}": "not JSON",
    b"[" * 100_000: "deeper than 32",
    b"[" * 100_000 + b"]" * 100_000: "deeper than 32",
    b'{"a":' * 500 + b"1" + b"}" * 500: "deeper than 32",
    b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1): "deeper than 32",
}


@given(VALUES)
def test_what_means_one_thing_passes(value: object):
    check_json(json.dumps(value).encode())
    check_json(json.dumps(value, ensure_ascii=False).encode())


@pytest.mark.parametrize(("content", "words"), REFUSED.items(), ids=[one[:30] for one in REFUSED])
def test_what_can_be_read_in_two_ways_or_none_is_refused_with_a_remedy(content: bytes, words: str):
    with pytest.raises(InvalidJson, match=r"deeper than 32|not JSON|Send|Leave|Correct") as refusal:
        check_json(content)
    assert words in str(refusal.value)


def test_as_deep_as_allowed_passes():
    check_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


@pytest.mark.parametrize("content", REFUSED, ids=[one[:30] for one in REFUSED])
def test_a_route_answers_422_to_it(api: Api, content: bytes):
    for kind in ("application/json", "application/problem+json; charset=utf-8"):
        answer = api.as_("ada").ask("POST", "/api/v1/principals", content=content, headers={"content-type": kind})
        assert (answer.status_code, type(answer.json()["detail"])) == (422, str)


@pytest.mark.parametrize("path", ["/api/v1/approvals/a%00b", "/api/v1/audit?actor=a%00", "/api/v1/audit?actor=%ff"])
def test_an_address_that_is_no_text_is_refused(api: Api, path: str):
    answer = api.get(path)
    assert answer.status_code == 422
    assert "address" in answer.json()["detail"]
