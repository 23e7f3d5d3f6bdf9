"""Hold a symbol while its short moving average is above its long one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlops_assets.evaluation.market import Market
from mlops_assets.evaluation.spec import Strategy
from mlops_assets.evaluation.ticks import last_decided, order_of_averages


def signal(market: Market, *, short: int, long: int) -> NDArray[np.float64]:
    """Target one N-th of equity after an upward crossing and nothing after a downward one; a tie is no crossing."""
    state = last_decided(order_of_averages(market.prices, short, long))
    before = np.vstack([np.zeros_like(state[:1]), state[:-1]])
    has_crossed = state != before
    return np.where(has_crossed, np.where(state > 0, 1.0 / len(market.symbols), 0.0), np.nan)


STRATEGY = Strategy(
    name="sma_crossover",
    version="1.0.0",
    owner="team:quant",
    description="Long while the 20-day average is above the 100-day average, otherwise in cash; equal parts.",
    signal=signal,
    parameters={"short": 20, "long": 100},
)
