"""Hold the symbols that the signal classifier ranks highest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlops_assets.evaluation.market import Market
from mlops_assets.evaluation.spec import Strategy


def signal(market: Market, *, top_n: int, keep_n: int, floor: float, every_days: int) -> NDArray[np.float64]:
    """Every `every_days` days hold up to `top_n` symbols of the highest probability, in equal parts of equity.

    A symbol is bought among the best `top_n` and kept while among the best `keep_n`, in both cases only at a
    probability of at least `floor`: the band between them saves costs. Equal probabilities rank by symbol.
    """
    if market.probabilities is None:
        raise ValueError("signal_ml reads a model's probabilities, and the market has none")
    targets = np.full(market.prices.shape, np.nan)
    held: set[int] = set()
    for row in range(market.window_start, len(market.dates), every_days):
        probability = market.probabilities[row]
        likely = [int(symbol) for symbol in np.argsort(-probability, kind="stable") if probability[symbol] >= floor]
        kept = held & set(likely[:keep_n])
        bought = [symbol for symbol in likely[:top_n] if symbol not in kept][: top_n - len(kept)]
        targets[row, list(held - kept)] = 0.0
        targets[row, bought] = 1.0 / top_n
        held = kept | set(bought)
    return targets


STRATEGY = Strategy(
    name="signal_ml",
    version="1.0.0",
    owner="team:quant",
    description="Weekly, the five symbols the classifier finds likeliest to rise, kept while among the likeliest ten.",
    signal=signal,
    parameters={"top_n": 5, "keep_n": 10, "floor": 0.5, "every_days": 5},
    model="signal_classifier",
)
