"""The features that a served version is asked with: those it learned from, as known at a time, complete and young.

They come from the feature store by the rule of training sets. A feature view that is served in another version than the
model learned from is refused: the same columns may mean something else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from mlops_assets.features.retrieval import FeatureStore, Retrieval
from mlops_assets.kernel.errors import MissingColumns, UnknownReference
from mlops_assets.lifecycle.serving.answer import FeatureValue, FeatureVersionMismatch, ServedView, Value
from mlops_assets.lifecycle.serving.loaded_models import LoadedModel
from mlops_assets.lifecycle.serving.unanswerable import why_incomplete
from mlops_assets.storage.parquet.snapshots import SnapshotStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A symbol's features, in the order of the model's declaration, and the views they were read from."""

    features: tuple[FeatureValue, ...]
    views: tuple[ServedView, ...]


class ServedFeatures:
    """Reads features for served versions."""

    def __init__(self, features: FeatureStore, snapshots: SnapshotStore) -> None:
        self._features, self._snapshots = features, snapshots

    def read(self, loaded: LoadedModel, symbol: str, as_of: datetime) -> Served:
        """Return the features of a symbol as known at an instant.

        Raises:
            FeatureVersionMismatch: if a view is published in another version than the model learned from.
            FeaturesMissing, FeaturesStale, UnknownSymbol, AsOfBeforeFirst: if there is no complete, young row.
        """
        wanted = loaded.spec.training_set.features
        try:
            found = self._features.latest([symbol], [str(one) for one in wanted], as_of=as_of, with_times=True)
        except (MissingColumns, UnknownReference):
            refuse_other_versions(loaded, self._published_versions(loaded))
            raise
        row, used = found.rows.row(0, named=True), found.retrieval
        refuse_other_versions(loaded, {one.view: one.version for one in used.views})
        if missing := [one for one in wanted if not _is_number(row[one.column])]:
            raise why_incomplete(
                symbol,
                as_of,
                missing=missing,
                views=[(one, row[f"{one.view}__event_at"] is not None) for one in used.views],
                snapshots=self._snapshots,
            )
        return Served(
            features=tuple(
                FeatureValue(
                    view=one.view,
                    column=one.column,
                    value=row[one.column],
                    event_at=_instant(row[f"{one.view}__event_at"]),
                    known_at=_instant(row[f"{one.view}__known_at"]),
                )
                for one in wanted
            ),
            views=_views(used),
        )

    def _published_versions(self, loaded: LoadedModel) -> dict[str, str]:
        heads = {view: self._snapshots.find_head(f"features/{view}") for view in loaded.spec.training_set.views}
        return {view: str(head.details.get("view_version")) for view, head in heads.items() if head is not None}


def refuse_other_versions(loaded: LoadedModel, served: Mapping[str, str]) -> None:
    """Refuse views of other versions than a model learned from.

    Raises:
        FeatureVersionMismatch: naming each of them with both versions.
    """
    trained = loaded.feature_views
    differing = {view: (trained.get(view), version) for view, version in served.items() if trained.get(view) != version}
    if differing:
        raise FeatureVersionMismatch(model=loaded.version.model, version=loaded.version.version, differing=differing)


def _views(used: Retrieval) -> tuple[ServedView, ...]:
    return tuple(
        ServedView(
            view=one.view, version=one.version, snapshot=f"{one.dataset}@{one.snapshot}", fingerprint=one.fingerprint
        )
        for one in used.views
    )


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _instant(value: object) -> datetime:
    assert isinstance(value, datetime)
    return value.astimezone(UTC)
