"""Which version of a view its asset computes, and when that version is fixed for ever: read from the stores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mlops_assets.features.registry import FeatureRegistry
from mlops_assets.features.spec import FeatureView, TrainingSet
from mlops_assets.features.versions.releases import Release, ReleaseFolder, is_older_major
from mlops_assets.features.versions.rollback import effective_view, version_to_compute
from mlops_assets.features.versions.schema_diff import pinned
from mlops_assets.features.view_status import ReleaseChanged, ReleaseGone, ViewStatus
from mlops_assets.kernel.errors import Conflict, PlatformError
from mlops_assets.kernel.fingerprint import file_sha256


def view_to_compute(
    view: FeatureView, views: Mapping[str, FeatureView], *, registry: FeatureRegistry, releases: ReleaseFolder
) -> FeatureView:
    """Return a view as its asset computes it: as declared, or the version that was gone back to.

    Raises:
        NotFound: if that version is not released.
        IntegrityViolation: if its record is not what was released.
    """
    if is_older_major(view):
        return view
    registered = {one.version for one in registry.releases(view.name)}
    version = version_to_compute(view.version, registry.state(view.name).active_version, registered)
    return effective_view(view, version, releases.folder, views)


def fix_release(view: FeatureView, *, registry: FeatureRegistry, releases: ReleaseFolder, actor: str) -> None:
    """Register the released version that is about to be published; a version that is not released is left alone.

    One that waits while another is active is registered by its activation.

    Raises:
        ReleaseChanged: if the view's file is not what was released under its version, or that release is not the one
            this installation registered before.
        ReleaseGone: if the version is registered here and its record is in the catalogue no more.
    """
    release = _as_registered(view, registry=registry, releases=releases)
    # A registered version is computed only while it is active: one that waits for its activation must not be yet.
    if release is not None and registry.state(view.name).active_version in (None, view.version):
        registry.register_release(view.name, view.version, release.fingerprint, actor=actor)


def problem_of_release(view: FeatureView, *, registry: FeatureRegistry, releases: ReleaseFolder) -> str:
    """Say why the declared version of a view is not what was released and registered; nothing if it is, or is new."""
    try:
        _as_registered(view, registry=registry, releases=releases)
    except PlatformError as error:
        return str(error)
    return ""


def archived_among(names: Iterable[str], registry: FeatureRegistry) -> list[str]:
    """Return those of some views, or older major versions of views, that are archived."""
    states = registry.states()
    gone = {name for name, state in states.items() if state.status is ViewStatus.ARCHIVED}
    return [name for name in names if pinned(name)[0] in gone]


def refuse_archived(spec: TrainingSet, registry: FeatureRegistry) -> None:
    """Let no training set read a view that was put away.

    Raises:
        Conflict: naming the archived views it reads.
    """
    if gone := archived_among(spec.views, registry):
        raise Conflict(
            f"training set {spec.name} in {spec.declared_in} reads {', '.join(gone)}, archived for good. Nothing was "
            "published. Let it read another view; `mlops features list` shows them."
        )


def _as_registered(view: FeatureView, *, registry: FeatureRegistry, releases: ReleaseFolder) -> Release | None:
    """Return the release of the declared version, or None if it has none and never had one here."""
    if is_older_major(view):
        return None
    registered = registry.release_fingerprint(view.name, view.version)
    if view.version not in releases.versions(view.name):
        if registered is not None:
            raise ReleaseGone(view=view.name, version=view.version, registered=registered, folder=releases.folder)
        return None
    release = releases.get(view.name, view.version)
    found = file_sha256(view.declared_in)
    if found != release.description.source:
        raise ReleaseChanged(view=view.name, version=view.version, registered=release.description.source, found=found)
    if registered not in (None, release.fingerprint):
        raise ReleaseChanged(view=view.name, version=view.version, registered=registered, found=release.fingerprint)
    return release
