"""Who vouches for the head, and what shows when somebody else wants to."""

from __future__ import annotations

import itertools
import json
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from mlops_assets.kernel.clock import FixedClock
from mlops_assets.kernel.errors import Conflict, NotFound
from mlops_assets.kernel.fingerprint import canonical_json
from mlops_assets.ledger.checkpoint import Checkpoint, InvalidCheckpoint, Rotation, trusted_keys
from mlops_assets.ledger.checkpoint_folder import CheckpointFolder
from mlops_assets.ledger.checkpoints import BrokenChain, Checkpoints
from mlops_assets.ledger.store import DamagedEntry, Ledger
from mlops_assets.storage.keys import KeyFolder
from mlops_assets.storage.sql.database import Database
from tests.ledger.chains import AT, KEY, append, checkpoint_at, entries


class House:
    """A ledger with its keys and checkpoints in one folder."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder = database, folder
        self.keys = KeyFolder(folder / "keys")
        self.signed = folder / "checkpoints"
        clock = FixedClock(at=AT)
        self.ledger = Ledger(database, clock, CheckpointFolder(self.signed, self.keys))
        self.checkpoints = Checkpoints(self.ledger, self.keys, self.signed, clock)

    def append(self, count: int = 1) -> None:
        append(self.ledger, self.database, count)

    def tamper(self, *statements: str) -> None:
        """Change the ledger as somebody who owns the database file can: without its triggers."""
        with sqlite3.connect(str(self.database.engine.url.database)) as stranger:
            for (name,) in stranger.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                stranger.execute(f"DROP TRIGGER {name}")
            for statement in statements:
                stranger.execute(statement)
        stranger.close()


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    return House(database, tmp_path)


def test_a_checkpoint_names_the_head_and_its_ledger(house: House):
    house.append(3)
    signed = house.checkpoints.sign()
    chained = entries(3)
    assert (signed.ledger, signed.seq, signed.head_hash, signed.at) == (chained[0].hash, 3, chained[2].hash, AT)
    assert house.checkpoints.latest() == signed
    found = house.ledger.verify()
    assert (found.is_intact, found.vouched, found.checkpoints) == (True, 3, 1)


def test_what_is_signed_begins_with_its_kind(house: House):
    """Worked by hand: kind, a zero byte, and the canonical JSON of everything but the signature."""
    signed = checkpoint_at(entries(2), 2)
    content = {name: value for name, value in signed.as_json().items() if name not in ("kind", "signature")}
    message = b"mlops_assets/ledger.checkpoint/v1\0" + canonical_json(content)
    KEY.public.key.verify(bytes.fromhex(signed.signature), message)
    rotation = Rotation(public_key=KEY.public.pem, at=AT, key_id=KEY.key_id).signed_by(KEY)
    assert not replace(signed, signature=rotation.signature).is_signed_by(KEY.public)


def test_signing_again_returns_the_latest_until_the_head_moves(house: House):
    house.append(2)
    first = house.checkpoints.sign()
    assert house.checkpoints.sign() == first
    house.append()
    assert house.checkpoints.sign().seq == 3
    assert [one.seq for one in house.checkpoints.all()] == [2, 3]
    assert sorted(file.name for file in house.signed.iterdir()) == ["000000000002.json", "000000000003.json"]


def test_an_empty_ledger_has_nothing_to_sign(house: House):
    with pytest.raises(NotFound, match="Sign when something has happened"):
        house.checkpoints.sign()
    assert house.checkpoints.latest() is None


def test_signers_at_the_same_instant_agree(house: House):
    house.append(2)
    found: list[Checkpoint] = []
    threads = [threading.Thread(target=lambda: found.append(house.checkpoints.sign())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({one.signature for one in found}) == 1
    assert house.checkpoints.all() == [found[0]]


def test_whoever_trusts_the_first_key_can_verify_every_checkpoint(house: House):
    house.append(2)
    house.checkpoints.sign()
    first = house.checkpoints.public_keys()[0]
    for number in range(3):
        house.checkpoints.rotate_key("ana", f"reason {number}")
        house.append()
        house.checkpoints.sign()
    assert len({one.key_id for one in house.checkpoints.all()}) == 4
    found = house.ledger.verify(trusting=[first])
    assert (found.is_intact, found.checkpoints) == (True, 4)
    rotations = list(house.ledger.entries(action="ledger.rotate_key"))
    assert [(one.actor, one.reason) for one in rotations] == [("ana", f"reason {number}") for number in range(3)]
    ids = [key.key_id for key in house.checkpoints.public_keys()]
    assert [(one.before, one.after) for one in rotations] == list(itertools.pairwise(ids))


def test_only_the_given_key_counts_when_one_is_given(house: House):
    house.append()
    house.checkpoints.sign()
    found = house.ledger.verify(trusting=[KEY.public])
    assert not found.is_intact
    assert "can be trusted" in found.problem
    assert found.first_bad is None


def test_a_rotation_that_fails_leaves_no_entry(house: House):
    house.append()
    house.checkpoints.sign()
    house.signed.chmod(0o500)
    house.signed.rename(house.folder / "away")
    house.signed.write_text("a file is in the way")
    with pytest.raises(OSError, match="checkpoints"):
        house.checkpoints.rotate_key("ana")
    assert house.ledger.verify().entries == 1
    assert len(house.checkpoints.public_keys()) == 1


def test_a_rotation_by_a_stranger_makes_no_key_count(house: House):
    keys = KeyFolder(house.folder / "eve")
    stranger, root = keys.signing_key("ledger"), keys.signing_key("root").public
    forged = Rotation(public_key=stranger.public.pem, at=AT, key_id=root.key_id).signed_by(stranger)
    assert list(trusted_keys([root], [forged])) == [root.key_id]


FORGED = {
    "another hash": {"head_hash": "0" * 64},
    "another number": {"seq": 1},
    "another ledger": {"ledger": "1" * 64},
    "another time": {"at": "2026-01-05T13:00:00.000000+00:00"},
    "another key": {"key_id": "0" * 16},
    "another signature": {"signature": "0" * 128},
    "no signature": {"signature": ""},
    "a word too many": {"note": "trust me"},
    "a naive time": {"at": "2026-01-05T12:00:00"},
    "another kind": {"kind": "mlops_assets/ledger.rotation/v1"},
    "no kind": {"kind": None},
}


@pytest.mark.parametrize("changed", FORGED.values(), ids=FORGED)
def test_a_checkpoint_that_was_changed_is_a_problem(house: House, changed: dict[str, object]):
    house.append(2)
    house.checkpoints.sign()
    file = house.signed / "000000000002.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    found = house.ledger.verify()
    assert not found.is_intact
    assert "000000000002.json" in found.problem
    house.append()
    with pytest.raises(InvalidCheckpoint):
        house.checkpoints.sign()


def test_an_older_checkpoint_or_a_rotation_under_the_name_of_the_latest_is_a_problem(house: House):
    """Otherwise the ledger could be cut back to the older one unseen."""
    house.append(2)
    house.checkpoints.sign()
    house.checkpoints.rotate_key("ana")
    house.checkpoints.sign()
    house.tamper("DELETE FROM ledger_entry WHERE seq > 2")
    for source in ("000000000002.json", next(house.signed.glob("rotation-*")).name):
        (house.signed / "000000000003.json").write_bytes((house.signed / source).read_bytes())
        assert "not the checkpoint that its name says" in house.ledger.verify().problem
        with pytest.raises(InvalidCheckpoint, match="name says"):
            house.checkpoints.latest()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_torn_checkpoint_is_a_problem_and_the_walk_goes_on(house: House, content: bytes):
    house.append(3)
    house.checkpoints.sign()
    (house.signed / "000000000003.json").write_bytes(content)
    house.tamper("UPDATE ledger_entry SET actor = 'eve' WHERE seq = 2")
    found = house.ledger.verify()
    assert found.first_bad == 2
    assert "000000000003.json: not JSON" in found.problem or "not a JSON object" in found.problem


def test_every_bad_file_is_named_and_the_good_ones_still_count(house: House):
    for _ in range(4):
        house.append()
        house.checkpoints.sign()
    (house.signed / "000000000002.json").write_text("{")
    (house.signed / "000000000003.json").write_bytes((house.signed / "000000000001.json").read_bytes())
    (house.signed / "000000000009.json").write_text(json.dumps({"kind": "nothing"}))
    house.tamper("DELETE FROM ledger_entry WHERE seq = 4")
    found = house.ledger.verify()
    assert (found.first_bad, found.checkpoints, found.vouched) == (4, 1, 1)
    for number in (2, 3, 9):
        assert f"{number:012d}.json: " in found.problem
    assert "entries after 3 were removed" in found.problem


def test_a_damaged_time_is_named_with_its_entry_and_what_to_do(house: House):
    house.append(3)
    house.tamper("UPDATE ledger_entry SET at = 'yesterday' WHERE seq = 2")
    with pytest.raises(DamagedEntry, match=r"Entry 2 .*'yesterday'.*mlops audit verify.*--after 2"):
        list(house.ledger.entries())
    assert [one.seq for one in house.ledger.entries(after_seq=2)] == [3]


def test_what_a_killed_signer_left_is_no_checkpoint(house: House):
    house.append()
    house.checkpoints.sign()
    (house.signed / ".tmp-0123").write_text('{"kind": "mlops')
    assert house.ledger.verify().checkpoints == 1


TAMPERINGS = {
    "an edit": (["UPDATE ledger_entry SET actor = 'eve' WHERE seq = 3"], 3),
    "a deletion": (["DELETE FROM ledger_entry WHERE seq = 3"], 3),
    "a cut end": (["DELETE FROM ledger_entry WHERE seq > 3"], 4),
    "a cut beginning": (["DELETE FROM ledger_entry WHERE seq < 3"], 1),
    "everything": (["DELETE FROM ledger_entry"], 1),
    "a swap": (
        [
            "UPDATE ledger_entry SET seq = 99 WHERE seq = 2",
            "UPDATE ledger_entry SET seq = 2 WHERE seq = 3",
            "UPDATE ledger_entry SET seq = 3 WHERE seq = 99",
        ],
        2,
    ),
    "a damaged time": (["UPDATE ledger_entry SET at = 'yesterday' WHERE seq = 3"], 3),
    "damaged details": (["UPDATE ledger_entry SET details = '{broken' WHERE seq = 3"], 3),
    "bytes": (["UPDATE ledger_entry SET actor = x'ff' WHERE seq = 3"], 3),
    "a name twice": (['UPDATE ledger_entry SET details = \'{"n": 9, "n": 2}\' WHERE seq = 3'], 3),
}


@pytest.mark.parametrize(("statements", "first_bad"), TAMPERINGS.values(), ids=TAMPERINGS)
def test_tampering_is_located_and_never_signed(house: House, statements: list[str], first_bad: int):
    house.append(6)
    house.checkpoints.sign()
    house.tamper(*statements)
    assert house.ledger.verify().first_bad == first_bad


def test_a_broken_chain_is_not_signed(house: House):
    house.append(2)
    first = house.checkpoints.sign()
    house.append(2)
    house.tamper("UPDATE ledger_entry SET actor = 'eve' WHERE seq = 4")
    with pytest.raises(BrokenChain, match="entry 4 was changed"):
        house.checkpoints.sign()
    assert house.checkpoints.all() == [first]


def test_a_ledger_that_was_cut_behind_its_checkpoint_is_not_signed(house: House):
    house.append(4)
    house.checkpoints.sign()
    house.tamper("DELETE FROM ledger_entry WHERE seq > 2")
    with pytest.raises(BrokenChain, match="entry 4 is not there"):
        house.checkpoints.sign()


def test_the_folder_of_another_ledger_is_refused(house: House, tmp_path: Path):
    house.append(2)
    file = checkpoint_at(entries(2), 2)
    folder = CheckpointFolder(house.signed, house.keys)
    signed = replace(file, head_hash="a" * 64, key_id=house.keys.signing_key("ledger").key_id)
    folder.keep(signed.signed_by(house.keys.signing_key("ledger")))
    with pytest.raises(Conflict, match="written anew"):
        folder.keep(house_checkpoint(house))
    assert not house.ledger.verify().is_intact


def house_checkpoint(house: House) -> Checkpoint:
    key = house.keys.signing_key("ledger")
    return checkpoint_at(entries(2), 2, key)
