"""What is declared: every view, model, strategy, scenario, prompt and policy, with their references resolved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from mlops_assets.evaluation.spec import Scenario, Strategy
from mlops_assets.features.spec import FeatureView
from mlops_assets.kernel.errors import InvalidDeclaration, UnknownReference
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.prompts.policy import PolicyRule
from mlops_assets.prompts.spec import PromptVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All declarations by name. One that exists has no dangling reference."""

    feature_views: Mapping[str, FeatureView]
    models: Mapping[str, ModelSpec]
    strategies: Mapping[str, Strategy]
    scenarios: Mapping[str, Scenario]
    policies: Mapping[str, PolicyRule]
    prompts: Mapping[str, tuple[PromptVersion, ...]]

    def __post_init__(self) -> None:
        for view in self.feature_views.values():
            self._check_view(view)
        for model in self.models.values():
            self._check_model(model)
        for strategy in self.strategies.values():
            if strategy.model is not None:
                _require("model", strategy.model, self.models, strategy.declared_in, "model")
        for scenario in self.scenarios.values():
            for field in ("candidates", "baselines"):
                for name in getattr(scenario, field):
                    _require("strategy", name, self.strategies, scenario.declared_in, field)
        for version in (version for versions in self.prompts.values() for version in versions):
            self._check_prompt(version)

    def count(self) -> dict[str, int]:
        """Return how many declarations of each kind there are."""
        return {field.name: len(getattr(self, field.name)) for field in fields(self)}

    def models_of(self, scenario: Scenario) -> tuple[ModelSpec, ...]:
        """Return the models whose predictions the scenario's strategies read, each once."""
        names = (self.strategies[name].model for name in scenario.replayed)
        return tuple(self.models[name] for name in dict.fromkeys(names) if name is not None)

    def scenarios_of(self, model: ModelSpec) -> tuple[Scenario, ...]:
        """Return the scenarios that put the model to the test: their reports are evidence for its deployment."""
        return tuple(scenario for scenario in self.scenarios.values() if model in self.models_of(scenario))

    def readers(self, view: str) -> dict[str, tuple[str, ...]]:
        """Return by column of a view who reads it: models with their training sets, and views."""
        found = dict[str, list[str]]()
        for other in self.feature_views.values():
            for feature in other.upstream:
                if feature.view == view:
                    found.setdefault(feature.column, []).append(f"view {other.name}")
        for model in self.models.values():
            for feature in model.training_set.features:
                if feature.view == view:
                    who = f"model {model.name} (training set {model.training_set.name})"
                    found.setdefault(feature.column, []).append(who)
        return {column: tuple(who) for column, who in sorted(found.items())}

    def _check_view(self, view: FeatureView, below: tuple[str, ...] = ()) -> None:
        """Refuse a column of another view that does not exist, and a circle of views."""
        if view.name in below:
            circle = " reads ".join((*below[below.index(view.name) :], view.name))
            raise InvalidDeclaration(
                file=view.declared_in, field="columns", problem=f"views read each other: {circle}", remedy="Break it."
            )
        for feature in view.upstream:
            _require("feature view", feature.view, self.feature_views, view.declared_in, "columns")
            columns = self.feature_views[feature.view].column_names
            _require(f"column of {feature.view}", feature.column, columns, view.declared_in, "columns")
        for name in view.upstream_views:
            self._check_view(self.feature_views[name], (*below, view.name))

    def _check_model(self, model: ModelSpec) -> None:
        for feature in model.training_set.features:
            field = "training_set.features"
            _require("feature view", feature.view, self.feature_views, model.declared_in, field)
            columns = self.feature_views[feature.view].column_names
            _require(f"column of {feature.view}", feature.column, columns, model.declared_in, field)

    def _check_prompt(self, version: PromptVersion) -> None:
        for policy in version.policies:
            _require("policy", policy, self.policies, version.declared_in, "policies")
        if version.report is None:
            return
        _require("scenario", version.report, self.scenarios, version.declared_in, "report")
        replayed = self.scenarios[version.report].replayed
        for field in ("candidate", "baseline"):
            if (name := getattr(version, field)) is not None:
                _require(f"strategy of scenario {version.report}", name, replayed, version.declared_in, field)


def _require(kind: str, name: str, known: Iterable[str], file: Path, field: str) -> None:
    names = list(known)
    if name not in names:
        raise UnknownReference(kind=kind, name=name, known=names, asked_by=str(file), field=field)
