"""What a model is: what it is for, what it learns from and how, how it is judged, watched, deployed and retrained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import AfterValidator, Field

from mlops_assets.features.spec import TrainingSet
from mlops_assets.kernel.declaration import parse_declaration
from mlops_assets.kernel.errors import InvalidDeclaration, near_misses
from mlops_assets.kernel.fingerprint import Json, fingerprint
from mlops_assets.kernel.semantic_version import is_version
from mlops_assets.lifecycle.learner import (
    LEARNERS,
    MOST_STATES,
    NO_OTHER_KEYS,
    ClassifierLearner,
    ForecastLearner,
    Kind,
    Learner,
    PolicyLearner,
    RegimeLearner,
)
from mlops_assets.lifecycle.plans import DeploymentPlan, Monitoring, Retraining, Search, WalkForward

Sentence = Annotated[str, Field(min_length=10)]
NAME = r"^[a-z][a-z0-9_]{2,59}$"

_UNWRITTEN = "TODO"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model of the catalogue. `version` is that of the declaration; trained versions are counted by the registry.

    `tier` is the risk tier (1 is the highest). `declaration` is the file's content as plain JSON: a version keeps it,
    and can be trained again from it.
    """

    name: str
    kind: Kind
    version: str
    owner: str
    tier: int
    description: str
    purpose: str
    scope: str
    assumptions: tuple[str, ...]
    limitations: tuple[str, ...]
    training_set: TrainingSet
    learner: Learner
    seed: int
    walk_forward: WalkForward
    monitoring: Monitoring
    deployment: DeploymentPlan
    retraining: Retraining
    search: Search | None
    declared_in: Path
    declaration: Mapping[str, Json] = field(compare=False)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], file: Path) -> ModelSpec:
        """Read a declaration from the parsed content of `file`.

        Raises:
            InvalidDeclaration: if a field is missing, unknown or wrong.
        """
        _refuse_unwritten(mapping, file)
        kind = _kind(mapping, file)
        content = parse_declaration(CONTENTS[kind], mapping, file)
        training_set = TrainingSet.from_mapping(content.training_set, file)
        _check_features(content.learner, training_set, file)
        _check_search(content.search, content.learner, file)
        _check_policy(content.learner, training_set, file)
        fields = {name: getattr(content, name) for name in _Content.__dataclass_fields__ if name != "training_set"}
        return cls(
            **fields,
            kind=kind,
            learner=content.learner,
            training_set=training_set,
            declared_in=file,
            declaration=_plain(mapping),
        )

    @property
    def features(self) -> tuple[str, ...]:
        """The columns of the training set that the model sees, in order."""
        return self.training_set.feature_names

    @property
    def dataset(self) -> str:
        return f"models/{self.name}"

    @property
    def predictions(self) -> str:
        return f"predictions/{self.name}"

    def drift_dataset(self, view: str) -> str:
        """Return the dataset that watches the features the model takes from a view."""
        return f"drift/{self.name}/{view}"

    @property
    def fingerprint(self) -> str:
        """Identity of the declaration's meaning: neither its comments nor its path are part of it."""
        return fingerprint(self.as_json())

    def as_json(self) -> dict[str, Json]:
        """Return what a trained version depends on; the training set is named by its own fingerprint.

        When it is trained again, and what a sweep would try, are no part of it.
        """
        return {
            "name": self.name,
            "kind": self.kind,
            "version": self.version,
            "owner": self.owner,
            "tier": self.tier,
            "description": self.description,
            "purpose": self.purpose,
            "scope": self.scope,
            "assumptions": self.assumptions,
            "limitations": self.limitations,
            "training_set": self.training_set.fingerprint,
            "learner": asdict(self.learner),
            "seed": self.seed,
            "walk_forward": fields_of(self.walk_forward),
            "monitoring": fields_of(self.monitoring),
            "deployment": self.deployment.as_json(),
        }


def _semantic(text: str) -> str:
    if not is_version(text):
        raise ValueError("is no semantic version; write it like 1.0.0")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """What a model of any kind declares, beside `kind` and the block `learner` of that kind."""

    __pydantic_config__ = NO_OTHER_KEYS

    name: Annotated[str, Field(pattern=NAME)]
    version: Annotated[str, AfterValidator(_semantic)]
    owner: Annotated[str, Field(min_length=3)]
    tier: Annotated[int, Field(ge=1, le=3)]
    description: Sentence
    purpose: Sentence
    scope: Sentence
    assumptions: Annotated[tuple[Sentence, ...], Field(min_length=1)]
    limitations: Annotated[tuple[Sentence, ...], Field(min_length=1)]
    training_set: dict[str, Any]
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    walk_forward: WalkForward
    monitoring: Monitoring
    deployment: DeploymentPlan
    retraining: Retraining
    search: Search | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierContent(_Content):
    """A model's file where `kind` is classifier."""

    kind: Literal["classifier"]
    learner: ClassifierLearner


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastContent(_Content):
    """A model's file where `kind` is forecast."""

    kind: Literal["forecast"]
    learner: ForecastLearner


