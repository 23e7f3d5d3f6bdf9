from __future__ import annotations

from datetime import date

import polars as pl

from mlops_assets.storage.parquet.years import year_chunks, year_spans


def test_chunks_are_whole_years_joined_until_they_are_large_enough():
    days = [date(year, month, 1) for year in (2001, 2002, 2003, 2004, 2005) for month in range(1, 13)]
    frame = pl.DataFrame({"symbol": "AAA", "date": days})
    sizes = [chunk["date"].dt.year().unique().sort().to_list() for chunk in year_chunks(frame, rows=20)]
    assert sizes == [[2001, 2002], [2003, 2004], [2005]]
    assert pl.concat(year_chunks(frame, rows=20)).equals(frame)
    longer = pl.concat([frame, pl.DataFrame({"symbol": "AAA", "date": [date(2006, 1, 2)]})])
    assert all(a.equals(b) for a, b in zip(year_chunks(longer, rows=20)[:2], year_chunks(frame, rows=20), strict=False))
    assert [chunk.height for chunk in year_chunks(frame.head(0))] == [0]


def test_spans_are_those_of_the_chunks_whatever_the_order_of_rows():
    days = pl.Series(
        [date(year, 1, day) for year, rows in ((2007, 1), (2001, 9), (2003, 4)) for day in range(1, rows + 1)]
    )
    assert year_spans(days.dt.year(), rows=5) == [(2001, 2001), (2003, 2007)]
    assert year_spans(days.dt.year(), rows=10) == [(2001, 2003), (2007, 2007)]
    assert year_spans(days.head(0).dt.year()) == []
