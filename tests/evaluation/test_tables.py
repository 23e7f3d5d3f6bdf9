import math

import numpy as np

from mlops_assets.evaluation.replay import replay
from mlops_assets.evaluation.tables import equity_table, fills_table, replay_from
from tests.evaluation.worlds import market, scenario


def test_a_replay_read_back_has_the_same_fingerprint():
    targets = np.array([[0.3], [0.7], [math.nan], [0.0], [math.nan]])
    result = replay(market([10.0, 11.1, 9.7, 12.3, 13.9]), targets, scenario(costs={}))
    assert replay_from(equity_table(result), fills_table(result)).fingerprint == result.fingerprint


def test_a_replay_without_fills_has_a_typed_empty_table():
    result = replay(market([10.0, 11.0]), np.full((2, 1), math.nan), scenario())
    table = fills_table(result)
    assert table.num_rows == 0
    assert [str(field.type) for field in table.schema] == ["date32[day]", "large_string"] + ["double"] * 4
    assert replay_from(equity_table(result), table).fingerprint == result.fingerprint
