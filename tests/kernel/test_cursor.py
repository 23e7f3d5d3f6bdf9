"""A cursor leads on in its own list alone; anything else is refused, not guessed at."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.kernel.cursor import InvalidCursor, Listing

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
PLACES = st.tuples(TEXTS, st.integers(-(2**53) + 1, 2**53 - 1))
LIST = Listing(name="tokens", position=(str, int), filters={"owner": "ada"})


@given(PLACES)
def test_a_cursor_says_where_a_reader_stands(place: tuple[str, int]):
    cursor = LIST.cursor(place)
    assert LIST.after(cursor) == place
    assert cursor.isascii()
    assert "=" not in cursor


def test_whoever_begins_has_none():
    assert LIST.after(None) is None


@given(PLACES, st.data())
def test_a_cut_or_edited_cursor_is_refused(place: tuple[str, int], data: st.DataObject):
    cursor = LIST.cursor(place)
    where = data.draw(st.integers(0, len(cursor) - 1))
    letter = data.draw(st.sampled_from("ABab01-_").filter(lambda one: one != cursor[where]))
    for edited in (cursor[:where], cursor[:where] + letter + cursor[where + 1 :], cursor + letter, cursor + "="):
        with pytest.raises(InvalidCursor, match="next_cursor"):
            LIST.after(edited)


@given(TEXTS)
def test_no_text_is_taken_for_a_cursor(text: str):
    with pytest.raises(InvalidCursor):
        LIST.after(text)


@pytest.mark.parametrize(
    "other",
    [
        Listing(name="alerts", position=(str, int), filters={"owner": "ada"}),
        Listing(name="tokens", position=(str, int), filters={"owner": "bob"}),
        Listing(name="tokens", position=(str, int)),
        Listing(name="tokens", position=(str,), filters={"owner": "ada"}),
        Listing(name="tokens", position=(int, str), filters={"owner": "ada"}),
    ],
)
def test_a_cursor_of_another_list_is_refused(other: Listing):
    with pytest.raises(InvalidCursor):
        other.after(LIST.cursor(("ada", 1)))


def test_a_filter_that_is_not_set_is_no_filter():
    more = Listing(name="tokens", position=(str, int), filters={"owner": "ada", "state": None})
    assert more.after(LIST.cursor(("ada", 1))) == ("ada", 1)


def test_a_number_is_no_truth_value():
    boolean = Listing(name="tokens", position=(int,))
    forged = base64.urlsafe_b64encode((boolean._check(b"[true]") + "[true]").encode()).decode().rstrip("=")
    with pytest.raises(InvalidCursor):
        boolean.after(forged)


def test_a_long_text_is_refused_before_it_is_read():
    with pytest.raises(InvalidCursor):
        LIST.after("A" * 10_000_000)
