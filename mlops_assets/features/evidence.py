"""Where the evidence for an activation is: read from the stores and the release records."""

from __future__ import annotations

from mlops_assets.features.activation import ActivationEvidence, examine
from mlops_assets.features.registry import FeatureRegistry
from mlops_assets.features.spec import FeatureView
from mlops_assets.features.versions.releases import ReleaseFolder
from mlops_assets.features.versions.serving import archived_among
from mlops_assets.kernel.fingerprint import file_sha256
from mlops_assets.storage.parquet.snapshots import SnapshotStore


def gather(
    view: FeatureView, *, snapshots: SnapshotStore, registry: FeatureRegistry, releases: ReleaseFolder
) -> ActivationEvidence:
    """Collect what is known of the declared version of a view and of the snapshot that readers get.

    Raises:
        IntegrityViolation: if a published file or a release record was changed.
    """
    is_released = view.version in releases.versions(view.name)
    release = releases.get(view.name, view.version) if is_released else None
    head = snapshots.find_head(view.dataset)
    stated = None if head is None else head.details.get("view_version")
    return examine(
        view,
        None if head is None else snapshots.frame(head),
        schema={} if head is None else head.schema,
        snapshot_fingerprint=None if head is None else head.fingerprint,
        snapshot_version=stated if isinstance(stated, str) else None,
        release_fingerprint=None if release is None else release.fingerprint,
        is_as_released=release is None or release.description.source == file_sha256(view.declared_in),
        certificate=None if head is None else registry.certificate_of(view.name, head.fingerprint),
        archived=archived_among(view.upstream_views, registry),
    )
