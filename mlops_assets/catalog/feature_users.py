"""Who uses a feature view: other views, training sets, registered model versions and where they are deployed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlops_assets.catalog.catalogue import Catalogue
from mlops_assets.catalog.feature_facts import declared_name
from mlops_assets.evaluation.explain import importances
from mlops_assets.features.spec import FeatureReference
from mlops_assets.lifecycle.deployment.record import Deployment
from mlops_assets.lifecycle.deployment.states import FINAL, State
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.storage.parquet.snapshots import Snapshot, SnapshotStore

NO_LONGER = frozenset({*FINAL, State.SUPERSEDED})


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A model, one of its registered versions (None: not trained yet), and what it takes from a view.

    `importance` is each column's share of mean |SHAP| where this version was explained; `deployments` are environment
    and state of each request that has not ended.
    """

    model: str
    version: int | None
    training_set: str
    columns: tuple[str, ...]
    importance: Mapping[str, float]
    deployments: tuple[str, ...]


def users_of(
    view: str,
    catalogue: Catalogue,
    *,
    versions: Sequence[ModelVersion],
    deployments: Sequence[Deployment],
    snapshots: SnapshotStore,
) -> list[User]:
    """Return the models that read a view: of each its newest registered version, and every one that is deployed."""
    found = list[User]()
    for version in _that_matter(versions, deployments):
        columns = tuple(one.column for one in read_by(version, catalogue, snapshots) if one.view == view)
        if columns:
            found.append(
                User(
                    model=version.model,
                    version=version.version,
                    training_set=str(version.metadata.get("training_set", "")),
                    columns=columns,
                    importance=_importance(version, columns, snapshots),
                    deployments=tuple(_deployed(version, deployments)),
                )
            )
    registered = {version.model for version in versions}
    for model in catalogue.models.values():
        columns = tuple(one.column for one in model.training_set.features if one.view == view)
        if columns and model.name not in registered:
            found.append(
                User(
                    model=model.name,
                    version=None,
                    training_set=model.training_set.dataset,
                    columns=columns,
                    importance={},
                    deployments=(),
                )
            )
    return sorted(found, key=lambda user: (user.model, user.version or 0))


def readers_of(
    view: str,
    catalogue: Catalogue,
    *,
    archived: Collection[str],
    versions: Sequence[ModelVersion],
    deployments: Sequence[Deployment],
    snapshots: SnapshotStore,
) -> list[str]:
    """Name everything that an archived view would leave behind: views, training sets, models and deployments.

    What reads an older major version of the view would be left behind too.
    """
    views = catalogue.feature_views.values()
    names = {view, *(one.name for one in views if declared_name(one) == view)}
    declared = [
        *(
            f"feature view {one.name}"
            for one in views
            if names & set(one.upstream_views) and declared_name(one) not in {view, *archived}
        ),
        *(
            name
            for model in catalogue.models.values()
            if names & set(model.training_set.views)
            for name in (f"training set {model.training_set.name}", f"model {model.name}")
        ),
    ]
    by_id = {(version.model, version.version): version for version in versions}
    for one in deployments:
        version = by_id.get((one.model, one.model_version))
        read = () if version is None or one.state in NO_LONGER else read_by(version, catalogue, snapshots)
        if names & {reference.view for reference in read}:
            declared.append(f"deployment {one.id[:12]} ({one.model}@{one.model_version} in {one.environment})")
    return declared


def read_by(version: ModelVersion, catalogue: Catalogue, snapshots: SnapshotStore) -> tuple[FeatureReference, ...]:
    """Return the columns that a registered version was trained on.

    The training set's snapshot says from which views they came; where it does not, the model's declaration does, and
    what no longer stands in it counts for every view that has such a column.
    """
    named = _named_by_snapshot(version, snapshots)
    if named:
        return named
    model = catalogue.models.get(version.model)
    declared = {} if model is None else {one.column: one for one in model.training_set.features}
    return tuple(
        reference
        for name in version.metadata.get("features", ())
        for reference in ([declared[name]] if name in declared else _anywhere(name, catalogue))
    )


def _named_by_snapshot(version: ModelVersion, snapshots: SnapshotStore) -> tuple[FeatureReference, ...]:
    dataset = str(version.metadata.get("training_set", ""))
    for published in reversed(snapshots.history(dataset)):
        if published.fingerprint == version.training_set_fingerprint:
            features = published.details.get("features")
            names = features if isinstance(features, Sequence) and not isinstance(features, str) else ()
            texts = [name for name in names if isinstance(name, str)]
            return tuple(FeatureReference.parse(name) for name in texts) if all("." in name for name in texts) else ()
    return ()


def _anywhere(column: str, catalogue: Catalogue) -> list[FeatureReference]:
    views = catalogue.feature_views.values()
    return [FeatureReference(view=view.name, column=column) for view in views if column in view.column_names]


def _that_matter(versions: Sequence[ModelVersion], deployments: Sequence[Deployment]) -> Iterator[ModelVersion]:
    newest = {version.model: version.version for version in sorted(versions, key=lambda one: one.version)}
    live = {(one.model, one.model_version) for one in deployments if one.state not in NO_LONGER}
    for version in versions:
        if newest[version.model] == version.version or (version.model, version.version) in live:
            yield version


def _deployed(version: ModelVersion, deployments: Sequence[Deployment]) -> Iterator[str]:
    for one in deployments:
        is_its_own = (one.model, one.model_version) == (version.model, version.version)
        if is_its_own and one.state not in NO_LONGER:
            yield f"{one.environment}: {one.state}"


def _importance(version: ModelVersion, columns: Sequence[str], snapshots: SnapshotStore) -> dict[str, float]:
    explained = _explained(version, snapshots)
    if explained is None:
        return {}
    frame = snapshots.frame(explained)
    shares = {one.feature: one.share for one in importances(frame)} if frame.height else {}
    return {name: shares[name] for name in columns if name in shares}


def _explained(version: ModelVersion, snapshots: SnapshotStore) -> Snapshot | None:
    """Return the newest explanations of exactly this version."""
    history = reversed(snapshots.history(f"explanations/{version.model}"))
    return next((one for one in history if one.inputs.get(f"models/{version.model}") == version.fingerprint), None)
