from datetime import date

import numpy as np
import polars as pl
import pytest

from mlops_assets.evaluation.market import DataNotComplete, market_of
from mlops_assets.kernel.errors import UnknownReference
from tests.evaluation.worlds import bars_table, scenario

THREE_DAYS = {"window": {"start": "2020-01-03", "end": "2020-01-05"}}


def test_the_market_holds_warm_up_and_window_without_the_index():
    bars = bars_table({"B": [1, 2, 3, 4, 5, 6], "A": [6, 5, 4, 3, 2, 1], "IDX": [9] * 6})
    found = market_of(scenario(**THREE_DAYS, warm_up_days=1), bars)
    assert found.symbols == ("A", "B")
    assert found.dates.astype(str).tolist() == ["2020-01-02", "2020-01-03", "2020-01-04", "2020-01-05"]
    assert found.prices.tolist() == [[5, 2], [4, 3], [3, 4], [2, 5]]
    assert found.window_start == 1


def test_a_missing_price_in_the_window_is_named():
    bars = bars_table({"A": [1, 2, 3, None, 5], "B": [1, 2, 3, 4, 5]})
    with pytest.raises(DataNotComplete, match="adjusted close of A on 2020-01-04"):
        market_of(scenario(**THREE_DAYS), bars)


def test_a_window_outside_the_data_says_what_there_is():
    bars = bars_table({"A": [1, 2, 3, 4, 5]})
    with pytest.raises(DataNotComplete, match="2020-01-01 to 2020-01-05"):
        market_of(scenario(window={"start": "2021-01-03", "end": "2021-01-05"}), bars)


def test_a_warm_up_longer_than_the_history_is_refused():
    with pytest.raises(DataNotComplete, match="needs 10 trading days"):
        market_of(scenario(**THREE_DAYS, warm_up_days=10), bars_table({"A": [1, 2, 3, 4, 5]}))


def test_an_unknown_symbol_names_its_near_miss():
    with pytest.raises(UnknownReference, match="AAPL"):
        market_of(scenario(**THREE_DAYS, universe=["APPL"]), bars_table({"AAPL": [1, 2, 3, 4, 5]}))


def test_probabilities_lie_beside_their_prices_and_must_cover_the_window():
    bars = bars_table({"A": [1, 2, 3, 4, 5], "B": [1, 2, 3, 4, 5]})
    days = [date(2020, 1, day) for day in (3, 4, 5)]
    rows = pl.DataFrame(
        {"symbol": ["B"] * 3 + ["A"] * 3, "date": days * 2, "probability": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}
    )
    found = market_of(scenario(**THREE_DAYS, warm_up_days=1), bars, rows.to_arrow())
    assert found.probabilities is not None
    assert np.isnan(found.probabilities[0]).all()
    assert found.probabilities[1:].tolist() == [[0.4, 0.1], [0.5, 0.2], [0.6, 0.3]]
    with pytest.raises(DataNotComplete, match="prediction of A on 2020-01-05"):
        market_of(scenario(**THREE_DAYS), bars, rows.head(5).to_arrow())
