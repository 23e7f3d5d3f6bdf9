from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from mlops_assets.kernel.errors import MissingColumns
from mlops_assets.market_data.folder import BarFolder
from mlops_assets.market_data.sources import MalformedSource, SourceUnavailable

HEADER = "date,open,high,low,close,adjusted_close,volume,dividend_amount,split_coefficient"
DAY = "2020-01-02,10,12,9,11,10.5,1000,0,1"
LONG = f"symbol,{HEADER}\nAAA,{DAY}\nBBB,{DAY}\n"


def silent(_: str) -> None: ...


@pytest.fixture
def folder(tmp_path):
    """Return a writer of files that gives back the source over them."""

    def write(**files: str | bytes) -> BarFolder:
        for name, content in files.items():
            path = tmp_path / f"{name}.csv"
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return BarFolder(tmp_path)

    return write


def test_a_file_without_symbol_column_is_about_the_symbol_in_its_name(folder):
    rows = folder(MSFT=f"{HEADER}\n{DAY}\n", AAPL=f"{HEADER}\n{DAY}\n").fetch(silent).rows
    assert rows["symbol"].to_list() == ["AAPL", "MSFT"]
    assert rows.row(0, named=True) == {
        "symbol": "AAPL",
        "date": date(2020, 1, 2),
        "open": 10.0,
        "high": 12.0,
        "low": 9.0,
        "close": 11.0,
        "adjusted_close": 10.5,
        "volume": 1000,
        "dividend_amount": 0.0,
        "split_coefficient": 1.0,
        "problem": None,
        "problem_detail": None,
        "origin": "AAPL.csv",
        "origin_row": 2,
    }


def test_a_long_file_names_its_symbols(folder):
    source = folder(all=LONG)
    assert source.fetch(silent).rows["symbol"].to_list() == ["AAA", "BBB"]
    assert source.columns == set(HEADER.split(",")) - {"date"}


def test_a_byte_order_mark_line_ends_of_windows_blank_lines_and_capitals_are_fine(folder):
    content = b"\xef\xbb\xbf" + b"Timestamp,Adj Close\r\n2020-01-02,10.5\r\n\r\n2020-01-03,10.6\r\n"
    rows = folder(AAA=content).fetch(silent).rows
    assert rows["adjusted_close"].to_list() == [10.5, 10.6]
    assert rows["origin_row"].to_list() == [2, 4]


def test_parquet_files_with_dates_or_zoned_times_are_read(tmp_path):
    days = [date(2020, 1, 2), date(2020, 1, 3)]
    closes = [datetime(2020, 1, 2, 21, 0, tzinfo=UTC), datetime(2020, 1, 3, 21, 0, tzinfo=UTC)]
    pl.DataFrame({"date": days, "adjusted_close": [1.0, 2.0]}).write_parquet(tmp_path / "AAA.parquet")
    (tmp_path / "more").mkdir()
    zoned = pl.DataFrame({"date": closes, "Ticker": ["BBB", "BBB"], "adjusted_close": [3, 4]})
    zoned.write_parquet(tmp_path / "more" / "b.parquet")
    source = BarFolder(tmp_path)
    rows = source.fetch(silent).rows
    assert rows.select("symbol", "date", "adjusted_close", "origin").rows() == [
        ("AAA", days[0], 1.0, "AAA.parquet"),
        ("AAA", days[1], 2.0, "AAA.parquet"),
        ("BBB", days[0], 3.0, "more/b.parquet"),
        ("BBB", days[1], 4.0, "more/b.parquet"),
    ]
    assert source.columns == {"adjusted_close"}


def test_naive_times_of_a_parquet_file_are_marked_and_never_guessed(tmp_path):
    naive = pl.DataFrame({"date": [datetime(2020, 1, 2)], "adjusted_close": [1.0]})  # noqa: DTZ001
    naive.write_parquet(tmp_path / "AAA.parquet")
    row = BarFolder(tmp_path).fetch(silent).rows.row(0, named=True)
    assert (row["date"], row["problem"]) == (None, "naive_timestamp")


def test_the_columns_of_a_folder_are_those_every_file_has(folder):
    source = folder(AAA=f"{HEADER}\n{DAY}\n", SPX="date,close,adjusted_close\n2020-01-02,1,1\n")
    assert source.columns == {"close", "adjusted_close"}


