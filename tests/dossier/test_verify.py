"""That every change of a dossier is found, and that an archive built to do harm is refused."""

from __future__ import annotations

import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_assets.dossier.archive import UnsafeArchive, list_files, manifest_bytes, open_archive, sums_bytes
from mlops_assets.dossier.verify import DossierCheck, verify_dossier
from mlops_assets.kernel.errors import NotFound
from mlops_assets.storage.keys import PublicKey
from tests.dossier.worlds import World, filled_world

Members = dict[str, bytes]
SLOW = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = filled_world(tmp_path_factory.mktemp("verify"))
    made.services.checkpoints.sign()
    made.services.checkpoints.rotate_key("carol")
    return made


@pytest.fixture(scope="module")
def sound(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sound") / "d.zip"
    world.services.dossiers.export("models/alpha@1", by=world.who("carol"), out=file)
    return file


def members_of(file: Path) -> Members:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(file: Path, members: Members) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


def check(file: Path) -> DossierCheck:
    """Verify; what is refused as unsafe counts as found."""
    try:
        return verify_dossier(file)
    except UnsafeArchive as refused:
        return DossierCheck(file=file, problem=str(refused))


def resealed(members: Members) -> Members:
    """Do what somebody would who can write the manifest anew, but not the ledger."""
    covered = {
        name: content
        for name, content in members.items()
        if not name.startswith("ledger/") and name not in ("manifest.json", "SHA256SUMS")
    }
    listed = list_files(covered)
    sums, manifest = sums_bytes(listed), manifest_bytes("models/alpha@1", listed)
    return {**members, "manifest.json": manifest, "SHA256SUMS": sums}


def test_a_sound_dossier_is_intact_and_says_whose_key_vouches(sound: Path, world: World):
    first, second = world.services.checkpoints.public_keys()
    found = verify_dossier(sound)
    assert (found.is_intact, found.subject, found.key_id) == (True, "models/alpha@1", second.key_id)
    assert not found.is_key_given
    assert verify_dossier(sound, trusting=[first]).is_key_given
    assert verify_dossier(sound, trusting=[first]).is_intact


def test_a_key_that_never_signed_does_not_vouch(sound: Path):
    stranger = PublicKey(Ed25519PrivateKey.generate().public_key())
    assert "ledger/checkpoint.json" in verify_dossier(sound, trusting=[stranger]).problem


@SLOW
@given(data=st.data())
def test_any_changed_byte_of_any_file_is_found_and_its_file_named(data: st.DataObject, sound: Path, tmp_path: Path):
    members = members_of(sound)
    name = data.draw(st.sampled_from(sorted(members)))
    place = data.draw(st.integers(0, len(members[name]) - 1))
    changed = bytearray(members[name])
    changed[place] ^= data.draw(st.integers(1, 255))
    members[name] = bytes(changed)
    problem = check(write(tmp_path / "d.zip", members)).problem
    assert problem
    assert name in problem or name in ("manifest.json", "SHA256SUMS")


@SLOW
@given(data=st.data())
def test_a_changed_byte_of_the_zip_itself_never_shows_other_content(data: st.DataObject, sound: Path, tmp_path: Path):
    content = bytearray(sound.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    file = tmp_path / "d.zip"
    file.write_bytes(content)
    if check(file).is_intact:
        with open_archive(file) as archive:
            assert {name: archive.read(name) for name in archive.names} == members_of(sound)


@SLOW
@given(data=st.data())
def test_a_file_that_is_missing_or_added_is_named(data: st.DataObject, sound: Path, tmp_path: Path):
    members = members_of(sound)
    if data.draw(st.booleans()):
        name = data.draw(st.sampled_from(sorted(members)))
        del members[name]
    else:
        name = data.draw(st.sampled_from(["more.txt", "subject/more.json", "ledger/more.json", "ledger/public_keys/x"]))
        members[name] = b"more"
    assert name in check(write(tmp_path / "d.zip", members)).problem


@pytest.mark.parametrize("name", ["index.html", "approvals.json", "subject/model.lgb", "entries.jsonl"])
def test_a_manifest_written_anew_is_not_the_one_on_record(name: str, sound: Path, tmp_path: Path):
    members = members_of(sound)
    members[name] = members[name] + b" "
    problem = check(write(tmp_path / "d.zip", resealed(members))).problem
    assert "dossier.export" in problem or "entries.jsonl" in problem


def test_a_checkpoint_written_in_another_way_is_found(sound: Path, tmp_path: Path):
    members = members_of(sound)
    members["ledger/checkpoint.json"] += b"\n"
    assert check(write(tmp_path / "d.zip", members)).problem.startswith("ledger/checkpoint.json: ")


def test_an_entry_that_the_ledger_lacks_is_found(sound: Path, tmp_path: Path):
    members = members_of(sound)
    first, *rest = members["entries.jsonl"].splitlines(keepends=True)
    members["entries.jsonl"] = b"".join([*rest, first])
    assert "entries.jsonl" in check(write(tmp_path / "d.zip", resealed(members))).problem


def drop_last(lines: list[bytes]) -> list[bytes]:
    return lines[:-1]


def drop_third(lines: list[bytes]) -> list[bytes]:
    return lines[:2] + lines[3:]


def swap(lines: list[bytes]) -> list[bytes]:
    return [lines[1], lines[0], *lines[2:]]


def append(lines: list[bytes]) -> list[bytes]:
    return [*lines, lines[-1]]


@pytest.mark.parametrize("edit", [drop_last, drop_third, swap, append])
def test_an_edited_ledger_is_found(edit: Callable[[list[bytes]], list[bytes]], sound: Path, tmp_path: Path):
    members = members_of(sound)
    members["ledger/ledger.jsonl"] = b"".join(edit(members["ledger/ledger.jsonl"].splitlines(keepends=True)))
    assert check(write(tmp_path / "d.zip", members)).problem.startswith("ledger/ledger.jsonl: ")


def test_a_dossier_of_another_home_does_not_pass_with_these_keys(sound: Path, world: World, tmp_path: Path):
    (tmp_path / "other").mkdir()
    other = filled_world(tmp_path / "other")
    for folder in (other.services.settings.keys_path, other.services.settings.checkpoints_path):
        shutil.rmtree(folder)
    file = tmp_path / "d.zip"
    other.services.dossiers.export("models/alpha@1", by=other.who("carol"), out=file)
    assert verify_dossier(file).is_intact
    assert not verify_dossier(file, trusting=world.services.checkpoints.public_keys()).is_intact
    mixed = {**members_of(file), "ledger/ledger.jsonl": members_of(sound)["ledger/ledger.jsonl"]}
    assert not check(write(tmp_path / "mixed.zip", mixed)).is_intact


@pytest.mark.parametrize(
    "name", ["../out.txt", "/etc/passwd", "a/../b", "C:/x", "a\\b", "./a", "a//b", "folder/", "line\nbreak"]
)
def test_a_name_that_leads_elsewhere_is_refused(name: str, sound: Path, tmp_path: Path):
    with pytest.raises(UnsafeArchive):
        verify_dossier(write(tmp_path / "d.zip", {**members_of(sound), name: b"x"}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["index.html", "INDEX.HTML"])
def test_a_name_that_is_there_twice_is_refused(name: str, sound: Path, tmp_path: Path):
    file = write(tmp_path / "d.zip", members_of(sound))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(name, b"other")
    with pytest.raises(UnsafeArchive, match="twice"):
        verify_dossier(file)


def test_a_link_is_refused(sound: Path, tmp_path: Path):
    file = write(tmp_path / "d.zip", members_of(sound))
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(link, b"/etc/passwd")
    with pytest.raises(UnsafeArchive, match="link"):
        verify_dossier(file)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(sound: Path, tmp_path: Path):
    file = write(tmp_path / "d.zip", members_of(sound))
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(80 << 20))
    with pytest.raises(UnsafeArchive, match="bomb"):
        verify_dossier(file)


def test_a_member_that_lies_about_its_size_is_found(sound: Path, tmp_path: Path):
    members = members_of(sound)
    content = bytearray(write(tmp_path / "d.zip", members).read_bytes())
    at = content.rindex(b"PK\x01\x02", 0, content.rindex(b"index.html"))
    size = int.from_bytes(content[at + 24 : at + 28], "little")
    content[at + 24 : at + 28] = (size - 5).to_bytes(4, "little")
    (tmp_path / "d.zip").write_bytes(content)
    assert "index.html" in check(tmp_path / "d.zip").problem


@pytest.mark.parametrize("content", [b"", b"PK", b"no zip at all", json.dumps({"a": 1}).encode()])
def test_what_is_no_zip_is_refused(content: bytes, tmp_path: Path):
    (tmp_path / "d.zip").write_bytes(content)
    with pytest.raises(UnsafeArchive, match="zip"):
        verify_dossier(tmp_path / "d.zip")


def test_a_file_that_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(NotFound, match="mlops audit dossier"):
        verify_dossier(tmp_path / "d.zip")


@pytest.mark.parametrize("content", [b"[]", b"null", b"{" * 100_000, b'{"files": 3}', b"\xff"])
def test_a_manifest_that_is_none_is_named(content: bytes, sound: Path, tmp_path: Path):
    members = {**members_of(sound), "manifest.json": content}
    assert "manifest.json" in check(write(tmp_path / "d.zip", members)).problem
