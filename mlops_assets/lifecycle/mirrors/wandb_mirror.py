"""A copy of every model version in Weights & Biases: one run each, with the model file as its artifact.

W&B's client runs in a process of its own. It starts a service, keeps threads and, online, waits for a network as long
as it takes; a process can be ended in time and takes all of that with it. The id of a run comes from the version's
fingerprint, so writing twice writes the same run; what was written is noted beside the runs and not written again.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from mlops_assets.kernel.errors import IntegrityViolation, NotFound
from mlops_assets.kernel.fingerprint import bytes_sha256
from mlops_assets.lifecycle.mirrors.documents import MODELS
from mlops_assets.storage.blobs import BlobStore
from mlops_assets.storage.files import publish_file, temporary_text
from mlops_assets.storage.mirror.target import MirrorDocument, MirrorUnavailable, MissingExtra, Refused

Mode = Literal["offline", "online"]

_UPLOAD = "mlops_assets.lifecycle.mirrors.wandb_upload"
_NOT_SUMMARY = ("metrics", "artifact_path")
_THEIRS = ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_CONFIG_DIR")
"""What of W&B's own environment counts online: who we are there, and where that is."""


class WandbMirror:
    """The mirror that `MLOPS_WANDB_MODE` switches on. Offline it writes files for `wandb sync`, without a network."""

    kinds = frozenset({MODELS})
    at_once = 1

    def __init__(
        self, mode: Mode, *, project: str, folder: Path, blobs: BlobStore, environment: Mapping[str, str]
    ) -> None:
        self.name = f"wandb-{mode}"
        self._mode, self._project, self._folder, self._blobs = mode, project, folder, blobs
        self._environment = environment

    def take(self, documents: Sequence[MirrorDocument], *, within: timedelta) -> Refused:
        """Write the runs of versions that were not written yet.

        Raises:
            MirrorUnavailable: if W&B's client fails, or needs more time than `within`.
        """
        if importlib.util.find_spec("wandb") is None:
            raise MissingExtra(package="wandb", extra="wandb", setting="MLOPS_WANDB_MODE")
        refused: dict[str, str] = {}
        for one in documents:
            run_id, content = run_id_of(one.content), bytes_sha256(json.dumps(one.content, sort_keys=True).encode())
            if self._written(run_id) == content:
                continue
            try:
                self._blobs.get(one.content["artifact_sha256"])
            except (NotFound, IntegrityViolation) as damage:
                refused[one.key] = str(damage)
                continue
            self._remove_runs(run_id)
            self._upload(self._request(run_id, one.content, within), within)
            if self._mode == "online":
                self._remove_runs(run_id)
            with temporary_text(self._notes, content, mode=0o644) as temporary:
                publish_file(temporary, self._note(run_id))
        return refused

    def forget(self) -> None:
        """Drop the notes of what was written."""
        shutil.rmtree(self._notes, ignore_errors=True)

    def _request(self, run_id: str, content: Mapping[str, Any], within: timedelta) -> dict[str, Any]:
        model, version, sha256 = content["model_name"], content["version"], content["artifact_sha256"]
        extension = str(content["metadata"].get("artifact_format", "model"))
        return {
            "mode": self._mode,
            "project": self._project,
            "folder": str(self._folder),
            "seconds": max(within.total_seconds() - 1, 1.0),
            "id": run_id,
            "name": f"{model}@{version}",
            "group": model,
            "tags": [f"stage:{content['stage']}", f"fingerprint:{content['fingerprint'][:12]}"],
            "config": {name: value for name, value in content.items() if name not in _NOT_SUMMARY},
            "summary": content["metrics"],
            "artifact": {
                "path": str(self._blobs.path(sha256).resolve()),
                "name": f"{model}.{extension}",
                "alias": f"version-{version}",
                "metadata": {"sha256": sha256, "version": version, "fingerprint": content["fingerprint"]},
            },
        }

    def _upload(self, request: Mapping[str, Any], within: timedelta) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="scratch-", dir=self._folder) as scratch:
            process = subprocess.Popen(  # noqa: S603 - our own module, by this interpreter
                [sys.executable, "-m", _UPLOAD],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env=self._wandb_environment(scratch),
                start_new_session=True,
            )
            try:
                _, said = process.communicate(json.dumps(request), timeout=within.total_seconds())
            except subprocess.TimeoutExpired:
                raise MirrorUnavailable(
                    f"W&B took longer than {within.total_seconds():.0f} s; its server may be out of reach. "
                    "`mlops mirrors deliver` gives it two minutes."
                ) from None
            finally:
                _end(process)
        if process.returncode != 0:
            lines = said.strip().splitlines() or [f"its client ended with {process.returncode}"]
            raise MirrorUnavailable(f"W&B: {lines[-1]}")

    def _wandb_environment(self, scratch: str) -> dict[str, str]:
        """Keep the client's files in its folder, and what happens to be set for other programs out of it."""
        theirs = _THEIRS if self._mode == "online" else ()
        ours = {name: value for name, value in self._environment.items() if not name.startswith("WANDB_")}
        return {
            **ours,
            **{f"WANDB_{name}_DIR": scratch for name in ("CACHE", "DATA", "CONFIG")},
            **{name: self._environment[name] for name in theirs if name in self._environment},
            "WANDB_DIR": str(self._folder),
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_SILENT": "true",
        }

    def _remove_runs(self, run_id: str) -> None:
        """Remove what an earlier attempt left of a run: there is one folder for each, and it is whole."""
        of_run = re.compile(rf"(offline-)?run-\d{{8}}_\d{{6}}-{re.escape(run_id)}")
        for folder in (self._folder / "wandb").glob(f"*run-*-{run_id}"):
            if of_run.fullmatch(folder.name):
                shutil.rmtree(folder)

    @property
    def _notes(self) -> Path:
        return self._folder / "written" / self._mode

    def _note(self, run_id: str) -> Path:
        return self._notes / run_id

    def _written(self, run_id: str) -> str | None:
        note = self._note(run_id)
        return note.read_text(encoding="ascii") if note.is_file() else None


def run_id_of(content: Mapping[str, Any]) -> str:
    """Return the id of a version's run: the same version is the same run."""
    return f"{content['model_name']}-{content['fingerprint'][:24]}"


def _end(process: subprocess.Popen[str]) -> None:
    """End the process and the service that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
