"""What is bound, and what is said when it moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.governance.evidence import Evidence, Part, PartKind, moved
from tests.governance.worlds import evidence, part

PARTS = st.lists(
    st.builds(
        Part,
        name=st.sampled_from("abcdef"),
        kind=st.sampled_from(PartKind),
        fingerprint=st.sampled_from(["1" * 64, "2" * 64]),
        note=st.sampled_from(["", "it is"]),
    ),
    unique_by=lambda one: one.name,
)


def test_each_part_that_differs_is_named_with_what_happened_to_it():
    before = Evidence(
        parts=(part("a", "1"), part("b", "2"), part("c", "3"), part("d", "4", note="old"), part("e", "5"))
    )
    after = Evidence(
        parts=(
            part("a", "1"),
            part("b", "9"),
            part("d", "4", note="new"),
            part("e", "5", PartKind.POLICY),
            part("f", "6"),
        )
    )
    assert moved(before, after) == (
        "b moved: 222222222222… → 999999999999…",
        "c is gone: it was 333333333333…",
        "d reads otherwise: 'old' → 'new'",
        "e was data and is policy",
        "f was added: 666666666666…",
    )


@given(PARTS, PARTS)
def test_something_is_said_exactly_when_the_fingerprint_differs(first: list[Part], second: list[Part]):
    one, other = Evidence(parts=tuple(first)), Evidence(parts=tuple(second))
    assert bool(moved(one, other)) == (one.fingerprint != other.fingerprint)
    assert len(moved(one, other)) >= sum(1 for name in "abcdef" if _named(first, name) != _named(second, name)), (
        "a part that differs is not named"
    )


def _named(parts: list[Part], name: str) -> list[Part]:
    return [one for one in parts if one.name == name]


@given(PARTS, st.randoms(use_true_random=False))
def test_the_order_of_parts_means_nothing_and_json_keeps_everything(parts: list[Part], random):
    bound = Evidence(parts=tuple(parts))
    random.shuffle(parts)
    assert Evidence(parts=tuple(parts)).fingerprint == bound.fingerprint
    assert Evidence.from_json(bound.as_json()) == bound


def test_a_part_named_twice_or_without_a_fingerprint_is_refused():
    with pytest.raises(ValueError, match="named twice: a"):
        Evidence(parts=(part("a"), part("a", "b")))
    with pytest.raises(ValueError, match="a name and a fingerprint"):
        Part(name="a", kind=PartKind.DATA, fingerprint="")


@pytest.mark.parametrize(
    "content",
    [
        None,
        {},
        {"parts": "abc"},
        {"parts": [1]},
        {"parts": [{"name": "a", "kind": "magic", "fingerprint": "1", "note": ""}]},
        {"parts": [{"name": "a", "kind": "data", "fingerprint": 1, "note": ""}]},
        {"parts": [{"name": "a", "kind": "data", "fingerprint": "1"}]},
    ],
)
def test_what_is_no_evidence_is_not_read(content: object):
    with pytest.raises(ValueError, match=r"evidence|magic"):
        Evidence.from_json(content)


def test_the_fingerprint_is_that_of_the_canonical_content():
    import hashlib

    text = '{"parts":[{"fingerprint":"%s","kind":"data","name":"a","note":"n"}]}' % ("1" * 64)
    assert Evidence(parts=(part("a", "1", note="n"),)).fingerprint == hashlib.sha256(text.encode()).hexdigest()
    assert evidence("a") != evidence("b")
