"""Where a stock stands among all stocks of its day: an expression over the rows of one day."""

from __future__ import annotations

import polars as pl


def standing(values: pl.Expr) -> pl.Expr:
    """Return a struct: `rank` from 0 for the lowest to 1 for the highest, and `z_score`.

    Rank is (rank - 1) / (stocks - 1), equal values share their mean rank; z-score is (x - mean) / standard deviation
    of the sample (divided by stocks - 1). Stocks whose value is null are left out, and both are null for a day on which
    the others do not differ. Sums run in order of the symbols, so the same rows give the same bits on any machine.
    """
    value, distance, stocks = pl.field("value"), pl.field("distance"), pl.field("stocks")
    counted = pl.struct(value=values).struct.with_fields(stocks=_stocks_that_differ(value))
    centred = counted.struct.with_fields(distance=value - _sum(value) / stocks)
    return centred.struct.with_fields(
        rank=(value.rank("average") - 1) / (stocks - 1),
        z_score=distance / (_sum(distance * distance) / (stocks - 1)).sqrt(),
    )


def _stocks_that_differ(value: pl.Expr) -> pl.Expr:
    return pl.when(value.max() > value.min()).then(value.count())


def _sum(values: pl.Expr) -> pl.Expr:
    return values.fill_null(0.0).cum_sum().last()
