"""Tabular Q-learning (Watkins and Dayan 1992) in any Gymnasium environment whose states and actions are numbered.

No kept library learns tables: docs/decisions/0021-tabular-q-learning.md. Plain Python arithmetic in a fixed order, so
that the table's bits do not depend on the processor.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, Protocol


class Environment(Protocol):
    """What is asked of a Gymnasium environment: states and actions are numbers from 0."""

    def reset(self, *, seed: int | None = None) -> tuple[int, dict[str, Any]]: ...

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class QTable:
    """By state and action: the value of acting so and best afterwards, and how often it was tried."""

    values: list[list[float]]
    visits: list[list[int]]

    @property
    def steps(self) -> int:
        return sum(map(sum, self.visits))


def learn(
    environment: Environment,
    *,
    states: int,
    actions: int,
    episodes: int,
    exploration: float,
    discount: float,
    seed: int,
) -> QTable:
    """Play a number of episodes and return what was learned; the same arguments give the same table.

    With chance `exploration` a step is any action, otherwise the best known one, of equals the first. The nth try of an
    action in a state moves its value by 1 / (1 + (1 - discount)(n - 1)) of its error (Wainwright 2019): 1 / n forgets
    the zeros that it starts from too slowly. An episode that is cut off counts on; one that ends does not.
    """
    values = [[0.0] * actions for _ in range(states)]
    visits = [[0] * actions for _ in range(states)]
    draw, slowing = Random(seed).random, 1.0 - discount
    for episode in range(episodes):
        state, _ = environment.reset(seed=None if episode else seed)
        is_over = False
        while not is_over:
            known, tried = values[state], visits[state]
            action = int(draw() * actions) if draw() < exploration else known.index(max(known))
            state, reward, is_final, is_cut, _ = environment.step(action)
            target = reward if is_final else reward + discount * max(values[state])
            known[action] += (target - known[action]) / (1.0 + slowing * tried[action])
            tried[action] += 1
            is_over = is_final or is_cut
    return QTable(values=values, visits=visits)
