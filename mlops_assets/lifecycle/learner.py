"""What each kind of model may be told of how it learns: the block `learner` of a declaration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from pydantic import ConfigDict, Field

NO_OTHER_KEYS = ConfigDict(extra="forbid")

Kind = Literal["classifier", "forecast", "regime", "policy"]
EXPLAINED: frozenset[Kind] = frozenset({"classifier"})
"""The kinds whose score is taken apart by SHAP."""
Fraction = Annotated[float, Field(gt=0, lt=1)]
Whole = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeParameters:
    """What LightGBM may be told. Objective, seeds and threads are not here: they are what makes a fit repeatable."""

    __pydantic_config__ = NO_OTHER_KEYS

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
class MomentumBaseline:
    """What a classifier has to beat: the base rate always, and the sign of one of its own features."""

    __pydantic_config__ = NO_OTHER_KEYS

    momentum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """Probabilities at which a signal changes its name; between `sell` and `buy` it is `hold`."""

    __pydantic_config__ = NO_OTHER_KEYS

    strong_sell: Fraction
    sell: Fraction
    buy: Fraction
    strong_buy: Fraction

    def __post_init__(self) -> None:
        if not self.strong_sell < self.sell < self.buy < self.strong_buy:
            raise ValueError("must rise from strong_sell over sell and buy to strong_buy")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierLearner:
    """Boosted trees that give the probability of the label."""

    __pydantic_config__ = NO_OTHER_KEYS

    params: TreeParameters
    baseline: MomentumBaseline
    buckets: Buckets

    @property
    def named_features(self) -> Mapping[str, str]:
        return {"baseline.momentum": self.baseline.momentum}


@dataclass(frozen=True, slots=True, kw_only=True)
class VolatilityBaseline:
    """What a forecast has to beat: past quantiles always, and those scaled by one of its own features."""

    __pydantic_config__ = NO_OTHER_KEYS

    volatility: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastLearner:
    """Boosted trees for each quantile of forward equity, calibrated afterwards.

    One row of a symbol in `every_sessions` teaches: labels of neighbouring rows share most of their sessions.
    """

    __pydantic_config__ = NO_OTHER_KEYS

    params: TreeParameters
    baseline: VolatilityBaseline
    every_sessions: Whole = 1

    @property
    def named_features(self) -> Mapping[str, str]:
        return {"baseline.volatility": self.baseline.volatility}


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureParameters:
    """What scikit-learn's Gaussian mixture may be told; the number of components is that of the regimes' names."""

    __pydantic_config__ = NO_OTHER_KEYS

    initialisations: Whole = 2
    max_iterations: Whole = 500
    tolerance: Annotated[float, Field(gt=0)] = 1e-4
    regularisation: Annotated[float, Field(gt=0)] = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class RegimeLearner:
    """A mixture of four Gaussians over features of the market's day, named by their means of two of the features."""

    __pydantic_config__ = NO_OTHER_KEYS

    params: MixtureParameters
    trend: str
    volatility: str

    @property
    def named_features(self) -> Mapping[str, str]:
        return {"trend": self.trend, "volatility": self.volatility}


@dataclass(frozen=True, slots=True, kw_only=True)
class QLearningParameters:
    """What Q-learning may be told: passes over history, chance of trying something else, discount of a decision's next.

    The step size is not here: it follows from the discount.
    """

    __pydantic_config__ = NO_OTHER_KEYS

    passes: Whole
    exploration: Annotated[float, Field(ge=0, le=1)]
    discount: Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLearner:
    """A table of the value of each target weight in each state, learned in a seeded environment.

    A state is the bucket of each feature, by quantiles of the train fold, and the weight that is held: a fraction of
    the symbol's position limit. `cost_bps` is paid on what is traded; `every_sessions` is the label's horizon.
    """

    __pydantic_config__ = NO_OTHER_KEYS

    params: QLearningParameters
    buckets: Annotated[int, Field(ge=2, le=10)]
    weights: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=2)]
    every_sessions: Whole
    cost_bps: Annotated[float, Field(ge=0, lt=10_000)]

    def __post_init__(self) -> None:
        if list(self.weights) != sorted(set(self.weights)) or self.weights[0] != 0:
            raise ValueError("weights must rise from 0")

    @property
    def named_features(self) -> Mapping[str, str]:
        return {}


MOST_STATES = 10_000
"""A table with more would be mostly empty after a market's past."""

Learner: TypeAlias = ClassifierLearner | ForecastLearner | RegimeLearner | PolicyLearner

LEARNERS: Mapping[Kind, type[Learner]] = {
    "classifier": ClassifierLearner,
    "forecast": ForecastLearner,
    "regime": RegimeLearner,
    "policy": PolicyLearner,
}
