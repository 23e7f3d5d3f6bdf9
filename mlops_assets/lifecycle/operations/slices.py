"""Who answers for a symbol while a challenger runs beside the champion, and with what share of the capital.

A shadow answers nothing. A canary by symbols answers alone for the symbols of its slice; a canary by capital answers
for every symbol with its share of the weight. The slice of symbols depends on model, deployment and symbol alone: it is
the same in every process, and another challenger gets another one.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlops_assets.kernel.fingerprint import bytes_sha256
from mlops_assets.lifecycle.deployment.serving_moves import Mode, Serving

BY_SYMBOLS, BY_CAPITAL = "symbols", "capital"

_HEX_DIGITS = 13
_POSITIONS = 16**_HEX_DIGITS
"""52 bits: a position is exact as a float, and below 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """The share of champion and challenger in an answer. Both are 0 where nobody serves, otherwise they add up to 1."""

    champion_share: float
    challenger_share: float


def who_answers(serving: Serving, symbol: str) -> Answering:
    """Say who answers for `symbol`."""
    if serving.champion is None:
        return Answering(champion_share=0.0, challenger_share=0.0)
    share = _challenger_share(serving, symbol)
    return Answering(champion_share=1.0 - share, challenger_share=share)


def is_in_slice(*, model: str, deployment_id: str, symbol: str, share: float) -> bool:
    """Tell whether a canary by symbols answers for `symbol`."""
    return position(model=model, deployment_id=deployment_id, symbol=symbol) < share


def position(*, model: str, deployment_id: str, symbol: str) -> float:
    """Return where a symbol lies from 0 up to 1: the first 52 bits of SHA-256 of `model|deployment|symbol`."""
    digest = bytes_sha256(f"{model}|{deployment_id}|{symbol}".encode())
    return int(digest[:_HEX_DIGITS], 16) / _POSITIONS


def _challenger_share(serving: Serving, symbol: str) -> float:
    if serving.challenger is None or serving.mode is not Mode.CANARY or serving.slice is None:
        return 0.0
    by, share = str(serving.slice["by"]), float(serving.slice["share"])
    if by == BY_CAPITAL:
        return share
    if by != BY_SYMBOLS:
        raise ValueError(f"a canary's slice is by {BY_SYMBOLS} or by {BY_CAPITAL}, got {by!r}")
    deployment_id = serving.challenger.deployment_id
    return float(is_in_slice(model=serving.model, deployment_id=deployment_id, symbol=symbol, share=share))
