"""The mirror in W&B: offline for real, read back with W&B's own messages; online against a server that is not there."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.lifecycle.mirrors import wandb_mirror
from mlops_assets.lifecycle.mirrors.documents import of_version
from mlops_assets.lifecycle.mirrors.wandb_mirror import Mode, WandbMirror, run_id_of
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.storage.blobs import BlobStore
from mlops_assets.storage.mirror.target import MirrorDocument, MirrorUnavailable, MissingExtra

AT = datetime(2026, 1, 5, 12, tzinfo=UTC)
WITHIN = timedelta(seconds=60)
MODEL_BYTES = b"tree\nversion=v4\n"


def version(blobs: BlobStore, **changes: Any) -> ModelVersion:
    fields: dict[str, Any] = {
        "model": "signal_classifier",
        "version": 3,
        "fingerprint": "f" * 64,
        "artifact_sha256": blobs.put(MODEL_BYTES),
        "training_set_fingerprint": "d" * 64,
        "code_version": "c" * 64,
        "run_id": "run",
        "stage": "experimental",
        "metadata": {"library": "lightgbm", "artifact_format": "lgb", "parameters": {"num_leaves": 7}},
        "metrics": {"test_auc": 0.53, "undefined": float("nan")},
        "created_at": AT,
        "created_by": "dagster",
    }
    return ModelVersion(**{**fields, **changes})


def document(one: ModelVersion, rev: int = 1) -> MirrorDocument:
    copy = of_version(one)
    return MirrorDocument(kind=copy.kind, id=copy.id, rev=rev, content=copy.document, updated_at=AT)


def mirror(blobs: BlobStore, folder: Path, mode: Mode = "offline", **environment: str) -> WandbMirror:
    inherited = {**os.environ, **environment}
    return WandbMirror(mode, project="desk", folder=folder, blobs=blobs, environment=inherited)


def records(file: Path) -> Iterator[Any]:
    """Yield the messages of a `.wandb` file: LevelDB's log format around W&B's own protocol buffers."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, block, header = file.read_bytes(), 32 * 1024, 7
    assert content[:4] == b":W&B"
    position, whole = header, b""
    while position + header <= len(content):
        left = block - position % block
        if left < header:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + header])
        whole += content[position + header : position + header + length]
        position += header + length
        if kind in (1, 4):  # the whole record, or its last part
            yield Record.FromString(whole)
            whole = b""


def runs(folder: Path) -> list[Path]:
    return sorted((folder / "wandb").glob("offline-run-*/*.wandb"))


class Trap:
    """A proxy that counts who comes."""

    def __enter__(self) -> Trap:
        self.visitors = 0
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._door.getsockname()[1]}"
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._door.close()

    def _watch(self) -> None:
        while True:
            try:
                self._door.accept()[0].close()
            except OSError:
                return
            self.visitors += 1


