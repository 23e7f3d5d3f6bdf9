"""Which files of a dossier belong to a thing: its row, and the bytes that the stores keep of it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pydantic_core import to_jsonable_python

from mlops_assets.dossier.subject import SubjectKind
from mlops_assets.dossier.things import Thing, ThingKind
from mlops_assets.dossier.trace import Traced
from mlops_assets.kernel.errors import NotFound
from mlops_assets.lifecycle.artifact import format_of
from mlops_assets.lifecycle.kinds.kind import Format
from mlops_assets.storage.blobs import BlobStore
from mlops_assets.storage.parquet.snapshots import SnapshotStore

_GIVEN_IN_FULL = ("drift/", "prompts/", "prompt_outputs/")
"""Datasets whose rows an auditor reads: limits and distances, sources, answers. They are small."""


def json_bytes(value: object) -> bytes:
    """Write a value for people and programs: sorted, indented, instants in ISO 8601, undefined numbers as null."""
    plain = to_jsonable_python(value, inf_nan_mode="null")
    return json.dumps(plain, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"


def folder_of(thing: Thing, traced: Traced) -> str:
    """Return the folder of a thing in the archive: what the dossier is about lies in `subject`."""
    if thing not in traced.own:
        return thing.path
    return "subject" if len(traced.own) == 1 else thing.path.replace("related/", "subject/", 1)


class Contents:
    """Reads what the stores keep; everything is checked against its hash on the way."""

    def __init__(self, blobs: BlobStore, snapshots: SnapshotStore) -> None:
        self._blobs, self._snapshots = blobs, snapshots

    def files(self, traced: Traced) -> dict[str, bytes]:
        """Return the files of every thing by path.

        Raises:
            NotFound: if bytes that a row names are gone.
            IntegrityViolation: if they are not those that were kept.
        """
        found, verified = dict[str, bytes](), set[str]()
        for thing in traced.things.values():
            folder = folder_of(thing, traced)
            found |= {f"{folder}/{name}": content for name, content in self._of(thing, verified)}
        if traced.subject.kind is SubjectKind.MODEL:
            found["subject/checklists.json"] = json_bytes(_checklists(traced))
            found["subject/drift_limits.json"] = json_bytes(self._limits(traced))
        return found

    def _of(self, thing: Thing, verified: set[str]) -> Iterator[tuple[str, bytes]]:
        yield ("manifest.json" if thing.kind is ThingKind.SNAPSHOT else "row.json"), json_bytes(thing.row)
        match thing.kind:
            case ThingKind.MODEL:
                yield Format(format_of(thing.row["metadata"])).file_name, self._blob(thing, "artifact_sha256")
                yield "metadata.json", json_bytes(thing.row["metadata"])
                yield "metrics.json", json_bytes(thing.row["metrics"])
            case ThingKind.REPORT:
                yield "record.json", self._blob(thing, "sha256")
                yield "report.html", self._blob(thing, "html_sha256")
            case ThingKind.EVALUATION:
                yield "evaluation.json", self._kept(thing, str(thing.row["findings"]["evaluation_sha256"]))
            case ThingKind.SNAPSHOT:
                yield from self._of_snapshot(thing, verified)
            case _:
                pass

    def _of_snapshot(self, thing: Thing, verified: set[str]) -> Iterator[tuple[str, bytes]]:
        """Verify the files of a snapshot, which stay where they are, and give the rows of those that people read.

        Versions share files: those in `verified` were looked at.
        """
        published = self._snapshots.get(thing.row["dataset"], thing.row["version"])
        for file in published.files:
            if file.path not in verified:
                self._snapshots.verified_path(published, file)
                verified.add(file.path)
        if not published.dataset.startswith(_GIVEN_IN_FULL):
            return
        rows = self._snapshots.read(published).to_pylist()
        yield "rows.json", json_bytes(rows)
        for row in rows if published.dataset.startswith("prompts/") else ():
            yield f"source-{row['content_sha256'][:12]}.md", self._kept(thing, row["content_sha256"])

    def _limits(self, traced: Traced) -> dict[str, object]:
        """Return the limits of each drift dataset as they are now."""
        drift = [one for one in traced.of(ThingKind.SNAPSHOT) if one.row["dataset"].startswith("drift/")]
        latest = {one.row["dataset"]: one for one in sorted(drift, key=lambda one: one.row["version"])}
        columns = ["feature", "statistic", "threshold"]
        return {
            dataset: {
                "snapshot": one.id,
                "limits": self._snapshots.read(
                    self._snapshots.get(dataset, one.row["version"]),
                    [name for name in columns if name in one.row["schema"]],
                ).to_pylist(),
            }
            for dataset, one in sorted(latest.items())
        }

    def _blob(self, thing: Thing, column: str) -> bytes:
        return self._kept(thing, thing.row[column])

    def _kept(self, thing: Thing, sha256: str) -> bytes:
        try:
            return self._blobs.get(sha256)
        except NotFound as error:
            raise NotFound(
                kind=f"blob of {thing.id}",
                name=sha256,
                remedy=f"Restore {self._blobs.path(sha256)} from a backup, or materialise what made it; "
                "no dossier was written.",
            ) from error


def _checklists(traced: Traced) -> list[dict[str, object]]:
    return [
        {name: one.row[name] for name in ("id", "environment", "state", "evidence_fingerprint", "checklist")}
        for one in traced.of(ThingKind.DEPLOYMENT)
    ]
