"""What a model is: its training set, parameters, baselines, buckets, monitoring and where it may go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from mlops_assets.features.spec import TrainingSet
from mlops_assets.kernel.declaration import parse_declaration
from mlops_assets.kernel.errors import InvalidDeclaration, near_misses
from mlops_assets.kernel.fingerprint import Json, fingerprint
from mlops_assets.kernel.semantic_version import is_version

_NO_OTHER_KEYS = ConfigDict(extra="forbid")

Kind = Literal["classifier"]
Environment = Literal["development", "staging", "production"]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Whole = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What LightGBM may be told. Objective, seeds and threads are not here: they are what makes a fit repeatable."""

    __pydantic_config__ = _NO_OTHER_KEYS

    rounds: Whole
    early_stopping_rounds: Whole
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    num_leaves: Annotated[int, Field(ge=2, le=4096)]
    min_data_in_leaf: Whole
    max_depth: int = -1
    feature_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    bagging_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    bagging_freq: Annotated[int, Field(ge=0)] = 0
    lambda_l1: Annotated[float, Field(ge=0)] = 0.0
    lambda_l2: Annotated[float, Field(ge=0)] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What the model has to beat: the base rate always, and the sign of one of its own features."""

    __pydantic_config__ = _NO_OTHER_KEYS

    momentum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """Probabilities at which a signal changes its name; between `sell` and `buy` it is `hold`."""

    __pydantic_config__ = _NO_OTHER_KEYS

    strong_sell: Fraction
    sell: Fraction
    buy: Fraction
    strong_buy: Fraction

    def __post_init__(self) -> None:
        if not self.strong_sell < self.sell < self.buy < self.strong_buy:
            raise ValueError("must rise from strong_sell over sell and buy to strong_buy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitoring:
    """How the model's inputs are watched.

    `family_alpha` is the chance, with nothing changed, that one check of all features together speaks up.
    `embargo_sessions` is at least the longest look-back of a feature: closer windows share prices.
    """

    __pydantic_config__ = _NO_OTHER_KEYS

    window_sessions: Annotated[int, Field(ge=20)] = 60
    stride_sessions: Whole = 5
    embargo_sessions: Annotated[int, Field(ge=0)] = 252
    family_alpha: Annotated[float, Field(gt=0, le=0.2)] = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentTarget:
    """Where a version asks to go; how many people have to agree follows from the model's tier."""

    __pydantic_config__ = _NO_OTHER_KEYS

    environment: Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model of the catalogue. `version` is that of the declaration; trained versions are counted by the registry.

    `tier` is the risk tier (1 is the highest).
    """

    name: str
    kind: Kind
    version: str
    owner: str
    description: str
    tier: int
    training_set: TrainingSet
    params: Parameters
    seed: int
    baseline: Baseline
    buckets: Buckets
    monitoring: Monitoring
    deployment: DeploymentTarget
    declared_in: Path

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], file: Path) -> ModelSpec:
        """Read a declaration from the parsed content of `file`.

        Raises:
            InvalidDeclaration: if a field is missing, unknown or wrong.
        """
        content = parse_declaration(_Content, mapping, file)
        training_set = TrainingSet.from_mapping(content.training_set, file)
        if content.baseline.momentum not in training_set.feature_names:
            raise InvalidDeclaration(
                file=file,
                field="baseline.momentum",
                problem=f"{content.baseline.momentum!r} is none of the model's features",
                remedy=_hint(content.baseline.momentum, training_set.feature_names),
            )
        return cls(
            name=content.name,
            kind=content.kind,
            version=content.version,
            owner=content.owner,
            description=content.description,
            tier=content.tier,
            training_set=training_set,
            params=content.params,
            seed=content.seed,
            baseline=content.baseline,
            buckets=content.buckets,
            monitoring=content.monitoring,
            deployment=content.deployment,
            declared_in=file,
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
        """Return the declaration's content; the training set is named by its own fingerprint."""
        return {
            "name": self.name,
            "kind": self.kind,
            "version": self.version,
            "owner": self.owner,
            "description": self.description,
            "tier": self.tier,
            "training_set": self.training_set.fingerprint,
            "params": fields_of(self.params),
            "seed": self.seed,
            "baseline": fields_of(self.baseline),
            "buckets": fields_of(self.buckets),
            "monitoring": fields_of(self.monitoring),
            "deployment": fields_of(self.deployment),
        }


def _semantic(text: str) -> str:
    if not is_version(text):
        raise ValueError("is no semantic version; write it like 1.0.0")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    __pydantic_config__ = _NO_OTHER_KEYS

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{2,59}$")]
    kind: Kind
    version: Annotated[str, AfterValidator(_semantic)]
    owner: Annotated[str, Field(min_length=3)]
    description: Annotated[str, Field(min_length=10)]
    tier: Annotated[int, Field(ge=1, le=3)]
    training_set: dict[str, Any]
    params: Parameters
    seed: Annotated[int, Field(ge=0)]
    baseline: Baseline
    buckets: Buckets
    monitoring: Monitoring
    deployment: DeploymentTarget


def fields_of(block: Parameters | Baseline | Buckets | Monitoring | DeploymentTarget) -> dict[str, Json]:
    """Return a block's fields by name."""
    return {name: getattr(block, name) for name in block.__dataclass_fields__}


def _hint(name: str, known: tuple[str, ...]) -> str:
    near = near_misses(name, known)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
