"""What Feast is installed from: complete, hashed, and naming no registry."""

from __future__ import annotations

import re

from packaging.requirements import Requirement

from tests.house.project import ROOT
from tests.house.test_lock import pins

LOCK = "requirements-feast.txt"


def test_the_lock_has_the_feast_that_the_script_asks_for_and_a_hash_for_each_package():
    asked = re.search(r'^feast="(.+)"$', (ROOT / ".ci" / "lock").read_text(encoding="utf-8"), re.MULTILINE)
    assert asked is not None
    wanted, locked = Requirement(asked.group(1)), list(pins(LOCK))
    (feast,) = [pin for pin in locked if pin.name == wanted.name]
    assert wanted.specifier.contains(feast.version), "run .ci/lock"
    assert [pin.name for pin in locked if not pin.hashes] == []


def test_the_lock_names_no_registry_and_no_place_on_a_machine():
    lines = (ROOT / LOCK).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if "://" in line or " @ " in line or line.startswith("-")] == []
