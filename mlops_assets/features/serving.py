"""Which version of a view its asset computes, and when that version is fixed for ever: read from the stores."""

from __future__ import annotations

from collections.abc import Mapping

from mlops_assets.features.registry import FeatureRegistry
from mlops_assets.features.releases import ReleaseFolder, is_older_major
from mlops_assets.features.rollback import effective_view, version_to_compute
from mlops_assets.features.spec import FeatureView
from mlops_assets.features.view_status import ReleaseChanged
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
    """
    if is_older_major(view) or view.version not in releases.versions(view.name):
        return
    release = releases.get(view.name, view.version)
    found = file_sha256(view.declared_in)
    if found != release.description.source:
        raise ReleaseChanged(view=view.name, version=view.version, registered=release.description.source, found=found)
    # A registered version is computed only while it is active: one that waits for its activation must not be yet.
    if registry.state(view.name).active_version in (None, view.version):
        registry.register_release(view.name, view.version, release.fingerprint, actor=actor)
