"""Which released version a view is computed by, and how an older one takes over again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from mlops_assets.features.spec import FeatureView
from mlops_assets.features.versions.releases import Release, ReleaseFolder, is_older_major, reading_pinned, served_name
from mlops_assets.features.versions.schema_diff import pinned
from mlops_assets.kernel.errors import Conflict, InvalidDeclaration
from mlops_assets.kernel.semantic_version import parse_version


class ActiveVersions(Protocol):
    """Where the version that readers get is kept, each move with its ledger entry."""

    def register_release(self, view: str, version: str, release_fingerprint: str, *, actor: str) -> None: ...

    def set_active(self, view: str, version: str, *, actor: str, reason: str) -> object: ...


class ColumnsStillRead(Conflict):
    """The version asked for lacks columns that something reads."""

    code = "columns_still_read"

    def __init__(self, *, view: str, version: str, missing: Mapping[str, Sequence[str]]) -> None:
        self.missing = missing
        listed = "; ".join(f"{column} (read by {', '.join(who)})" for column, who in missing.items())
        super().__init__(
            f"{view} {version} lacks {listed}. Nothing was changed. Let them read other columns first, or choose a "
            "version that has these."
        )


def rollback(
    view: FeatureView,
    to: str,
    *,
    releases: ReleaseFolder,
    active: ActiveVersions,
    readers: Mapping[str, Sequence[str]],
    views: Mapping[str, FeatureView],
    actor: str,
    reason: str,
) -> FeatureView:
    """Serve a released version of a view again, and return the view as it is computed from now on.

    Args:
        readers: by column, who reads it from this view.
        views: every view that may be read, by name.

    Raises:
        NotFound: if that version is not released.
        ColumnsStillRead: naming the columns it lacks and who reads them.
        Conflict: without a reason, while the declared version is a draft, or if that major version is retired.
        IntegrityViolation: if its record is not what was released.
    """
    release = releases.get(view.name, to)
    has = release.description.column_names
    if missing := {column: who for column, who in readers.items() if who and column not in has}:
        raise ColumnsStillRead(view=view.name, version=to, missing=missing)
    if not reason.strip():
        raise Conflict(f"{view.name}: say why it goes back to {to}; nothing was changed.")
    if (retirement := releases.retired(view.name).get(release.major)) is not None:
        raise Conflict(
            f"{view.name} {release.major}.x is retired since {retirement.retired_at}: {retirement.reason}. Nothing was "
            f"changed. Remove {releases.folder / view.name / f'retired_v{release.major}.json'} to serve it again."
        )
    if view.version not in releases.versions(view.name):
        raise Conflict(
            f"{view.name} {view.version} in {view.declared_in} is not released, and a draft is computed whichever "
            f"version is active. Nothing was changed. Restore the file of {to}, or run "
            f"`mlops features release {view.name}` first."
        )
    serving = effective_view(view, to, releases.folder, views)
    # The declared version is registered too: a registered version is computed only while it is the active one.
    for version in {to, view.version}:
        active.register_release(view.name, version, releases.get(view.name, version).fingerprint, actor=actor)
    active.set_active(view.name, to, actor=actor, reason=reason)
    return serving


def version_to_compute(declared: str, active: str | None, registered: Collection[str]) -> str:
    """Return the version whose source the view's asset runs.

    A declared version that was never registered is new, and computed so that it can be looked at and activated; a
    registered one is computed only while it is the active one.
    """
    return declared if active is None or declared not in registered else active


def effective_view(
    view: FeatureView,
    active_version: str | None,
    released_folder: Path | None = None,
    views: Mapping[str, FeatureView] | None = None,
) -> FeatureView:
    """Return the view whose expressions are to be computed: as declared, or as another version was released.

    Args:
        active_version: the version to compute, see `version_to_compute`; None is the declared one.
        released_folder: where the releases are; beside the declaration if not said.
        views: every view that may be read, by name; needed where the old source reads another view.

    Raises:
        NotFound: if that version is not released.
        IntegrityViolation: if its record is not what was released.
    """
    if active_version in (None, view.version) or is_older_major(view):
        return view
    folder = released_folder or view.declared_in.parent / "released"
    release = ReleaseFolder(folder).get(view.name, active_version)
    return released_view(release, view.name, views or {})


def older_majors(view: FeatureView, releases: ReleaseFolder) -> list[Release]:
    """Return the latest release of every major version below the declared one that is not retired, lowest first."""
    retired = releases.retired(view.name)
    majors = {parse_version(version).major for version in releases.versions(view.name)}
    served = sorted(major for major in majors if major < view.major and major not in retired)
    return [release for major in served if (release := releases.latest(view.name, major)) is not None]


def released_view(release: Release, name: str, views: Mapping[str, FeatureView]) -> FeatureView:
    """Return the view of a release under a name; it reads other views at the major version it was released with.

    Raises:
        InvalidDeclaration: if such a version is no longer served, or the source no longer runs.
    """
    declared = replace(release.declared(), name=name, declared_in=release.source)
    renamed = dict[str, str]()
    for upstream, version in release.description.upstream.items():
        major = parse_version(version).major
        candidates = (upstream, served_name(pinned(upstream)[0], major))
        found = next((one for one in candidates if one in views and views[one].major == major), None)
        if found is None:
            raise InvalidDeclaration(
                file=release.source,
                field="columns",
                problem=f"it was released on {upstream} {version}, and {upstream} {major}.x is no longer served",
                remedy=f"Retire it too (`mlops features retire {release.view} {release.major}`), or serve "
                f"{upstream} {major}.x again by removing its retired_v{major}.json.",
            )
        if found != upstream:
            renamed[upstream] = found
    return reading_pinned(declared, renamed)