def test_a_header_alone_is_a_file_without_rows(folder):
    assert folder(AAA=f"{HEADER}\n").fetch(silent).rows.is_empty()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            f"{HEADER}\n{DAY}\n{DAY},9\n2020-01-03,1\n",
            "AAA.csv, row 3: the header has 9 fields, but row 3 has 10, row 4 has 2",
        ),
        (f"{HEADER}\n" + "1,2\n" * 9, "row 6 has 2 and 4 more rows"),
        (b"date,adjusted_close\n2020-01-02,1\n2020-01-03,\xa31\n", "AAA.csv, row 3: byte 0xa3 is not UTF-8"),
        ("date,adjusted_close\n2020-01-02,1\n".encode("utf-16"), "row 1: holds a NUL byte"),
        ("date;adjusted_close\n2020-01-02;1\n", "AAA.csv, row 1: fields are separated by ';'"),
        ('date,adjusted_close\n2020-01-02,"1\n', "AAA.csv, row 2: is not CSV"),
        ("date,adjusted_close\n2020-01-02,1\x00\n", "AAA.csv, row 2: holds a NUL byte"),
        ("date,timestamp,adjusted_close\n", "field 'date': two columns mean date"),
        ("", "AAA.csv: is empty"),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_its_place_and_a_remedy(folder, content, words):
    with pytest.raises(MalformedSource) as caught:
        folder(AAA=content).fetch(silent)
    assert words in str(caught.value)
    assert caught.value.remedy in str(caught.value)


def test_bytes_that_are_no_parquet_are_refused(tmp_path):
    (tmp_path / "AAA.parquet").write_bytes(b"not parquet")
    with pytest.raises(MalformedSource, match=r"AAA\.parquet: is not a readable Parquet file"):
        BarFolder(tmp_path).fetch(silent)
    with pytest.raises(MalformedSource, match=r"AAA\.parquet: is not a readable Parquet file"):
        _ = BarFolder(tmp_path).columns


def test_closes_without_adjustment_are_refused_and_never_adjusted_by_guess(folder):
    with pytest.raises(MissingColumns, match=r"AAA\.csv needs adjusted_close, but only close, date exist.*export the"):
        folder(AAA="date,close\n2020-01-02,1\n").fetch(silent)


def test_a_file_without_dates_is_refused(folder):
    with pytest.raises(MissingColumns, match="needs date"):
        folder(AAA="day,adjusted_close\n2020-01-02,1\n").fetch(silent)


def test_a_folder_that_is_not_there_or_has_no_bars_is_unavailable(tmp_path):
    with pytest.raises(SourceUnavailable, match="is not a folder"):
        BarFolder(tmp_path / "nowhere").fetch(silent)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.csv").write_text("x")
    with pytest.raises(SourceUnavailable, match=r"no file that ends in \.csv or \.parquet"):
        BarFolder(tmp_path).fetch(silent)


def test_the_fingerprint_moves_with_the_content_and_with_what_the_owner_declares(folder, tmp_path):
    source = folder(AAA=f"{HEADER}\n{DAY}\n")
    before = source.fingerprint()
    assert source.fetch(silent).fingerprint == before
    assert BarFolder(tmp_path, index_symbols=["AAA"]).fingerprint() != before
    assert BarFolder(tmp_path, publication_lag=timedelta(hours=2)).fingerprint() != before
    assert folder(BBB=f"{HEADER}\n{DAY}\n").fingerprint() != before


def test_the_fingerprint_does_not_depend_on_where_the_folder_is(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "AAA.csv").write_text(f"{HEADER}\n{DAY}\n")
    assert BarFolder(tmp_path / "one").fingerprint() == BarFolder(tmp_path / "other").fingerprint()


@pytest.mark.parametrize("start", ["\n", "\n\n", "\r\n", "\ufeff\n"])
def test_blank_lines_before_the_header_hide_no_columns(tmp_path, start):
    (tmp_path / "AAA.csv").write_bytes(f"{start}date,adjusted_close,volume\n2020-01-02,1,2\n".encode())
    source = BarFolder(tmp_path)
    assert source.fetch(silent).rows.height == 1
    assert source.columns == {"adjusted_close", "volume"}


def test_a_file_of_blank_lines_is_empty(tmp_path):
    (tmp_path / "AAA.csv").write_bytes(b"\n\n")
    with pytest.raises(MalformedSource, match="is empty"):
        _ = BarFolder(tmp_path).columns


def test_progress_names_each_file(folder):
    said = []
    folder(AAA=f"{HEADER}\n{DAY}\n", BBB=f"{HEADER}\n").fetch(said.append)
    assert said == ["read AAA.csv (1 of 2): 1 rows", "read BBB.csv (2 of 2): 0 rows"]
