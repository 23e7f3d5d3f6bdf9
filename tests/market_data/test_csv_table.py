import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.market_data.csv_table import read_csv
from mlops_assets.market_data.sources import MalformedSource

CELL = st.text(alphabet=st.sampled_from('ab1. é,"\n'), max_size=4)


@given(st.lists(st.lists(CELL, min_size=2, max_size=2).filter(any), min_size=1, max_size=8))
def test_what_the_standard_library_writes_is_read_back_with_or_without_quotes(rows):
    stream = io.StringIO()
    csv.writer(stream).writerows(rows)
    read = read_csv(stream.getvalue().encode(), "a.csv")
    assert list(read.names) == rows[0]
    assert [list(row) for row in zip(*read.columns, strict=True)] == rows[1:]


def test_rows_are_numbered_by_their_lines_even_behind_blank_ones():
    for mark in ("", '"'):
        read = read_csv(f"a,b\n\n1,{mark}2{mark}\n3,4\n".encode(), "a.csv")
        assert list(read.numbers) == [3, 4]


def test_the_end_of_the_file_needs_no_line_end():
    assert read_csv(b"a,b\n1,2", "a.csv").columns[1].to_list() == ["2"]


@pytest.mark.parametrize("content", [b'a,b\n"1,2\n', b'a,b\n"1"x,2\n', b'a,b\n1,"2"\n3\n', b"a,b\n1,2\n3\n"])
def test_what_is_no_table_is_refused(content):
    with pytest.raises(MalformedSource):
        read_csv(content, "a.csv")


def test_line_ends_of_old_macintoshes_are_read():
    assert read_csv(b"a,b\r1,2\r", "a.csv").columns[0].to_list() == ["1"]
