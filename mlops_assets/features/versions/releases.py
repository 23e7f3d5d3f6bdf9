"""Which versions of a view are released, and what each of them promised: immutable records kept in the repository.

`released/<view>/<version>/` holds `release.json`, the exact source `view.py` and values on the reference sample. Each
record names the fingerprint of the one before it, so a record that was changed later shows. `retired_v<major>.json`
beside them says why a major version is no longer served.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import polars as pl

from mlops_assets.features.spec import FeatureView
from mlops_assets.features.versions.reference_sample import golden, kept_rows, reference_bars
from mlops_assets.features.versions.release_history import Committed, first_committed, rewritten
from mlops_assets.features.versions.schema_diff import ColumnDescription, Golden, Total, ViewDescription
from mlops_assets.kernel.errors import Conflict, IntegrityViolation, InvalidDeclaration, NotFound, UnknownReference
from mlops_assets.kernel.fingerprint import Json, bytes_sha256, file_sha256, fingerprint
from mlops_assets.kernel.python_file import object_in
from mlops_assets.kernel.semantic_version import is_version, parse_version

if TYPE_CHECKING:
    import pyarrow as pa

RECORD, SOURCE, VALUES = "release.json", "view.py", "values.parquet"
SAMPLE = "_reference_bars.parquet"
_FORMAT = 1
_RESTORE = "A released record never changes: restore the file from Git."


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One released version of a view.

    `files` are the SHA-256 of what lies beside the record, `sample` that of the reference bars; `previous` is the
    fingerprint of the release before it, None for the first.
    """

    description: ViewDescription
    totals: Mapping[str, Total]
    files: Mapping[str, str]
    sample: str
    previous: str | None
    folder: Path

    @property
    def view(self) -> str:
        return self.description.name

    @property
    def version(self) -> str:
        return self.description.version

    @property
    def major(self) -> int:
        return parse_version(self.version).major

    @property
    def source(self) -> Path:
        return self.folder / SOURCE

    @property
    def content(self) -> dict[str, Json]:
        described = asdict(self.description)
        return {
            "format": _FORMAT,
            "view": described.pop("name"),
            "version": described.pop("version"),
            **cast("dict[str, Json]", described),
            "transformation": self.description.transformation,
            "totals": {name: asdict(total) for name, total in self.totals.items()},
            "files": dict(self.files),
            "reference_sample": self.sample,
            "previous": self.previous,
        }

    @property
    def fingerprint(self) -> str:
        """Identity of the release: everything its record says, which names the hash of every file and of the past."""
        return fingerprint(self.content)

    def declared(self) -> FeatureView:
        """Return the view as its source declared it.

        Raises:
            InvalidDeclaration: if the source no longer runs, because something it used is gone.
        """
        try:
            return object_in(self.source, "VIEW", FeatureView)
        except (InvalidDeclaration, UnknownReference) as error:
            raise InvalidDeclaration(
                file=self.source,
                field="(the file)",
                problem=f"the released source no longer runs: {str(error).rstrip('.')}",
                remedy=f"Restore what it uses, or retire it with `mlops features retire {self.view} {self.major}`.",
            ) from error

    @property
    def can_run(self) -> bool:
        """Whether its source still runs."""
        try:
            self.declared()
        except InvalidDeclaration:
            return False
        return True

    def golden(self) -> Golden:
        """Return the values that this version promised on the reference sample."""
        return Golden(rows=pl.read_parquet(self.folder / VALUES), totals=self.totals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """Why and when a major version stopped being served."""

    view: str
    major: int
    reason: str
    retired_at: str
    retired_by: str


class ReleaseFolder:
    """The released versions below one folder of a catalogue."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def bars(self) -> pl.DataFrame:
        """The reference sample, one row for each symbol and date.

        Raises:
            NotFound: if the catalogue has none, because nothing was released in it.
        """
        if not self._sample.is_file():
            remedy = "Restore it from Git; `mlops features release` makes it in a catalogue without any release."
            raise NotFound(kind="reference sample", name=str(self._sample), remedy=remedy)
        return pl.read_parquet(self._sample)

    @property
    def views(self) -> list[str]:
        """The names of views with a released version, sorted."""
        return sorted({path.parent.parent.name for path in self.folder.glob(f"*/*/{RECORD}")})

    def versions(self, view: str) -> list[str]:
        """Return the released versions of a view, lowest first."""
        found = (path.name for path in (self.folder / view).glob("*/") if is_version(path.name))
        return sorted(found, key=parse_version)

    def latest(self, view: str, major: int | None = None) -> Release | None:
        """Return the highest released version of a view, of one major version if asked, proven whole."""
        found = [one for one in self.versions(view) if major is None or parse_version(one).major == major]
        return self.get(view, found[-1]) if found else None

    def get(self, view: str, version: str) -> Release:
        """Return one release, its files checked against their hashes.

        Raises:
            NotFound: if that version is not released.
            IntegrityViolation: naming the file that is not what was released.
        """
        folder = self.folder / view / version
        if not folder.is_dir():
            known = ", ".join(self.versions(view)) or "none"
            raise NotFound(kind="release", name=f"{view} {version}", remedy=f"Released versions: {known}.")
        release = _read(folder)
        if (release.view, release.version) != (view, version):
            raise _tampered(folder / RECORD, f"{view} {version}", f"{release.view} {release.version}")
        for name, sha256 in release.files.items():
            found = file_sha256(folder / name) if (folder / name).is_file() else "no file"
            if found != sha256:
                raise _tampered(folder / name, sha256, found)
        if unknown := sorted({path.name for path in folder.iterdir() if path.is_file()} - {RECORD, *release.files}):
            raise _tampered(folder / unknown[0], "no such file", "a file that was not released")
        if self._sample_sha256 != release.sample:
            raise _tampered(self._sample, release.sample, self._sample_sha256)
        return release

    def verify(self, view: str) -> list[Release]:
        """Return every release of a view, lowest first, each proven whole, linked to the one before and as committed.

        Raises:
            IntegrityViolation: naming the first file that is not what was released.
            RecordRewritten: naming the first file that is not what was committed, where there is a history to ask.
        """
        previous, found = None, list[Release]()
        for version in self.versions(view):
            release = self.get(view, version)
            if release.previous != previous:
                what = f"{release.folder / RECORD} (the fingerprint of the release before it)"
                raise IntegrityViolation(
                    what=what, expected=str(release.previous), found=str(previous), remedy=_RESTORE
                )
            previous = release.fingerprint
            found.append(release)
        if (changed := rewritten(self.folder, view, self._committed)) is not None:
            raise changed
        return found

    def write(self, view: FeatureView, views: Mapping[str, FeatureView]) -> Release:
        """Record the declared version of a view as released; `views` are those it may read, by name.

        Whether the version may be released is for the caller to decide.

        Raises:
            Conflict: if that version is released already: a release never changes.
        """
        folder = self.folder / view.name / view.version
        if folder.exists():
            raise Conflict(
                f"feature view {view.name} {view.version} is released already in {folder}, and a release never "
                f"changes. Raise the version in {view.declared_in}."
            )
        before = self.latest(view.name)
        self._make_sample()
        values = golden(view, views, self.bars)
        source = view.declared_in.read_bytes()
        incoming = folder.with_name(f".{view.version}.incoming")
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir(parents=True)
        (incoming / SOURCE).write_bytes(source)
        _write_parquet(kept_rows(values.rows, self.bars), incoming / VALUES)
        release = Release(
            description=describe(view, views),
            totals=values.totals,
            files={name: file_sha256(incoming / name) for name in (SOURCE, VALUES)},
            sample=self._sample_sha256,
            previous=None if before is None else before.fingerprint,
            folder=folder,
        )
        (incoming / RECORD).write_text(_written(release), encoding="utf-8")
        incoming.rename(folder)
        return release

    def retired(self, view: str) -> dict[int, Retirement]:
        """Return the major versions of a view that are no longer served."""
        return {one.major: one for one in map(_retirement, self.folder.glob(f"{view}/retired_v*.json"))}

    def retire(self, view: str, major: int, *, reason: str, at: datetime, by: str) -> Retirement:
        """Stop serving a major version of a view. Whether somebody still reads it is for the caller to decide.

        Raises:
            NotFound: if no version of that major is released.
            Conflict: if it is retired already, or nobody says why.
        """
        if self.latest(view, major) is None:
            known = ", ".join(self.versions(view)) or "none"
            raise NotFound(kind="release", name=f"{view} {major}.x", remedy=f"Released versions: {known}.")
        if (found := self.retired(view).get(major)) is not None:
            raise Conflict(f"{view} {major}.x is retired already, since {found.retired_at}: {found.reason}")
        if not reason.strip():
            raise Conflict(f"{view} {major}.x: say why it is retired; nothing was changed.")
        retirement = Retirement(view=view, major=major, reason=reason, retired_at=at.isoformat(), retired_by=by)
        path = self.folder / view / f"retired_v{major}.json"
        path.write_text(json.dumps(asdict(retirement), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return retirement

    @cached_property
    def _committed(self) -> Mapping[str, Committed]:
        return first_committed(self.folder)

    @property
    def _sample(self) -> Path:
        return self.folder / SAMPLE

    @property
    def _sample_sha256(self) -> str:
        return file_sha256(self._sample) if self._sample.is_file() else "no file"

    def _make_sample(self) -> None:
        if not self._sample.is_file() and not self.views:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write_parquet(reference_bars(), self._sample)


def describe(view: FeatureView, views: Mapping[str, FeatureView]) -> ViewDescription:
    """Describe a declaration; `views` are those it may read, by name."""
    versions = {name: views[name].version for name in view.upstream_views}
    return ViewDescription.of(view, versions, file_sha256(view.declared_in))


def served_name(view: str, major: int) -> str:
    """Return the name under which an older major version of a view is served."""
    return f"{view}_v{major}"


def is_older_major(view: FeatureView) -> bool:
    """Tell whether this is an older major version, served beside the declared one."""
    return view.name.endswith(f"_v{view.major}")


def reading_pinned(view: FeatureView, upstream: Mapping[str, str]) -> FeatureView:
    """Return a view whose expressions read `upstream[name]` wherever they read the view `name`.

    Raises:
        InvalidDeclaration: if an expression can't be turned.
    """
    if not upstream:
        return view
    columns = []
    for column in view.columns:
        written = column.expr.meta.serialize(format="json")
        for one in column.upstream:
            if one.view in upstream:
                written = written.replace(f'"Column":"{one}"', f'"Column":"{upstream[one.view]}.{one.column}"')
        columns.append(replace(column, expr=pl.Expr.deserialize(written.encode(), format="json")))
    pointed = replace(view, columns=tuple(columns))
    if left := sorted(set(pointed.upstream_views) & upstream.keys()):
        raise InvalidDeclaration(
            file=view.declared_in,
            field="columns",
            problem=f"it reads {', '.join(left)} in a way that can't be turned to an older major version",
            remedy="Retire this version with `mlops features retire`.",
        )
    return pointed


def _read(folder: Path) -> Release:
    path = folder / RECORD
    if not path.is_file():
        raise _tampered(path, "a record", "no file")
    try:
        text = path.read_text(encoding="utf-8")
        release = _parsed(json.loads(text), folder)
        written = _written(release)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _tampered(path, "a record of a release", f"{type(error).__name__}: {error}") from error
    if written != text:
        raise _tampered(path, bytes_sha256(written.encode()), bytes_sha256(text.encode()))
    return release


def _parsed(content: Mapping[str, Any], folder: Path) -> Release:
    described: dict[str, Any] = {name: content[name] for name in ViewDescription.__dataclass_fields__ if name != "name"}
    described["columns"] = tuple(_column(one) for one in content["columns"])
    described |= {name: tuple(content[name]) for name in ("tags", "keys")}
    return Release(
        description=ViewDescription(name=content["view"], **described),
        totals={name: Total(**one) for name, one in content["totals"].items()},
        files=content["files"],
        sample=content["reference_sample"],
        previous=content["previous"],
        folder=folder,
    )


def _retirement(path: Path) -> Retirement:
    try:
        return Retirement(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InvalidDeclaration(
            file=path,
            field="(the whole file)",
            problem=f"{type(error).__name__}: {error}",
            remedy="Restore it from Git, or remove it to serve the version again.",
        ) from error


def _column(content: Mapping[str, Any]) -> ColumnDescription:
    return ColumnDescription(**{**content, "inputs": tuple(content["inputs"])})


def _written(release: Release) -> str:
    """Return the record's text: the content, readable, and its fingerprint at the end."""
    content = {**release.content, "fingerprint": release.fingerprint}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _tampered(path: Path, expected: str, found: str) -> IntegrityViolation:
    return IntegrityViolation(what=str(path), expected=expected, found=found, remedy=_RESTORE)


def _write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """Write a file whose bytes depend on the rows alone."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table: pa.Table = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).replace_schema_metadata(None)
    floats = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in table.column_names if name not in floats],  # pyright: ignore[reportArgumentType]
        column_encoding=dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
        coerce_timestamps="us",
        store_schema=False,
    )
