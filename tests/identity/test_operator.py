"""Who acts on a command line: the environment's token, otherwise that of the home's file."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from mlops_assets.identity.operator import OperatorFile, bearer_of, ensure_token
from mlops_assets.identity.sign_in import Unauthenticated
from mlops_assets.kernel.identity import Role
from tests.identity.house import House


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "api_token"


@pytest.fixture
def file(house: House, path: Path) -> OperatorFile:
    return OperatorFile(path, tokens=house.tokens, directory=house.directory, clock=house.clock)


def test_the_first_start_makes_a_file_whose_token_is_the_operators(house: House, file: OperatorFile, path: Path):
    file.ensure("operator")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert house.tokens.authenticate(path.read_text().strip()).name == "operator"
    entries = house.actions()
    file.ensure("operator")
    assert house.actions() == entries


def test_a_token_of_an_earlier_version_is_adopted(house: House, file: OperatorFile, path: Path):
    path.parent.mkdir()
    path.write_text("g" * 43 + "\n")
    file.ensure("operator")
    assert path.read_text() == "g" * 43 + "\n"
    assert house.tokens.authenticate("g" * 43).name == "operator"


def test_a_text_that_the_platform_never_made_is_replaced_not_adopted(house: House, file: OperatorFile, path: Path):
    path.parent.mkdir()
    path.write_text("password")
    file.ensure("operator")
    with pytest.raises(Unauthenticated):
        house.tokens.authenticate("password")
    assert house.tokens.authenticate(path.read_text().strip()).name == "operator"


def test_a_deleted_file_gets_another_token_and_the_first_one_ends(house: House, file: OperatorFile, path: Path):
    file.ensure("operator")
    first = path.read_text().strip()
    path.unlink()
    file.ensure("operator")
    assert house.tokens.authenticate(path.read_text().strip()).name == "operator"
    with pytest.raises(Unauthenticated):
        house.tokens.authenticate(first)
    assert [one.revoked_at is None for one in house.tokens.list("operator")].count(True) == 1


@pytest.mark.parametrize(("days", "is_renewed"), [(59, False), (61, True), (200, True)])
def test_the_token_is_renewed_in_its_last_month_and_after(
    house: House, file: OperatorFile, path: Path, days: int, is_renewed: bool
):
    file.ensure("operator")
    first = path.read_text()
    house.clock.move(days=days)
    file.ensure("operator")
    assert (path.read_text() != first) == is_renewed
    assert house.tokens.authenticate(path.read_text().strip()).name == "operator"


def test_a_revoked_token_in_the_file_is_replaced(house: House, file: OperatorFile, path: Path):
    file.ensure("operator")
    (token,) = house.tokens.list()
    house.tokens.revoke(token.id, by=house.root)
    file.ensure("operator")
    assert house.tokens.authenticate(path.read_text().strip()).name == "operator"


def test_somebody_elses_token_in_the_file_is_left_alone(house: House, file: OperatorFile, path: Path):
    kim = house.add("kim", Role.QUANT)
    path.parent.mkdir()
    path.write_text(house.tokens.issue("kim", by=kim, days=1).bearer)
    for _ in range(2):
        file.ensure("operator")
        assert len(house.tokens.list()) == 1
        house.clock.move(days=2)


def test_two_homes_over_one_database_keep_a_token_each(house: House, file: OperatorFile, path: Path, tmp_path: Path):
    other = tmp_path / "other" / "api_token"
    file.ensure("operator")
    OperatorFile(other, tokens=house.tokens, directory=house.directory, clock=house.clock).ensure("operator")
    assert {house.tokens.authenticate(one.read_text().strip()).name for one in (path, other)} == {"operator"}


@pytest.mark.parametrize("name", ["nobody", "kim"])
def test_no_file_is_made_for_somebody_who_may_not_act(house: House, file: OperatorFile, path: Path, name: str):
    house.add("kim", Role.QUANT)
    house.directory.deactivate("kim", by=house.root)
    file.ensure(name)
    assert not path.exists()


def test_the_environment_wins_over_the_file_and_nobody_acts_without_either(path: Path):
    with pytest.raises(Unauthenticated, match="MLOPS_TOKEN"):
        bearer_of(None, path)
    made = ensure_token(path)
    assert bearer_of(None, path) == made
    assert bearer_of("of the environment", path) == "of the environment"
    path.write_text("\n")
    with pytest.raises(Unauthenticated):
        bearer_of("", path)