@dataclass(frozen=True, slots=True, kw_only=True)
class RegimeContent(_Content):
    """A model's file where `kind` is regime."""

    kind: Literal["regime"]
    learner: RegimeLearner


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyContent(_Content):
    """A model's file where `kind` is policy."""

    kind: Literal["policy"]
    learner: PolicyLearner


CONTENTS: Mapping[Kind, type[ClassifierContent | ForecastContent | RegimeContent | PolicyContent]] = {
    "classifier": ClassifierContent,
    "forecast": ForecastContent,
    "regime": RegimeContent,
    "policy": PolicyContent,
}


def fields_of(block: object) -> dict[str, Json]:
    """Return a flat block's fields by name."""
    return {name: getattr(block, name) for name in getattr(block, "__dataclass_fields__", ())}


def unwritten(mapping: Mapping[str, Any]) -> list[str]:
    """Return the dotted places of the sentences that `mlops new model` left to the file's author."""
    return [where for where, text in _texts(mapping) if text.startswith(_UNWRITTEN)]


def _refuse_unwritten(mapping: Mapping[str, Any], file: Path) -> None:
    if left := unwritten(mapping):
        raise InvalidDeclaration(
            file=file,
            field=left[0],
            problem=f"still to be written: {', '.join(left)}",
            remedy=f"Say it in words that do not begin with {_UNWRITTEN}.",
        )


def _texts(value: object, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text of a parsed file with its dotted place."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Mapping):
        for name, item in cast("Mapping[Any, object]", value).items():
            yield from _texts(item, f"{where}.{name}".lstrip("."))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(cast("list[object]", value)):
            yield from _texts(item, f"{where}.{number}")


def _kind(mapping: Mapping[str, Any], file: Path) -> Kind:
    found = mapping.get("kind")
    if found in LEARNERS:
        return cast("Kind", found)
    raise InvalidDeclaration(
        file=file,
        field="kind",
        problem="it is missing" if found is None else f"{found!r} is no kind of model",
        remedy=_hint(str(found), get_args(Kind)),
    )


def _check_features(learner: Learner, training_set: TrainingSet, file: Path) -> None:
    for where, name in learner.named_features.items():
        if name not in training_set.feature_names:
            raise InvalidDeclaration(
                file=file,
                field=f"learner.{where}",
                problem=f"{name!r} is none of the model's features",
                remedy=_hint(name, training_set.feature_names),
            )


def _check_search(search: Search | None, learner: Learner, file: Path) -> None:
    known = tuple(fields_of(learner.params))
    for name in search.space if search is not None else ():
        if name not in known:
            raise InvalidDeclaration(
                file=file,
                field=f"search.space.{name}",
                problem=f"{name!r} is none of learner.params",
                remedy=_hint(name, known),
            )


def _check_policy(learner: Learner, training_set: TrainingSet, file: Path) -> None:
    """Check that a policy is paid for the time between its decisions, and that its table is no larger than its past."""
    if not isinstance(learner, PolicyLearner):
        return
    if learner.every_sessions != (horizon := training_set.label.horizon_sessions):
        raise InvalidDeclaration(
            file=file,
            field="learner.every_sessions",
            problem=f"it decides every {learner.every_sessions} sessions, and the label looks {horizon} ahead",
            remedy="Make it equal to training_set.label.horizon_sessions.",
        )
    states = learner.buckets ** len(training_set.features) * len(learner.weights)
    if states > MOST_STATES:
        raise InvalidDeclaration(
            file=file,
            field="learner.buckets",
            problem=f"its table would have {states} states, and {MOST_STATES} is the most",
            remedy="Take fewer features, buckets or weights.",
        )


def _plain(value: Any) -> Any:  # noqa: ANN401 - what YAML parses to
    """Return parsed YAML as JSON: dates in words."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("list[Any]", value)]
    return value.isoformat() if isinstance(value, date) else value


def _hint(name: str, known: tuple[str, ...]) -> str:
    near = near_misses(name, known)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
