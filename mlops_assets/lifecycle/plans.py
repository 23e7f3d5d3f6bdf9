"""What a declaration plans for its model: how it is tried, watched, deployed, trained again and searched."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from mlops_assets.kernel.fingerprint import Json
from mlops_assets.lifecycle.learner import NO_OTHER_KEYS, Fraction, Whole

Environment = Literal["development", "staging", "production"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkForward:
    """How the model is tried again and again: the last `windows` periods, each by a fit that saw only what came before.

    Between a period and what its fit learned from lies the embargo of the folds.
    """

    __pydantic_config__ = NO_OTHER_KEYS

    windows: Annotated[int, Field(ge=1, le=50)]
    window_sessions: Annotated[int, Field(ge=20)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitoring:
    """How the model's inputs are watched.

    `family_alpha` is the chance, with nothing changed, that one check of all features together speaks up.
    `embargo_sessions` is at least the longest look-back of a feature: closer windows share prices.
    """

    __pydantic_config__ = NO_OTHER_KEYS

    window_sessions: Annotated[int, Field(ge=20)] = 60
    stride_sessions: Whole = 5
    embargo_sessions: Annotated[int, Field(ge=0)] = 252
    family_alpha: Annotated[float, Field(gt=0, le=0.2)] = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """Which part a canary answers for: a share of the symbols, or of the capital in every symbol."""

    __pydantic_config__ = NO_OTHER_KEYS

    by: Literal["symbols", "capital"]
    share: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How long a version runs beside the champion before it may take its place; 0 sessions leave a step out."""

    __pydantic_config__ = NO_OTHER_KEYS

    shadow_sessions: Annotated[int, Field(ge=0)]
    canary_sessions: Annotated[int, Field(ge=0)]
    canary: Canary


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What ends a deployment by itself when it is passed.

    `max_order_difference`: share of a challenger's orders that are not the champion's. `max_drawdown`: fraction that
    its slice may lose from its highest value. `max_weight`: largest weight of a symbol, a fraction of equity.
    """

    __pydantic_config__ = NO_OTHER_KEYS

    max_order_difference: Annotated[float, Field(gt=0, le=1)]
    max_drawdown: Fraction
    max_weight: Annotated[float, Field(gt=0, le=1)]
    max_orders_a_session: Whole
    max_error_rate: Fraction
    max_p99_ms: Annotated[float, Field(gt=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentPlan:
    """Where a version asks to go, by which steps, and within which limits; who has to agree follows from the tier."""

    __pydantic_config__ = NO_OTHER_KEYS

    environment: Environment
    rollout: Rollout
    limits: Limits

    def as_json(self) -> dict[str, Json]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retraining:
    """When a candidate is trained again: by the clock, and after drift within a budget; it never promotes itself.

    `cron` is in UTC. `within_days` is how old the newest training may be. `most_a_year` bounds what drift asks for.
    """

    __pydantic_config__ = NO_OTHER_KEYS

    cron: Annotated[str, Field(pattern=r"^\S+ \S+ \S+ \S+ \S+$")]
    within_days: Whole
    after_drift: bool
    most_a_year: Annotated[int, Field(ge=0)]

    @property
    def within(self) -> timedelta:
        return timedelta(days=self.within_days)


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The values of a parameter that a sweep tries; whole numbers where both bounds are."""

    __pydantic_config__ = NO_OTHER_KEYS

    low: int | float
    high: int | float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError("low must be below high")
        if self.log and self.low <= 0:
            raise ValueError("a logarithmic range begins above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a sweep tries: values of `learner.params`. It adopts nothing: a better value is written into the file."""

    __pydantic_config__ = NO_OTHER_KEYS

    trials: Whole
    space: Annotated[dict[str, Range], Field(min_length=1)]
