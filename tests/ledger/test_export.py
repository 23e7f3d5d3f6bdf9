"""An export and the checkpoint beside it verify anywhere, and there is never half of one."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import FixedClock
from mlops_assets.kernel.errors import Conflict, NotFound
from mlops_assets.ledger.export import checkpoint_beside, export_ledger, verify_export
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.keys import read_public_key
from mlops_assets.storage.sql.database import Database
from tests.ledger.chains import AT, KEY
from tests.ledger.forger import FORGERIES, is_located
from tests.ledger.test_checkpoints import House


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    made = House(database, tmp_path)
    made.append(5)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "away").mkdir()
    return tmp_path / "away" / "ledger.jsonl"


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_the_pair_verifies_without_the_database(house: House, file: Path):
    made = export_ledger(house.ledger, house.checkpoints, file)
    assert (made.entries, made.checkpoint_file) == (5, checkpoint_beside(file))
    found = verify_export(file)
    assert (found.is_intact, found.entries, found.vouched, found.checkpoints) == (True, 5, 5, 1)
    assert found.head_hash == house.ledger.verify().head_hash
    assert names(file.parent) == ["ledger.jsonl", "ledger.jsonl.checkpoint.json"]


@pytest.mark.parametrize("kind", sorted(FORGERIES))
def test_forgeries_of_a_pair_are_located(house: House, file: Path, kind: str):
    export_ledger(house.ledger, house.checkpoints, file)
    lines = file.read_bytes().splitlines()
    for seed in range(5):
        forgery = FORGERIES[kind](lines, random.Random(seed))
        file.write_bytes(b"".join(line + b"\n" for line in forgery.lines))
        found = verify_export(file)
        assert not found.is_intact
        assert is_located(kind, forgery, found)


def test_a_last_line_without_its_end_is_sound_and_a_torn_one_is_not(house: House, file: Path):
    export_ledger(house.ledger, house.checkpoints, file)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    assert verify_export(file).is_intact
    file.write_bytes(whole[:-2])
    assert verify_export(file).first_bad == 5
    file.write_bytes(whole + b"\n")
    assert (verify_export(file).first_bad, verify_export(file).position) == (6, 6)


def test_the_first_key_verifies_an_export_after_rotations(house: House, file: Path, tmp_path: Path):
    first = tmp_path / "first.pem"
    first.write_text(house.checkpoints.public_keys()[0].pem)
    house.checkpoints.sign()
    house.checkpoints.rotate_key("ana")
    house.checkpoints.rotate_key("ana")
    export_ledger(house.ledger, house.checkpoints, file)
    assert verify_export(file, trusting=[read_public_key(first)]).is_intact
    assert "can be trusted" in verify_export(file, trusting=[KEY.public]).problem


def test_saved_checkpoints_are_compared_with_an_export(house: House, file: Path):
    house.checkpoints.sign()
    house.append(2)
    export_ledger(house.ledger, house.checkpoints, file)
    saved = sorted(house.signed.glob("0*.json"))
    key = house.checkpoints.public_keys()[0]
    assert verify_export(file, checkpoint_files=saved, trusting=[key]).checkpoints == 2
    found = verify_export(file, checkpoint_files=saved)
    assert "Give the first public key" in found.problem
    with pytest.raises(NotFound, match=r"nothing\.json"):
        verify_export(file, checkpoint_files=[file.parent / "nothing.json"])


def test_a_checkpoint_that_was_saved_shows_a_pair_that_was_made_anew(house: House, file: Path, tmp_path: Path):
    """Somebody with the key and the database rewrites both; the checkpoint that an auditor kept does not agree."""
    house.checkpoints.sign()
    kept = tmp_path / "kept.json"
    kept.write_bytes((house.signed / "000000000005.json").read_bytes())
    for one in house.signed.iterdir():
        one.unlink()
    house.tamper("DELETE FROM ledger_entry")
    with house.database.begin() as connection:
        house.ledger.append(connection, Change(actor="eve", action="a.b", subject="s"))
    export_ledger(house.ledger, house.checkpoints, file)
    assert verify_export(file).is_intact
    key = house.checkpoints.public_keys()[0]
    assert verify_export(file, checkpoint_files=[kept], trusting=[key]).first_bad == 1


def test_a_file_that_is_there_is_not_replaced_unasked(house: House, file: Path):
    file.write_text("minutes of the meeting")
    with pytest.raises(Conflict, match="--force"):
        export_ledger(house.ledger, house.checkpoints, file)
    assert file.read_text() == "minutes of the meeting"
    assert names(file.parent) == ["ledger.jsonl"]
    export_ledger(house.ledger, house.checkpoints, file, force=True)
    assert verify_export(file).vouched == 5


class Failing(Ledger):
    """A ledger whose disk gives up after two entries."""

    def lines(self, *, until_seq: int | None = None) -> Iterator[bytes]:
        yield from islice(super().lines(until_seq=until_seq), 2)
        raise OSError("input/output error")


def test_an_export_that_fails_leaves_nothing(house: House, file: Path):
    with pytest.raises(OSError, match="input/output"):
        export_ledger(Failing(house.database, FixedClock(at=AT)), house.checkpoints, file)
    assert names(file.parent) == []


@pytest.mark.parametrize("damage", ["at = 'yesterday'", "details = '{broken'", "actor = x'ff'", "hash = 'h\"'"])
def test_a_damaged_row_is_exported_in_sight_and_does_not_hold(house: House, file: Path, damage: str):
    house.tamper(f"UPDATE ledger_entry SET {damage} WHERE seq = 3")
    assert export_ledger(house.ledger, house.checkpoints, file).entries == 5
    assert verify_export(file).first_bad == 3


def test_a_folder_that_is_not_there_is_said(house: House, tmp_path: Path):
    with pytest.raises(NotFound, match="Make it"):
        export_ledger(house.ledger, house.checkpoints, tmp_path / "no" / "ledger.jsonl")


def test_a_broken_ledger_is_exported_as_it_is_without_a_checkpoint(house: House, file: Path):
    house.tamper("UPDATE ledger_entry SET actor = 'eve' WHERE seq = 2")
    made = export_ledger(house.ledger, house.checkpoints, file)
    assert (made.entries, made.checkpoint) == (5, None)
    assert verify_export(file).first_bad == 2
    assert names(file.parent) == ["ledger.jsonl"]


def test_an_empty_ledger_exports_nothing(tmp_path: Path, file: Path):
    database = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    database.migrate()
    house = House(database, tmp_path / "empty")
    assert export_ledger(house.ledger, house.checkpoints, file).entries == 0
    assert verify_export(file).is_intact


def test_a_bundle_holds_what_verifies_it(house: House, file: Path):
    export_ledger(house.ledger, house.checkpoints, file)
    bundle = json.loads(checkpoint_beside(file).read_text())
    assert sorted(bundle) == ["checkpoint", "kind", "public_key", "rotations"]
    bundle["checkpoint"]["seq"] = 4
    checkpoint_beside(file).write_text(json.dumps(bundle))
    assert "signature does not hold" in verify_export(file).problem
