"""A CSV file as it stands: its header, its columns as text and the number of each row, or where it is not a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from mlops_assets.market_data.sources import MalformedSource

_RAGGED_ROWS_SHOWN = 5
_OTHER_SEPARATORS = ";\t|"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenTable:
    """A table as it stands in a file: names as written, columns, and the number of each row in the file."""

    names: Sequence[str]
    columns: Sequence[pl.Series]
    numbers: Sequence[int]


def read_csv(content: bytes, origin: str) -> WrittenTable:
    """Read UTF-8 CSV with a header; every cell stays text, and blank lines are no rows.

    Raises:
        MalformedSource: for another encoding or separator, an open quote, or rows that differ in width.
    """
    text = _decoded(content, origin).replace("\r\n", "\n")
    # Without quotes a line is a row, and a million rows take 0.5 s instead of 4.
    return _quoted(text, origin) if '"' in text or "\r" in text else _plain(text, origin)


def _plain(text: str, origin: str) -> WrittenTable:
    lines = pl.DataFrame({"line": text.split("\n")}).with_row_index("number", offset=1).filter(pl.col("line") != "")
    header = lines["line"][0].split(",") if lines.height else []
    _check_header(header, origin)
    rows = lines[1:].with_columns(width=pl.col("line").str.count_matches(",", literal=True) + 1)
    ragged = rows.filter(pl.col("width") != len(header))
    _check_ragged(list(ragged.select("number", "width").iter_rows()), len(header), origin)
    cells = rows["line"].str.split_exact(",", len(header) - 1).struct.unnest()
    return WrittenTable(names=header, columns=cells.get_columns(), numbers=rows["number"].to_list())


def _quoted(text: str, origin: str) -> WrittenTable:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    numbers: list[int] = []
    try:
        for row in reader:
            if row:
                rows.append(row)
                numbers.append(reader.line_num)
    except csv.Error as problem:
        raise MalformedSource(
            file=origin, row=reader.line_num, problem=f"is not CSV ({problem})", remedy="Close every quote."
        ) from problem
    header, *body = rows or [[]]
    _check_header(header, origin)
    placed = list(zip(numbers[1:], map(len, body), strict=True))
    _check_ragged([place for place in placed if place[1] != len(header)], len(header), origin)
    columns = [pl.Series([row[at] for row in body], dtype=pl.String) for at in range(len(header))]
    return WrittenTable(names=header, columns=columns, numbers=numbers[1:])


def _decoded(content: bytes, origin: str) -> str:
    if (nul := content.find(b"\0")) >= 0:
        raise MalformedSource(
            file=origin,
            row=content.count(b"\n", 0, nul) + 1,
            problem="holds a NUL byte, so it is not UTF-8 text",
            remedy="Save the file as UTF-8; UTF-16 is not read.",
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise MalformedSource(
            file=origin,
            row=content.count(b"\n", 0, problem.start) + 1,
            problem=f"byte {content[problem.start]:#04x} is not UTF-8",
            remedy="Save the file as UTF-8 (a byte order mark is fine).",
        ) from problem


def _check_header(header: Sequence[str], origin: str) -> None:
    if not header:
        raise MalformedSource(file=origin, problem="is empty", remedy="Write a header and rows, or remove the file.")
    if len(header) == 1 and (other := next((mark for mark in _OTHER_SEPARATORS if mark in header[0]), None)):
        raise MalformedSource(
            file=origin, row=1, problem=f"fields are separated by {other!r}", remedy="Separate them by commas."
        )


def _check_ragged(ragged: Sequence[tuple[int, int]], width: int, origin: str) -> None:
    """Refuse a table with rows of another width, given as (row, width)."""
    if ragged:
        shown = ", ".join(f"row {number} has {found}" for number, found in ragged[:_RAGGED_ROWS_SHOWN])
        more = f" and {len(ragged) - _RAGGED_ROWS_SHOWN} more rows" if len(ragged) > _RAGGED_ROWS_SHOWN else ""
        raise MalformedSource(
            file=origin,
            row=ragged[0][0],
            problem=f"the header has {width} fields, but {shown}{more}",
            remedy="Give every row as many fields as the header; quote text that holds a comma.",
        )
