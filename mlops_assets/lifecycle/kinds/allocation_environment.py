"""The world a policy learns in: the past of one symbol at a time, which takes no notice of what is held.

Gymnasium is slow to import, and its class is needed here: import this module where a policy is fitted.
"""

# polars' columns carry no types.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import gymnasium
import polars as pl
from gymnasium.spaces import Discrete, Space

from mlops_assets.lifecycle.kinds.allocation_states import States
from mlops_assets.lifecycle.training.folds import EmptyFold


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A symbol's past, a row a session: its state with nothing held, and by target weight the log growth it led to."""

    symbol: str
    states: list[int]
    growth: list[list[float]]


class AllocationEnvironment(gymnasium.Env[int, int]):
    """Every step is a decision: the action is the number of the target weight, kept for `every_sessions` rows.

    The observation is the number of a state, as in Gymnasium's Taxi: `States` says which buckets and which weight held.
    The reward is the log growth until the next decision, less what the trade costs. An episode is one symbol from one
    of its first `every_sessions` rows, drawn by the seed; it is cut off where the next state would lie beyond the past.
    Symbols take turns.
    """

    def __init__(
        self,
        histories: Sequence[History],
        *,
        states: int,
        weights: Sequence[float],
        every_sessions: int,
        cost_bps: float,
    ) -> None:
        """Keep the symbols that are long enough.

        Raises:
            EmptyFold: if there is none.
        """
        self._histories = [one for one in histories if len(one.states) > every_sessions]
        if not self._histories:
            raise EmptyFold(
                f"no symbol of the train fold has more than the {every_sessions} complete rows from one decision to "
                "the next; change folds, or ingest a longer history."
            )
        self.observation_space = cast("Space[int]", Discrete(states))
        self.action_space = cast("Space[int]", Discrete(len(weights)))
        self._every = every_sessions
        self._costs = [[steady_log(-cost_bps / 10_000 * abs(to - held)) for to in weights] for held in weights]
        self._turn = 0
        self._start(self._histories[0], 0)

    @property
    def symbols(self) -> int:
        """How many episodes show every symbol once."""
        return len(self._histories)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Begin the next symbol's episode with nothing held; a seed begins with the first symbol. No options."""
        super().reset(seed=seed)
        if seed is not None:
            self._turn = 0
        history = self._histories[self._turn]
        self._turn = (self._turn + 1) % len(self._histories)
        starts = min(self._every, len(history.states) - self._every)
        self._start(history, int(self.np_random.integers(starts)))
        return self._states[self._row], {"symbol": history.symbol, "row": self._row}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Trade to a target weight and keep it until the next decision."""
        reward = self._growth[self._row][action] + self._costs[self._held][action]
        self._row += self._every
        self._held = action
        return self._states[self._row] + action, reward, False, self._row + self._every >= len(self._states), {}

    def _start(self, history: History, row: int) -> None:
        self._states, self._growth, self._row, self._held = history.states, history.growth, row, 0


def histories_of(rows: pl.DataFrame, states: States) -> list[History]:
    """Cut labelled rows, sorted by date, into symbols, by name."""
    coded = rows.select("symbol", "forward_return", pl.Series("state", states.of_rows(rows)))
    return [
        History(
            symbol=symbol,
            states=one.get_column("state").to_list(),
            growth=[
                [steady_log(weight * change) for weight in states.weights]
                for change in one.get_column("forward_return").to_list()
            ],
        )
        for (symbol,), one in sorted(coded.partition_by("symbol", as_dict=True, maintain_order=True).items())
    ]


def steady_log(change: float) -> float:
    """Return log(1 + change) to 12 decimals: the last of 17 digits depends on the processor."""
    return round(math.log1p(change), 12) if change else 0.0
