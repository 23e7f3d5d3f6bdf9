"""Who answers for a symbol beside a challenger."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.lifecycle.deployment.serving_moves import Mode, Serving, Slot
from mlops_assets.lifecycle.operations.slices import Answering, is_in_slice, position, who_answers

CHAMPION, CHALLENGER = Slot(deployment_id="c" * 64, version=1), Slot(deployment_id="d" * 64, version=2)
CHAMPION_ALONE = Answering(champion_share=1.0, challenger_share=0.0)


def serving(mode: str | None = None, slice: Mapping[str, Any] | None = None, *, champion: Slot | None = CHAMPION):
    return Serving(
        model="signal_classifier",
        environment="staging",
        epoch=3,
        champion=champion,
        challenger=None if mode is None else CHALLENGER,
        mode=None if mode is None else Mode(mode),
        slice=slice,
    )


def test_where_nobody_serves_nobody_answers():
    assert who_answers(serving(champion=None), "AAPL") == Answering(champion_share=0.0, challenger_share=0.0)


def test_a_champion_alone_and_a_champion_with_a_shadow_answer_alone():
    assert who_answers(serving(), "AAPL") == CHAMPION_ALONE
    assert who_answers(serving("shadow"), "AAPL") == CHAMPION_ALONE


def test_a_canary_by_capital_has_its_share_of_every_symbol():
    canary = serving("canary", {"by": "capital", "share": 0.1})
    for symbol in ("AAPL", "MSFT", "삼성전자"):
        assert who_answers(canary, symbol) == Answering(champion_share=0.9, challenger_share=0.1)


def test_a_canary_by_symbols_answers_alone_for_the_symbols_of_its_slice():
    canary = serving("canary", {"by": "symbols", "share": 0.2})
    symbols = [f"S{number}" for number in range(5000)]
    answers = [who_answers(canary, symbol) for symbol in symbols]
    assert set(answers) == {CHAMPION_ALONE, Answering(champion_share=0.0, challenger_share=1.0)}
    assert sum(one.challenger_share for one in answers) / len(symbols) == pytest.approx(0.2, abs=0.02)


def test_another_challenger_gets_another_slice():
    slices = [
        {name for name in map(str, range(500)) if is_in_slice(model="m", deployment_id=one, symbol=name, share=0.2)}
        for one in ("a", "b")
    ]
    assert slices[0] != slices[1]


def test_a_slice_by_something_else_is_refused():
    with pytest.raises(ValueError, match="by symbols or by capital, got 'accounts'"):
        who_answers(serving("canary", {"by": "accounts", "share": 0.2}), "AAPL")


@given(st.text(), st.text(), st.text())
def test_a_position_is_the_leading_part_of_the_hash_as_a_fraction(model: str, deployment: str, symbol: str):
    digest = hashlib.sha256(f"{model}|{deployment}|{symbol}".encode()).digest()
    found = position(model=model, deployment_id=deployment, symbol=symbol)
    assert 0.0 <= found < 1.0
    assert found == pytest.approx(int.from_bytes(digest) / 2**256, abs=2**-52)


@given(st.text(max_size=20), st.floats(0.01, 0.98))
def test_a_larger_share_keeps_the_symbols_of_a_smaller_one(symbol: str, share: float):
    small = is_in_slice(model="m", deployment_id="d", symbol=symbol, share=share)
    assert not small or is_in_slice(model="m", deployment_id="d", symbol=symbol, share=share + 0.01)
