from __future__ import annotations

import hashlib

import pytest

from mlops_assets.kernel.errors import IntegrityViolation, NotFound
from mlops_assets.storage.blobs import BlobStore


def test_a_blob_is_kept_under_its_sha256(blobs: BlobStore):
    assert blobs.put(b"report") == hashlib.sha256(b"report").hexdigest()
    assert blobs.get(hashlib.sha256(b"report").hexdigest()) == b"report"


def test_a_damaged_blob_is_refused_and_putting_it_again_mends_it(blobs: BlobStore):
    sha256 = blobs.put(b"report")
    blobs.path(sha256).write_bytes(b"Report")
    with pytest.raises(IntegrityViolation):
        blobs.get(sha256)
    blobs.put(b"report")
    assert blobs.get(sha256) == b"report"


@pytest.mark.parametrize("name", ["../../etc/passwd", "A" * 64, "ab", ""])
def test_a_name_that_is_no_hash_is_not_found(blobs: BlobStore, name: str):
    with pytest.raises(NotFound):
        blobs.get(name)


def test_what_a_killed_writer_left_is_gone_after_the_next(blobs: BlobStore):
    incoming = blobs.root / "incoming"
    incoming.mkdir(parents=True)
    (incoming / ".tmp-of-a-killed-process").write_bytes(b"half")
    blobs.put(b"report")
    assert {path.name for path in incoming.iterdir()} == {".lock"}
