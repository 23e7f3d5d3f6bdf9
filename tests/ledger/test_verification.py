"""Whatever somebody does to a chain, the walk finds it and says where."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.kernel.change import Change
from mlops_assets.ledger.checkpoint import Checkpoint
from mlops_assets.ledger.entry import GENESIS_HASH, Entry, chain
from mlops_assets.ledger.seal import links_of_lines
from mlops_assets.ledger.verification import BEGINNING, Head, Link, Verification, verify_links
from tests.ledger.chains import AT, checkpoint_at, entries, line_of
from tests.ledger.forger import FORGERIES, is_located

COUNT = 12


def verify(lines: Sequence[bytes], checkpoints: Sequence[Checkpoint] = ()) -> Verification:
    return verify_links(links_of_lines(lines), checkpoints)


def verify_chain(chained: Sequence[Entry], checkpoints: Sequence[Checkpoint] = ()) -> Verification:
    links = (Link(entry.seq, entry.previous_hash, entry.hash, entry.is_sealed) for entry in chained)
    return verify_links(links, checkpoints)


@given(kind=st.sampled_from(sorted(FORGERIES)), seed=st.integers(0, 2**32), at=st.sets(st.integers(1, COUNT - 1)))
def test_every_forgery_is_found_and_located(kind: str, seed: int, at: set[int]):
    chained = entries(COUNT)
    checkpoints = [checkpoint_at(chained, seq) for seq in sorted({*at, COUNT})]
    lines = [line_of(entry) for entry in chained]
    assert verify(lines, checkpoints).is_intact
    forgery = FORGERIES[kind](lines, random.Random(seed))
    found = verify(forgery.lines, checkpoints)
    assert not found.is_intact
    assert is_located(kind, forgery, found), (found, forgery.tampered)


@pytest.mark.parametrize("kind", ["edit", "resealed edit", "deletion", "reorder", "insertion"])
def test_without_checkpoints_everything_before_the_end_is_found(kind: str):
    lines = [line_of(entry) for entry in entries(COUNT)]
    for seed in range(100):
        forgery = FORGERIES[kind](lines[:-1], random.Random(seed))
        found = verify([*forgery.lines, lines[-1]])
        assert is_located(kind, forgery, found), (found, forgery.tampered)


def test_a_chain_alone_shows_no_cut_and_no_full_rewrite_but_a_checkpoint_does():
    chained = entries(4)
    rewritten = [chain(Change(actor="eve", action="a.b", subject="s"), after=None, at=AT)]
    for number in range(3):
        rewritten.append(chain(Change(actor="eve", action="a.b", subject=f"{number}"), after=rewritten[-1], at=AT))
    seen = [checkpoint_at(chained, 4)]
    for forged, first_bad in ((chained[:2], 3), (rewritten, 1)):
        assert verify_chain(forged).is_intact
        found = verify_chain(forged, seen)
        assert (found.is_intact, found.first_bad) == (False, first_bad)


def test_what_came_after_the_last_checkpoint_is_not_vouched_for():
    chained = entries(5)
    found = verify_chain(chained, [checkpoint_at(chained, 2), checkpoint_at(chained, 3)])
    assert (found.is_intact, found.entries, found.vouched, found.checkpoints) == (True, 5, 3, 2)
    assert found.head_hash == chained[-1].hash


def test_a_rewrite_lies_between_the_checkpoint_that_holds_and_the_one_that_does_not():
    chained = entries(9)
    forged = chained[:4]
    for _ in range(5):
        forged.append(chain(Change(actor="eve", action="a.b", subject="s"), after=forged[-1], at=AT))
    found = verify_chain(forged, [checkpoint_at(chained, seq) for seq in (3, 6, 9)])
    assert (found.vouched, found.first_bad, found.entries) == (3, 6, 5)
    assert "some of entries 4 to 6" in found.problem


def test_a_resealed_edit_is_told_by_the_entry_that_follows_another_one():
    chained = entries(3)
    forged = chain(Change(actor="eve", action="report.seal", subject="reports/x"), after=chained[0], at=AT)
    found = verify_chain([chained[0], forged, chained[2]])
    assert (found.first_bad, found.entries, found.head_hash) == (2, 1, chained[0].hash)


def test_two_checkpoints_that_contradict_each_other_are_a_problem():
    chained = entries(3)
    other = replace(checkpoint_at(chained, 3), head_hash=chained[1].hash)
    assert verify_chain(chained, [checkpoint_at(chained, 3), other]).first_bad == 3


def test_a_checkpoint_of_another_ledger_is_a_problem():
    chained = entries(3)
    other = replace(checkpoint_at(chained, 3), ledger="0" * 64)
    assert verify_chain(chained, [other]).first_bad == 1


def test_a_walk_can_begin_after_an_entry():
    chained = entries(5)
    start = Head(2, chained[1].hash)
    rest = [(one.seq, one.previous_hash, one.hash) for one in chained[2:]]
    links = links_of_lines(line_of(one) for one in chained[2:])
    assert rest
    assert verify_links(links, start=start).entries == 5
    assert verify_links(links_of_lines([line_of(chained[3])]), start=start).first_bad == 3
    other = Head(2, chained[0].hash)
    assert verify_links(links_of_lines([line_of(chained[2])]), start=other).first_bad == 3


def test_an_empty_ledger_holds():
    assert verify_chain([]) == Verification(entries=0, head_hash=GENESIS_HASH)
    assert (BEGINNING.seq, BEGINNING.hash) == (0, GENESIS_HASH)


def test_a_problem_of_checkpoints_joins_that_of_the_chain():
    chained: list[Entry] = entries(2)
    found = verify_chain(chained[1:])
    assert found.and_also("torn file").problem == f"{found.problem}; torn file"
    assert not verify_chain(chained).and_also("torn file").is_intact
