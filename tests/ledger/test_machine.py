"""The ledger through random interleavings: appends, checkpoints, rotations, other processes, tampering."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mlops_assets.kernel.change import Change
from mlops_assets.ledger.checkpoints import BrokenChain
from mlops_assets.storage.keys import PublicKey
from mlops_assets.storage.sql.database import Database
from tests.ledger.test_checkpoints import House

SEEDS = st.integers(0, 10**6)


class LedgerMachine(RuleBasedStateMachine):
    """A model of the ledger: how many entries, which of them were vouched for, and the first that was tampered with."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="mlops_ledger_"))
        self.house = self._open()
        self.house.database.migrate()
        self.entries = 0
        self.vouched: list[int] = []
        self.first_key: PublicKey | None = None
        self.bad: range | None = None
        """Where the first entry that does not hold lies; None while the ledger is as it was written."""

    def _open(self) -> House:
        return House(Database(f"sqlite:///{self.folder / 'platform.db'}"), self.folder)

    def teardown(self) -> None:
        self.house.database.dispose()
        shutil.rmtree(self.folder)

    @precondition(lambda self: self.bad is None)
    @rule(count=st.integers(1, 3))
    def append(self, count: int) -> None:
        self.house.append(count)
        self.entries += count

    @precondition(lambda self: self.bad is None and self.entries > 0)
    @rule()
    def sign(self) -> None:
        signed = self.house.checkpoints.sign()
        assert signed.seq == self.entries
        self.vouched = sorted({*self.vouched, signed.seq})
        self.first_key = self.first_key or self.house.checkpoints.public_keys()[0]

    @precondition(lambda self: self.bad is None)
    @rule()
    def rotate(self) -> None:
        before = self.house.checkpoints.public_keys()
        self.first_key = self.first_key or before[0]
        self.house.checkpoints.rotate_key("ana")
        self.entries += 1
        assert len(self.house.checkpoints.public_keys()) == len(before) + 1

    @rule()
    def reopen(self) -> None:
        self.house.database.dispose()
        self.house = self._open()

    @precondition(lambda self: self.bad is None and self.entries > 0)
    @rule(seed=SEEDS)
    def edit(self, seed: int) -> None:
        seq = seed % self.entries + 1
        self.house.tamper(f"UPDATE ledger_entry SET reason = 'forged' WHERE seq = {seq}")
        self.bad = range(seq, seq + 1)

    @precondition(lambda self: self.bad is None and self.entries > 1)
    @rule(seed=SEEDS)
    def delete(self, seed: int) -> None:
        seq = seed % (self.entries - 1) + 1
        self.house.tamper(f"DELETE FROM ledger_entry WHERE seq = {seq}")
        self.bad = range(seq, seq + 1)

    @precondition(lambda self: self.bad is None and self.vouched)
    @rule(seed=SEEDS)
    def cut(self, seed: int) -> None:
        kept = seed % self.vouched[-1]
        self.house.tamper(f"DELETE FROM ledger_entry WHERE seq > {kept}")
        self.bad = range(kept + 1, kept + 2)

    @precondition(lambda self: self.bad is None and self.vouched)
    @rule(seed=SEEDS)
    def write_anew(self, seed: int) -> None:
        """Cut the end off and let other things have happened, as many as before: a sound chain."""
        kept = seed % self.vouched[-1]
        self.house.tamper(f"DELETE FROM ledger_entry WHERE seq > {kept}")
        with self.house.database.begin() as connection:
            for _ in range(self.entries - kept):
                self.house.ledger.append(connection, Change(actor="eve", action="a.b", subject="s"))
        below = max([one for one in self.vouched if one <= kept], default=0)
        above = min(one for one in self.vouched if one > kept)
        self.bad = range(1, 2) if kept == 0 else range(max(below, kept) + 1, above + 1)

    @invariant()
    def verifying_agrees_with_the_model(self) -> None:
        trusting = [] if self.first_key is None else [self.first_key]
        found = self.house.ledger.verify(trusting=trusting)
        assert found.is_intact == (self.bad is None), found.problem
        if self.bad is not None:
            assert found.first_bad is not None
            assert found.first_bad in self.bad, found.problem
            return
        assert (found.entries, found.vouched) == (self.entries, self.vouched[-1] if self.vouched else 0)
        assert found.checkpoints == len(self.vouched)

    @precondition(lambda self: self.bad is not None)
    @rule()
    def nobody_signs_what_they_can_see_is_broken(self) -> None:
        assert self.bad is not None
        since = self.vouched[-1] if self.vouched else 0
        if self.bad.start > since or self.bad.stop - 1 == since:
            with pytest.raises(BrokenChain):
                self.house.checkpoints.sign()


LedgerMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=15)
TestLedger = LedgerMachine.TestCase
