"""Ours against value iteration over the transitions that Gymnasium publishes, and against problems worked by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import gymnasium
import pytest

from mlops_assets.lifecycle.kinds.q_learning import learn


@dataclass
class TwoStates:
    """In 0, waiting earns nothing and moving to 1 costs 1; in 1, staying earns 2 and going back nothing.

    It never ends, and is cut off after `steps`.
    """

    steps: int

    def reset(self, *, seed: int | None = None) -> tuple[int, dict[str, Any]]:
        self.state, self.left = 0, self.steps
        return 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        reward = {(0, 0): 0.0, (0, 1): -1.0, (1, 0): 2.0, (1, 1): 0.0}[self.state, action]
        self.state = self.state if action == 0 else 1 - self.state
        self.left -= 1
        return self.state, reward, False, self.left == 0, {}


@dataclass
class OneState:
    """Each episode is one step that earns the next of `rewards` and leads back."""

    rewards: Iterator[float]
    is_final: bool

    def reset(self, *, seed: int | None = None) -> tuple[int, dict[str, Any]]:
        return 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        return 0, next(self.rewards), self.is_final, not self.is_final, {}


def _best_values(model: dict[int, dict[int, list[tuple[float, int, float, bool]]]], discount: float) -> list[float]:
    """Value iteration."""
    values = [0.0] * len(model)
    while True:
        after = [
            max(
                sum(
                    chance * (reward + discount * (0.0 if ends else values[to]))
                    for chance, to, reward, ends in outcomes
                )
                for outcomes in model[state].values()
            )
            for state in range(len(model))
        ]
        if max(abs(new - old) for new, old in zip(after, values, strict=True)) < 1e-12:
            return after
        values = after


@pytest.mark.filterwarnings("ignore:.*Using the latest versioned environment")
@pytest.mark.parametrize(
    ("name", "options", "episodes"),
    [
        ("FrozenLake-v1", {"is_slippery": False}, 3000),
        ("CliffWalking-v1", {"max_episode_steps": 100}, 2500),
        ("Taxi", {}, 9000),
    ],
)
def test_it_finds_the_values_of_value_iteration(name: str, options: dict[str, Any], episodes: int):
    world, discount = gymnasium.make(name, **options), 0.9
    model = world.unwrapped.P
    best = _best_values(model, discount)
    table = learn(
        world,
        states=len(model),
        actions=len(model[0]),
        episodes=episodes,
        exploration=1.0 if name == "FrozenLake-v1" else 0.3,
        discount=discount,
        seed=7,
    )
    for seed in range(20):
        state, _ = world.reset(seed=seed)
        is_over, earned, weight = False, 0.0, 1.0
        expected = best[state]
        assert max(table.values[state]) == pytest.approx(expected, abs=0.02)
        while not is_over:
            action = table.values[state].index(max(table.values[state]))
            state, reward, ended, cut, _ = world.step(action)
            earned, weight = earned + weight * reward, weight * discount
            is_over = ended or cut
        assert earned == pytest.approx(expected, abs=1e-9)


def test_two_states_worked_by_hand():
    """V(1) = 2 / (1 - 1/2) = 4, V(0) = -1 + 4/2 = 1; waiting in 0 and leaving 1 are worth half of V(0)."""
    table = learn(TwoStates(steps=50), states=2, actions=2, episodes=400, exploration=0.5, discount=0.5, seed=1)
    assert table.values[0] == pytest.approx([0.5, 1.0], abs=1e-3)
    assert table.values[1] == pytest.approx([4.0, 0.5], abs=1e-3)
    assert table.steps == 400 * 50


def test_nothing_comes_after_an_end_and_something_after_a_cut():
    """A step that earns 1 and leads back is worth 1 if all ends there, and 1 / (1 - 1/2) if it is only cut off."""
    arguments = {"states": 1, "actions": 1, "episodes": 2000, "exploration": 0.0, "discount": 0.5, "seed": 1}
    ended, cut = (learn(OneState(repeat(1.0), is_final=is_final), **arguments) for is_final in (True, False))
    assert ended.values == [[1.0]]
    assert cut.values[0] == pytest.approx([2.0], abs=0.01)


def test_the_first_try_is_believed_and_later_ones_less():
    """Tries that earn 1, 0, 0 with discount 1/2: 1, then 1 less 1/1.5 of it, then half of what is left."""
    arguments = {"states": 1, "actions": 1, "exploration": 0.0, "discount": 0.5, "seed": 0}
    found = [
        learn(OneState(iter([1.0, 0.0, 0.0]), is_final=True), episodes=tries, **arguments).values[0][0]
        for tries in (1, 2, 3)
    ]
    assert found == pytest.approx([1.0, 1 / 3, 1 / 6])


def test_the_seed_decides():
    def table(seed: int) -> list[list[int]]:
        world = TwoStates(steps=20)
        return learn(world, states=2, actions=2, episodes=5, exploration=0.5, discount=0.5, seed=seed).visits

    assert table(1) == table(1)
    assert table(1) != table(2)