def test_offline_a_version_is_one_run_with_its_model_file_and_nothing_leaves_this_machine(
    blobs: BlobStore, tmp_path: Path
):
    folder, elsewhere = tmp_path / "wandb", tmp_path / "user"
    elsewhere.mkdir()
    one = version(blobs)
    with Trap() as trap:
        proxies = {"HTTPS_PROXY": trap.url, "HTTP_PROXY": trap.url, "https_proxy": trap.url, "http_proxy": trap.url}
        theirs = {"WANDB_BASE_URL": trap.url, "WANDB_API_KEY": "0" * 40, "WANDB_RUN_ID": "mine", "WANDB_MODE": "online"}
        mine = mirror(blobs, folder, HOME=str(elsewhere), XDG_CACHE_HOME="", NO_PROXY="", **proxies, **theirs)
        assert mine.take([document(one)], within=WITHIN) == {}
        assert trap.visitors == 0
    assert list(elsewhere.iterdir()) == []
    assert not list(folder.glob("scratch-*"))

    (file,) = runs(folder)
    assert file.name == f"run-{run_id_of(of_version(one).document)}.wandb"
    found = list(records(file))
    run = next(each.run for each in found if each.HasField("run"))
    assert (run.run_id, run.display_name, run.run_group) == (
        "signal_classifier-ffffffffffffffffffffffff",
        "signal_classifier@3",
        "signal_classifier",
    )
    assert (run.project, run.job_type, run.host) == ("desk", "model_version", "mlops_assets")
    assert sorted(run.tags) == ["fingerprint:ffffffffffff", "stage:experimental"]
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["metadata"] == one.metadata
    assert (config["training_set_fingerprint"], config["code_version"]) == ("d" * 64, "c" * 64)
    summary = {
        item.key or item.nested_key[0]: json.loads(item.value_json)
        for each in found
        if each.HasField("summary")
        for item in each.summary.update
    }
    assert summary["test_auc"] == 0.53
    (artifact,) = [each.request.log_artifact.artifact for each in found if each.request.HasField("log_artifact")] or [
        each.artifact for each in found if each.HasField("artifact")
    ]
    (entry,) = artifact.manifest.contents
    assert (artifact.name, artifact.type) == ("signal_classifier", "model")
    assert set(artifact.aliases) == {"latest", "version-3"}
    assert json.loads(artifact.metadata)["sha256"] == one.artifact_sha256
    assert (entry.path, Path(entry.local_path).read_bytes()) == ("signal_classifier.lgb", MODEL_BYTES)


def test_delivered_twice_is_written_once_and_a_change_is_the_same_run_again(blobs: BlobStore, tmp_path: Path):
    mine = mirror(blobs, tmp_path / "wandb")
    mine.take([document(version(blobs))], within=WITHIN)
    (file,) = runs(tmp_path / "wandb")
    before = file.stat().st_mtime_ns
    mine.take([document(version(blobs), rev=9)], within=WITHIN)  # the same thing under a later entry of the ledger
    assert [one.stat().st_mtime_ns for one in runs(tmp_path / "wandb")] == [before]
    file.unlink()  # as if the process had been killed before the note was written
    mine.forget()
    mine.take([document(version(blobs, stage="staging"), rev=10)], within=WITHIN)
    (again,) = runs(tmp_path / "wandb")
    assert again.name == file.name
    assert "stage:staging" in next(each.run.tags for each in records(again) if each.HasField("run"))


@pytest.mark.parametrize("accepts", [False, True], ids=["refuses", "never answers"])
def test_online_a_server_that_does_not_answer_is_told_in_time(blobs: BlobStore, tmp_path: Path, accepts: bool):
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        if accepts:
            door.listen()  # and says nothing
        url = f"http://127.0.0.1:{door.getsockname()[1]}"
        mine = mirror(blobs, tmp_path / "wandb", "online", WANDB_BASE_URL=url, WANDB_API_KEY="0" * 40)
        began = time.monotonic()
        with pytest.raises(MirrorUnavailable, match=r"W&B") as caught:
            mine.take([document(version(blobs))], within=timedelta(seconds=2))
        assert time.monotonic() - began < 6
    assert "0" * 40 not in str(caught.value)
    assert not list((tmp_path / "wandb").glob("scratch-*"))
    assert not list((tmp_path / "wandb").glob("written/*/*"))


def test_a_model_file_that_was_swapped_is_never_sent(blobs: BlobStore, tmp_path: Path):
    one = version(blobs)
    blobs.path(one.artifact_sha256).write_bytes(b"another model")
    refused = mirror(blobs, tmp_path / "wandb").take([document(one)], within=WITHIN)
    assert "expected SHA-256" in refused["models/signal_classifier@3"]
    assert runs(tmp_path / "wandb") == []


def test_a_missing_package_is_named_with_what_installs_it(
    blobs: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(wandb_mirror.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"pip install mlops-assets\[wandb\]"):
        mirror(blobs, tmp_path / "wandb").take([document(version(blobs))], within=WITHIN)
