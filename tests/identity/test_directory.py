"""The directory: who there is, changed by hand or by a file, with a ledger entry for every change."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from mlops_assets.identity.directory import Directory
from mlops_assets.identity.principals import Declared, InvalidPrincipal, Kind
from mlops_assets.kernel.change import Change
from mlops_assets.kernel.errors import Conflict, Forbidden, InvalidDeclaration, NotFound
from mlops_assets.kernel.identity import Role
from tests.identity.house import House, house_in


def declared(name: str, *roles: Role, **more: str) -> Declared:
    return Declared(name=name, kind=Kind.PERSON, roles=frozenset(roles), **more)


def test_an_empty_directory_gets_an_operator_and_the_service_of_dagster_once(house: House):
    assert [(one.name, one.kind, sorted(one.roles)) for one in house.directory.list()] == [
        ("dagster", "service", ["service"]),
        ("operator", "person", ["admin", "data_engineer", "mlops", "quant"]),
    ]
    assert not house.directory.bootstrap("somebody_else")
    assert [(entry.actor, entry.action, entry.subject) for entry in house.ledger.entries()] == [
        ("operator", "principal.add", "principals/operator"),
        ("operator", "principal.add", "principals/dagster"),
    ]


def test_a_principal_gets_and_loses_roles_and_the_ledger_tells_it(house: House):
    house.add("kim", Role.QUANT)
    house.directory.grant("kim", [Role.QUANT, Role.COMPLIANCE], by=house.root, reason="joins compliance")
    assert house.directory.principal("kim").roles == {Role.QUANT, Role.COMPLIANCE}
    house.directory.take("kim", [Role.QUANT, Role.MLOPS], by=house.root)
    assert house.directory.principal("kim").roles == {Role.COMPLIANCE}
    entries = list(house.ledger.entries(subject="principals/kim"))
    assert [(one.action, one.details.get("roles"), one.reason) for one in entries] == [
        ("principal.add", ["quant"], ""),
        ("principal.grant", ["compliance"], "joins compliance"),
        ("principal.take", ["quant"], ""),
    ]
    assert [one.before for one in entries[1:]] == [one.after for one in entries[:-1]]


def test_roles_are_set_as_a_whole_or_not_at_all(house: House):
    """Once these were two transactions: a failure in between left somebody without any role."""

    class Full:
        """A journal that takes no grants any more."""

        def append(self, connection: sa.Connection, change: Change) -> int:
            if change.action == "principal.grant":
                raise OSError("the disk is full")
            return house.ledger.append(connection, change)

    house.add("kim", Role.QUANT)
    before = house.actions()
    with pytest.raises(OSError, match="full"):
        Directory(house.database, Full(), house.clock).set_roles("kim", [Role.MLOPS], by=house.root)
    assert (house.directory.get("kim").roles, house.actions()) == ({Role.QUANT}, before)
    house.directory.set_roles("kim", [Role.MLOPS], by=house.root)
    assert house.directory.get("kim").roles == {Role.MLOPS}
    assert house.actions()[-2:] == ["principal.take", "principal.grant"]


def test_what_changes_nothing_leaves_no_entry(house: House):
    house.add("kim", Role.QUANT)
    before = house.actions()
    house.directory.grant("kim", [Role.QUANT], by=house.root)
    house.directory.take("kim", [Role.MLOPS], by=house.root)
    house.directory.reactivate("kim", by=house.root)
    assert house.actions() == before


def test_who_is_deactivated_acts_no_more_and_stays_in_the_books(house: House):
    house.add("kim", Role.QUANT)
    house.directory.deactivate("kim", by=house.root, reason="left")
    with pytest.raises(Forbidden, match=r"kim.*deactivated.*reactivate kim"):
        house.directory.principal("kim")
    assert not house.directory.get("kim").is_active
    with pytest.raises(Conflict, match="deactivated"):
        house.directory.add(declared("kim"), by=house.root)
    house.directory.reactivate("kim", by=house.root)
    assert house.directory.principal("kim").roles == {Role.QUANT}


def test_nobody_is_named_with_the_near_miss(house: House):
    with pytest.raises(NotFound, match="Did you mean 'operator'"):
        house.directory.grant("operater", [Role.QUANT], by=house.root)
    with pytest.raises(Forbidden, match="nobody"):
        house.directory.principal("operater")


@pytest.mark.parametrize("verb", ["take", "deactivate"])
def test_the_last_active_admin_stays(house: House, verb: str):
    def remove(name: str) -> None:
        if verb == "take":
            house.directory.take(name, [Role.ADMIN], by=house.root)
        else:
            house.directory.deactivate(name, by=house.root)

    entries = house.actions()
    with pytest.raises(Conflict, match="No active admin"):
        remove("operator")
    assert house.actions() == entries
    root = house.root
    house.add("ann", Role.ADMIN)
    remove("operator")
    with pytest.raises(Conflict, match="No active admin"):
        house.directory.deactivate("ann", by=root)


@pytest.mark.parametrize(
    "name",
    ["", " ", "-kim", ".kim", "kim lee", "kim/lee", "../kim", "kim\n", "kim\x00", "킴", "kіm", "k" * 201, "a;b", "<b>"],
)
def test_a_name_outside_the_safe_alphabet_is_refused(name: str):
    with pytest.raises(InvalidPrincipal):
        declared(name)


@pytest.mark.parametrize("name", ["kim", "Kim.Lee@desk.example", "svc:nightly-1", "k" * 200, "0_a"])
def test_a_name_of_the_safe_alphabet_is_kept(house: House, name: str):
    assert house.add(name, Role.VIEWER).name == name


def test_two_principals_are_never_mistaken_for_each_other(house: House):
    house.add("kim", Role.QUANT, oidc_subject="sub-1")
    with pytest.raises(Conflict, match="mistaken"):
        house.add("KIM", Role.COMPLIANCE)
    with pytest.raises(Conflict, match="sub-1"):
        house.add("lee", Role.COMPLIANCE, oidc_subject="sub-1")
    assert [one.name for one in house.directory.list()] == ["dagster", "kim", "operator"]


KIM = "{name: kim, kind: person, roles: [quant, compliance], oidc_subject: sub-1}"
BATCH = "{name: batch, kind: service, roles: [service]}"


def principals_file(folder: Path, *entries: str) -> Path:
    file = folder / "principals.yaml"
    file.write_text("principals:\n" + "".join(f"  - {entry}\n" for entry in entries))
    return file


def test_a_file_is_applied_change_by_change_and_once(house: House, tmp_path: Path):
    file = principals_file(tmp_path, KIM, BATCH)
    done = house.directory.apply(file, by=house.root)
    assert [step.words.split(" (")[0] for step in done] == ["principal.add kim", "principal.add batch"]
    assert house.directory.apply(file, by=house.root) == []
    principals_file(tmp_path, "{name: kim, kind: person, roles: [compliance, viewer], email: kim@desk.example}")
    assert len(house.directory.differences(file)) == 4
    house.directory.apply(file, by=house.root)
    assert house.actions("principals/kim") == ["principal.add", "principal.edit", "principal.take", "principal.grant"]
    assert house.actions("principals/batch") == ["principal.add", "principal.deactivate"]
    kim = house.directory.get("kim")
    assert (kim.roles, kim.email, kim.oidc_subject) == ({Role.COMPLIANCE, Role.VIEWER}, "kim@desk.example", None)
    assert all(entry.actor == "operator" for entry in house.ledger.entries())
    assert house.ledger.verify().is_intact


def test_who_comes_back_to_the_file_is_active_again_with_its_roles_alone(house: House, tmp_path: Path):
    file = principals_file(tmp_path, KIM)
    house.directory.apply(file, by=house.root)
    house.directory.apply(principals_file(tmp_path, BATCH), by=house.root)
    house.directory.apply(principals_file(tmp_path, "{name: kim, kind: person, roles: [viewer]}"), by=house.root)
    assert house.directory.principal("kim").roles == {Role.VIEWER}


def test_who_is_managed_by_hand_is_left_alone_unless_the_file_names_them(house: House, tmp_path: Path):
    house.add("ann", Role.ADMIN)
    house.add("kim", Role.MLOPS)
    house.directory.apply(principals_file(tmp_path, KIM), by=house.root)
    assert house.directory.principal("ann").roles == {Role.ADMIN}
    assert house.directory.get("kim").managed_by == "file"
    assert house.directory.principal("kim").roles == {Role.QUANT, Role.COMPLIANCE}


def test_who_is_managed_by_the_file_is_not_changed_by_hand(tmp_path: Path):
    file = principals_file(tmp_path, KIM)
    house = house_in(tmp_path, file=file)
    house.directory.apply(file, by=house.root)
    entries = house.actions()
    for change in (
        lambda: house.directory.grant("kim", [Role.ADMIN], by=house.root),
        lambda: house.directory.take("kim", [Role.QUANT], by=house.root),
        lambda: house.directory.deactivate("kim", by=house.root),
        lambda: house.directory.reactivate("kim", by=house.root),
    ):
        with pytest.raises(Conflict, match=str(file)):
            change()
    assert house.actions() == entries


def test_a_file_that_leaves_no_admin_changes_nothing(house: House, tmp_path: Path):
    file = principals_file(tmp_path, KIM, "{name: operator, kind: person, roles: [quant]}")
    with pytest.raises(Conflict, match="No active admin"):
        house.directory.apply(file, by=house.root)
    assert [one.name for one in house.directory.list()] == ["dagster", "operator"]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{name: kim, kind: person, roles: [boss]}", "boss"),
        ("{name: kim, kind: robot, roles: [quant]}", "robot"),
        ("{name: kim, kind: person}", "roles"),
        ("{name: kim, kind: person, roles: [quant], role: x}", "role"),
        ("{name: ../kim, kind: person, roles: [quant]}", "../kim"),
        ("{name: kim, kind: person, roles: [quant], oidc_subject: ''}", "oidc_subject"),
        ("{name: kim, kind: person, roles: [quant], email: 7}", "email"),
        (f"{KIM}\n  - {KIM}", "kim appears twice"),
        ("kim", "dictionary"),
    ],
)
def test_a_wrong_file_is_named_and_changes_nothing(house: House, tmp_path: Path, entry: str, words: str):
    file = principals_file(tmp_path, BATCH, entry)
    entries = house.actions()
    with pytest.raises(InvalidDeclaration) as caught:
        house.directory.apply(file, by=house.root)
    assert caught.value.file == str(file)
    assert words in str(caught.value)
    assert house.actions() == entries


def test_a_subject_that_moves_between_two_principals_is_moved_in_two_steps(house: House, tmp_path: Path):
    lee = "{name: lee, kind: person, roles: [quant], oidc_subject: sub-2}"
    house.directory.apply(principals_file(tmp_path, KIM, lee), by=house.root)
    entries = house.actions()
    swapped = principals_file(tmp_path, KIM.replace("sub-1", "sub-2"), lee.replace("sub-2", "sub-1"))
    with pytest.raises(Conflict, match="Nothing was changed"):
        house.directory.apply(swapped, by=house.root)
    assert house.actions() == entries
