"""Buy every symbol once, in equal parts, and never trade again: what every other strategy is compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlops_assets.evaluation.market import Market
from mlops_assets.evaluation.spec import Strategy


def signal(market: Market) -> NDArray[np.float64]:
    """Target one N-th of equity in each of N symbols on the first day; keep it from then on."""
    targets = np.full(market.prices.shape, np.nan)
    targets[0] = 1.0 / len(market.symbols)
    return targets


STRATEGY = Strategy(
    name="buy_and_hold",
    version="1.0.0",
    owner="team:quant",
    description="Equal parts of every symbol, bought once and held.",
    signal=signal,
    parameters={},
)
