"""The locked requirements are those of pyproject.toml, complete, hashed, and name no registry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house.project import ROOT, pyproject

LOCKS = ("requirements.txt", "requirements-dev.txt")
_LOGICAL_LINE_END = re.compile(r"\\\n\s*")
DUE = "run .ci/lock: pyproject.toml and the lock disagree"


@dataclass(frozen=True)
class Pin:
    name: str
    version: str
    hashes: tuple[str, ...]
    requirement: Requirement


def pins(lock: str) -> Iterator[Pin]:
    text = _LOGICAL_LINE_END.sub(" ", (ROOT / lock).read_text(encoding="utf-8"))
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        written, *hashes = line.split(" --hash=")
        requirement = Requirement(written)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", line
        yield Pin(
            name=canonicalize_name(requirement.name),
            version=specifier.version,
            hashes=tuple(one.strip() for one in hashes),
            requirement=requirement,
        )


def declared(lock: str) -> list[Requirement]:
    project = pyproject()["project"]
    development = project["optional-dependencies"]["dev"] if lock == "requirements-dev.txt" else []
    return [Requirement(text) for text in [*project["dependencies"], *development]]


@pytest.mark.parametrize("lock", LOCKS)
def test_every_declared_dependency_is_locked_at_a_version_it_allows(lock: str):
    locked = list(pins(lock))
    for requirement in declared(lock):
        same = [pin for pin in locked if pin.name == canonicalize_name(requirement.name)]
        assert same, f"{requirement.name} is not in {lock}: {DUE}"
        for pin in same:
            assert requirement.specifier.contains(pin.version), f"{requirement} but {pin.version} in {lock}: {DUE}"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_a_hash(lock: str):
    without = [pin.name for pin in pins(lock) if not pin.hashes]
    assert without == []
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for pin in pins(lock) for one in pin.hashes)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_registry_and_no_place_on_a_machine(lock: str):
    text = (ROOT / lock).read_text(encoding="utf-8")
    found = [line for line in text.splitlines() if "://" in line or " @ " in line or line.startswith("-")]
    assert found == []
    assert [line for line in text.splitlines() if line.startswith("#") and "/" in line.replace(".ci/lock", "")] == []


def test_the_development_lock_has_every_pin_of_the_other():
    use, development = ({(pin.name, pin.version, str(pin.requirement.marker)) for pin in pins(lock)} for lock in LOCKS)
    assert use - development == set()


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_no_package_is_locked_twice_for_one_interpreter(python: str):
    environment = {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}
    for lock in LOCKS:
        applying = [
            pin.name
            for pin in pins(lock)
            if pin.requirement.marker is None or pin.requirement.marker.evaluate(environment)
        ]
        assert len(applying) == len(set(applying))
