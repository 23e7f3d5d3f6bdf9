from __future__ import annotations

import hashlib
import multiprocessing
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.kernel.errors import Conflict
from mlops_assets.storage.keys import KeyFolder, SigningKey, UnusableKey, read_public_key


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    return KeyFolder(tmp_path / "keys")


def names(keys: KeyFolder) -> list[str]:
    return sorted(file.name for file in keys.path.iterdir())


def test_the_key_is_made_at_first_use_and_stays(keys: KeyFolder):
    first = keys.signing_key("ledger")
    assert KeyFolder(keys.path).signing_key("ledger").key_id == first.key_id
    assert keys.signing_key("runs").key_id != first.key_id
    assert names(keys) == ["ledger-0001.pem", "ledger-0001.pub.pem", "runs-0001.pem", "runs-0001.pub.pem"]


def test_only_the_owner_reads_a_private_key(keys: KeyFolder):
    keys.signing_key("ledger")
    assert stat.S_IMODE((keys.path / "ledger-0001.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o700


def test_a_key_that_others_can_read_is_refused(keys: KeyFolder):
    keys.signing_key("ledger")
    (keys.path / "ledger-0001.pem").chmod(0o644)
    with pytest.raises(UnusableKey, match="chmod 600"):
        keys.signing_key("ledger")


def test_a_key_id_is_the_beginning_of_the_sha256_of_the_public_key(keys: KeyFolder):
    public = keys.signing_key("ledger").public
    # The last 32 bytes of an Ed25519 SubjectPublicKeyInfo are the key itself (RFC 8410).
    der = public.key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert public.key_id == hashlib.sha256(der[-32:]).hexdigest()[:16]


@given(message=st.binary(max_size=200), other=st.binary(max_size=200))
def test_a_signature_holds_for_its_message_only(tmp_path_factory: pytest.TempPathFactory, message: bytes, other: bytes):
    key = KeyFolder(tmp_path_factory.mktemp("keys")).signing_key("ledger")
    assert key.public.verifies(message, key.sign(message))
    assert key.public.verifies(other, key.sign(message)) == (message == other)


def test_a_signature_of_the_wrong_length_does_not_hold(keys: KeyFolder):
    assert not keys.signing_key("ledger").public.verifies(b"message", b"short")


def key_of(folder: Path) -> str:
    return KeyFolder(folder).signing_key("ledger").key_id


def test_processes_that_start_at_once_share_one_key(keys: KeyFolder):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map(key_of, [keys.path] * 8, chunksize=1)
    assert set(found) == {keys.signing_key("ledger").key_id}
    assert names(keys) == ["ledger-0001.pem", "ledger-0001.pub.pem"]


def test_a_rotation_keeps_the_old_public_key_and_removes_the_old_private_one(keys: KeyFolder):
    first = keys.signing_key("ledger")
    second = keys.rotate("ledger")
    assert keys.signing_key("ledger").key_id == second.key_id != first.key_id
    assert list(keys.public_keys("ledger")) == [first.key_id, second.key_id]
    assert names(keys) == ["ledger-0001.pub.pem", "ledger-0002.pem", "ledger-0002.pub.pem"]
    assert keys.public_keys("ledger")[first.key_id].verifies(b"old", first.sign(b"old"))


def test_the_old_key_can_vouch_for_the_new_one_before_it_is_used(keys: KeyFolder):
    vouched: list[tuple[str, str, str]] = []

    def announce(old: SigningKey, new: SigningKey) -> None:
        vouched.append((old.key_id, new.key_id, keys.signing_key("ledger").key_id))

    first = keys.signing_key("ledger").key_id
    second = keys.rotate("ledger", announce).key_id
    assert vouched == [(first, second, first)]


def test_a_rotation_that_can_not_be_announced_does_not_happen(keys: KeyFolder):
    first = keys.signing_key("ledger")

    def refuse(_old: SigningKey, _new: SigningKey) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        keys.rotate("ledger", refuse)
    assert keys.signing_key("ledger").key_id == first.key_id
    assert list(keys.public_keys("ledger")) == [first.key_id]


def test_of_two_rotations_at_once_one_is_told(keys: KeyFolder):
    def rotate_meanwhile(_old: SigningKey, _new: SigningKey) -> None:
        KeyFolder(keys.path).rotate("ledger")
        KeyFolder(keys.path).rotate("ledger")

    with pytest.raises(Conflict, match="somebody else"):
        keys.rotate("ledger", rotate_meanwhile)
    assert keys.signing_key("ledger").key_id == list(keys.public_keys("ledger"))[-1]
    assert len(keys.public_keys("ledger")) == 3


def test_a_rotation_that_died_between_its_files_can_be_done_again(keys: KeyFolder):
    first = keys.signing_key("ledger")
    orphan = KeyFolder(keys.path.parent / "other").signing_key("ledger").public
    (keys.path / "ledger-0002.pub.pem").write_text(orphan.pem)
    assert keys.signing_key("ledger").key_id == first.key_id
    assert keys.rotate("ledger").key_id == keys.signing_key("ledger").key_id
    assert "ledger-0003.pem" in names(keys)


def test_a_missing_public_half_is_written_again(keys: KeyFolder):
    made = keys.signing_key("ledger")
    (keys.path / "ledger-0001.pub.pem").unlink()
    keys.signing_key("ledger")
    assert list(keys.public_keys("ledger")) == [made.key_id]


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_a_torn_key_is_refused_and_left_alone(keys: KeyFolder, share: float):
    whole = keys.signing_key("ledger").private_pem
    file = keys.path / "ledger-0001.pem"
    file.write_text(whole[: int(len(whole) * share)])
    torn = file.read_bytes()
    with pytest.raises(UnusableKey, match=r"ledger-0001\.pem: not a private key .* Restore it"):
        keys.signing_key("ledger")
    assert file.read_bytes() == torn


def test_what_a_killed_writer_left_is_no_key(keys: KeyFolder):
    keys.path.mkdir()
    (keys.path / ".tmp-0123").write_text("-----BEGIN PRIV")
    assert keys.signing_key("ledger").key_id
    assert list(keys.public_keys("ledger")) == [keys.signing_key("ledger").key_id]


def test_a_lost_private_key_is_not_replaced_in_silence(keys: KeyFolder):
    keys.signing_key("ledger")
    (keys.path / "ledger-0001.pem").unlink()
    with pytest.raises(UnusableKey, match="chain of trust"):
        keys.signing_key("ledger")
    assert names(keys) == ["ledger-0001.pub.pem"]


def test_halves_that_do_not_belong_together_are_refused(keys: KeyFolder):
    keys.signing_key("ledger")
    keys.rotate("ledger")
    (keys.path / "ledger-0002.pub.pem").write_bytes((keys.path / "ledger-0001.pub.pem").read_bytes())
    with pytest.raises(UnusableKey, match="not the public half"):
        keys.signing_key("ledger")


def test_a_key_of_another_kind_is_refused(keys: KeyFolder):
    other = generate_private_key(SECP256R1())
    pem = other.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    keys.path.mkdir()
    file = keys.path / "ledger-0001.pem"
    file.write_bytes(pem)
    file.chmod(0o600)
    with pytest.raises(UnusableKey, match="not an Ed25519 key"):
        keys.signing_key("ledger")
    public = other.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (keys.path / "other.pem").write_bytes(public)
    with pytest.raises(UnusableKey, match="not an Ed25519 public key"):
        read_public_key(keys.path / "other.pem")


def test_a_purpose_is_a_plain_word(keys: KeyFolder):
    with pytest.raises(ValueError, match="short word"):
        keys.signing_key("../ledger")
