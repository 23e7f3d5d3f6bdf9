import math

import numpy as np
import polars as pl
import pytest
from gymnasium.utils.env_checker import check_env

from mlops_assets.features.spec import Fold
from mlops_assets.lifecycle.kinds.allocation_environment import AllocationEnvironment, History, histories_of
from mlops_assets.lifecycle.kinds.allocation_states import FeatureBorders, States, borders_of
from mlops_assets.lifecycle.training.folds import EmptyFold
from tests.lifecycle.kinds.policy_worlds import FEATURES, allocation_set, rows_of

WEIGHTS = (0.0, 0.5, 1.0)


def world(**returns: list[float]) -> AllocationEnvironment:
    """A decision each session at 100 basis points; a symbol's place in `returns` is its market state."""
    histories = [
        History(
            symbol=symbol,
            states=[3 * place] * len(changes),
            growth=[[math.log1p(weight * change) for weight in WEIGHTS] for change in changes],
        )
        for place, (symbol, changes) in enumerate(returns.items())
    ]
    return AllocationEnvironment(histories, states=3 * len(returns), weights=WEIGHTS, every_sessions=1, cost_bps=100.0)


def of_the_past() -> AllocationEnvironment:
    rows = rows_of(allocation_set(), Fold.TRAIN)
    states = States(features=borders_of(rows, FEATURES, 3), weights=WEIGHTS)
    return AllocationEnvironment(
        histories_of(rows, states), states=states.count, weights=WEIGHTS, every_sessions=5, cost_bps=15.0
    )


@pytest.mark.filterwarnings("error")
def test_it_keeps_gymnasiums_contract():
    check_env(of_the_past(), skip_render_check=True)  # it draws nothing


def test_the_reward_is_log_growth_less_the_cost_of_what_is_traded():
    one = world(A=[0.10, -0.05, 0.20, 0.03])
    one.reset(seed=1)
    bought, kept, halved = (one.step(action)[1] for action in (2, 2, 1))
    assert bought == pytest.approx(math.log(1.10 * 0.99))
    assert kept == pytest.approx(math.log(0.95))
    assert halved == pytest.approx(math.log(1.10 * 0.995))


def test_the_state_tells_the_weight_that_is_held():
    one = world(A=[0.1] * 5, B=[0.1] * 5)
    one.reset(seed=1)
    assert one.reset()[0] == 3
    assert [one.step(action)[0] for action in (1, 2, 0)] == [4, 5, 3]


def test_no_value_crosses_a_symbol_border():
    one = world(A=[0.01] * 7, B=[-0.01] * 4)
    for episode, (symbol, market, steps) in enumerate([("A", 0, 6), ("B", 3, 3), ("A", 0, 6)]):
        state, told = one.reset(seed=None if episode else 1)
        seen, rewards, is_over = [state], [], False
        while not is_over:
            state, reward, is_final, is_over, _ = one.step(2)
            seen, rewards = [*seen, state], [*rewards, reward]
            assert not is_final
        assert told["symbol"] == symbol
        assert {state // 3 * 3 for state in seen} == {market}
        assert len(rewards) == steps
        assert all((reward > 0) == (symbol == "A") for reward in rewards[1:])


def test_it_decides_once_in_as_many_rows_and_begins_on_any_of_the_first():
    one, rows = of_the_past(), rows_of(allocation_set(), Fold.TRAIN)
    sessions = rows.filter(pl.col("symbol") == "S0").height
    begun = set()
    for episode in range(80):
        _, told = one.reset(seed=None if episode else 3)
        begun.add(told["row"])
        steps = 1
        while not one.step(0)[3]:
            steps += 1
        assert steps == (sessions - 1 - told["row"]) // 5
    assert begun == set(range(5))


def test_a_history_without_a_second_decision_is_refused():
    with pytest.raises(EmptyFold, match="change folds"):
        world(A=[0.1])


def test_each_bucket_has_the_same_share_of_the_rows_it_was_drawn_from():
    rows = pl.DataFrame({"momentum": np.random.default_rng(5).permutation(np.arange(90.0))})
    borders = borders_of(rows, ["momentum"], 3)
    assert borders == (FeatureBorders(feature="momentum", borders=(29.0, 59.0)),)
    states = States(features=borders, weights=(0.0, 1.0))
    assert np.bincount(states.of_rows(rows)).tolist() == [30, 0, 30, 0, 30]


def test_every_state_has_its_own_number_and_words():
    borders = (FeatureBorders(feature="up", borders=(0.0,)), FeatureBorders(feature="wild", borders=(1.0, 2.0)))
    states = States(features=borders, weights=(0.0, 0.5))
    rows = pl.DataFrame({"up": [-1.0, 0.0, 3.0], "wild": [0.0, 1.5, 9.0]})
    assert states.of_rows(rows).tolist() == [0, 2, 10]
    assert states.words(11) == "up 2/2, wild 3/3, held 0.5"
    assert len({states.words(state) for state in range(states.count)}) == states.count == 12
    assert [states.nearest(weight) for weight in (0.1, 0.25, 0.3, 1.0)] == [0, 0, 1, 1]
