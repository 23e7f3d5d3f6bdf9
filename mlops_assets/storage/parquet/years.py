"""Which rows go into one file: whole calendar years, so that a new day writes the last file alone."""

from __future__ import annotations

import polars as pl

CHUNK_ROWS = 100_000


def year_chunks(frame: pl.DataFrame, rows: int = CHUNK_ROWS) -> list[pl.DataFrame]:
    """Split rows into whole calendar years, joined from the oldest on until a chunk has enough rows.

    A new day changes the last chunk alone. At least one chunk is returned, even without rows.
    """
    year = pl.col("date").dt.year()
    spans = year_spans(frame.select(year=year)["year"], rows)
    return [frame] if len(spans) < 2 else [frame.filter(year.is_between(*span)) for span in spans]


def year_spans(years: pl.Series, rows: int = CHUNK_ROWS) -> list[tuple[int, int]]:
    """Return the first and the last year of each chunk; `years` are those of all rows."""
    spans, filled = list[tuple[int, int]](), rows
    for year, count in years.alias("year").value_counts().sort("year").iter_rows():
        first = year if filled >= rows else spans.pop()[0]
        filled = count if first == year else filled + count
        spans.append((first, year))
    return spans
