"""What comes from what, column by column, as the declarations say: from bars over views and models to deployments.

Dagster shows the same in its graph; a test holds the two against each other in both directions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from mlops_assets.catalog.catalogue import Catalogue
from mlops_assets.evaluation.explain import PREFIX
from mlops_assets.evaluation.spec import Scenario, Strategy
from mlops_assets.evaluation.tables import EQUITY_COLUMNS
from mlops_assets.features.lineage import ColumnSources, training_set_sources, view_sources
from mlops_assets.features.spec import FeatureView, TrainingSet
from mlops_assets.lifecycle.kinds.known import kind_of
from mlops_assets.lifecycle.learner import EXPLAINED
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.market_data.bars import BARS

_Step = Callable[[str, tuple[str, ...]], dict[str, set[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A dataset's inputs, and for each of its columns the inputs' columns; none for what has no columns."""

    inputs: frozenset[str]
    columns: ColumnSources


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A dataset, the columns of it that matter here (none: all of it), and what lies beyond.

    `is_repeated` says that what lies beyond was told at its first mention.
    """

    dataset: str
    columns: tuple[str, ...]
    branches: tuple[Branch, ...] = ()
    is_repeated: bool = False

    @property
    def name(self) -> str:
        """`features/momentum (rsi_14)`."""
        return f"{self.dataset} ({', '.join(self.columns)})" if self.columns else self.dataset

    def datasets(self) -> Iterator[str]:
        """Yield the datasets beyond, in order of first mention; one may come twice."""
        for branch in self.branches:
            yield branch.dataset
            yield from branch.datasets()


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """The declared graph of datasets and columns."""

    sources: Mapping[str, Source]

    @classmethod
    def of(cls, catalogue: Catalogue) -> Lineage:
        """Read the graph off a catalogue."""
        return cls(sources=dict(_declared(catalogue)))

    def columns(self, dataset: str) -> tuple[str, ...]:
        """Return the columns of a dataset that are computed from other columns."""
        return tuple(self.sources[dataset].columns) if dataset in self.sources else ()

    def upstream(self, dataset: str, columns: Iterable[str] = ()) -> Branch:
        """Return what a dataset, or some columns of it, are computed from, down to the bars."""
        chosen = tuple(columns)
        return self._grow(dataset, chosen or self.columns(dataset), self._read_by, set(), shown=chosen)

    def downstream(self, dataset: str, columns: Iterable[str] = ()) -> Branch:
        """Return what is computed from a dataset, or from some columns of it, up to the deployments."""
        chosen = tuple(columns)
        return self._grow(dataset, chosen or self.columns(dataset), self._reading, set(), shown=chosen)

    def _grow(
        self,
        dataset: str,
        columns: tuple[str, ...],
        step: _Step,
        seen: set[tuple[str, tuple[str, ...]]],
        *,
        shown: tuple[str, ...],
    ) -> Branch:
        beyond = step(dataset, columns)
        if (dataset, columns) in seen:
            return Branch(dataset=dataset, columns=shown, is_repeated=bool(beyond))
        seen.add((dataset, columns))
        branches = tuple(
            self._grow(name, tuple(sorted(found)), step, seen, shown=tuple(sorted(found)))
            for name, found in sorted(beyond.items())
        )
        return Branch(dataset=dataset, columns=shown, branches=branches)

    def _read_by(self, dataset: str, columns: tuple[str, ...]) -> dict[str, set[str]]:
        """Return what the columns read; a dataset without columns reads all of its inputs."""
        if (source := self.sources.get(dataset)) is None:
            return {}
        if not source.columns:
            return {name: set(self.columns(name)) for name in source.inputs}
        found: dict[str, set[str]] = {name: set() for name in source.inputs if self._has_no_columns(name)}
        for column in columns:
            for name, read in source.columns.get(column, ()):
                found.setdefault(name, set()).add(read)
        return found

    def _reading(self, dataset: str, columns: tuple[str, ...]) -> dict[str, set[str]]:
        """Return what reads the columns; what has no columns of its own reads them all."""
        found: dict[str, set[str]] = {}
        for name in self._readers.get(dataset, ()):
            if not self.columns(name):
                found[name] = set()
            elif self._has_no_columns(dataset):
                found[name] = set(self.columns(name))
            else:
                wanted = {(dataset, column) for column in columns}
                reading = {one for one, read in self.sources[name].columns.items() if wanted & set(read)}
                if reading:
                    found[name] = reading
        return found

    def _has_no_columns(self, dataset: str) -> bool:
        return dataset in self.sources and not self.sources[dataset].columns

    @cached_property
    def _readers(self) -> Mapping[str, tuple[str, ...]]:
        readers: dict[str, list[str]] = {}
        for name, source in self.sources.items():
            for read in source.inputs:
                readers.setdefault(read, []).append(name)
        return {name: tuple(sorted(found)) for name, found in readers.items()}


def _declared(catalogue: Catalogue) -> Iterator[tuple[str, Source]]:
    for view in catalogue.feature_views.values():
        yield view.dataset, _of_view(view)
    for model in catalogue.models.values():
        yield from _of_model(model, [scenario.name for scenario in catalogue.scenarios_of(model)])
    for scenario in catalogue.scenarios.values():
        strategies = [catalogue.strategies[name] for name in scenario.replayed]
        yield from _of_scenario(scenario, strategies, [model.name for model in catalogue.models_of(scenario)])


def _of_view(view: FeatureView) -> Source:
    upstream = {f"features/{name}" for name in view.upstream_views}
    return Source(inputs=frozenset({BARS, *upstream}), columns=view_sources(view))


def _of_training_set(spec: TrainingSet) -> Source:
    views = {f"features/{name}" for name in spec.views}
    return Source(inputs=frozenset({BARS, *views}), columns=training_set_sources(spec))


def _of_model(model: ModelSpec, scenarios: Iterable[str]) -> Iterator[tuple[str, Source]]:
    training_set = model.training_set.dataset
    explanations = [f"explanations/{model.name}"] if model.kind in EXPLAINED else []
    both = frozenset({model.dataset, training_set})
    features = [(training_set, name) for name in model.features]
    shap = {PREFIX + name: [(training_set, name)] for name in model.features}
    drifts = {view: model.drift_dataset(view) for view in model.training_set.views}
    yield training_set, _of_training_set(model.training_set)
    yield model.dataset, Source(inputs=frozenset({training_set}), columns={})
    said = {column.name: features for column in kind_of(model.kind).columns}
    yield model.predictions, Source(inputs=both, columns=said)
    for dataset in explanations:
        yield dataset, Source(inputs=both, columns={**shap, "margin": features})
    for view, dataset in drifts.items():
        read = [(f"features/{view}", one.column) for one in model.training_set.features if one.view == view]
        columns: ColumnSources = {name: read for name in ("value", "threshold", "verdict")}  # noqa: C420 - typed by str
        yield dataset, Source(inputs=frozenset({f"features/{view}", model.dataset}), columns=columns)
    reports = {f"reports/{name}" for name in scenarios}
    needed = {model.dataset, model.predictions, *explanations, *drifts.values(), *reports}
    yield f"deployments/{model.name}", Source(inputs=frozenset(needed), columns={})


def _of_scenario(
    scenario: Scenario, strategies: Iterable[Strategy], models: Iterable[str]
) -> Iterator[tuple[str, Source]]:
    replays: list[str] = []
    for strategy in strategies:
        predictions = [] if strategy.model is None else [f"predictions/{strategy.model}"]
        read = [(BARS, "adjusted_close"), *((name, "probability") for name in predictions)]
        replays.append(f"evaluation/{scenario.name}/{strategy.name}")
        columns = {column.name: read for column in EQUITY_COLUMNS[1:]}
        yield replays[-1], Source(inputs=frozenset({BARS, *predictions}), columns=columns)
    explained = {f"explanations/{name}" for name in models}
    yield f"reports/{scenario.name}", Source(inputs=frozenset({*replays, *explained}), columns={})
