"""What a served model says of a symbol, with all that it was said from; and the reasons why it says nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

from mlops_assets.kernel.errors import Conflict, PlatformError, near_misses

Role = Literal["champion", "challenger"]
Value = float | int | bool | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureValue:
    """One feature as it was used: `event_at` is when it happened, `known_at` when it was known."""

    view: str
    column: str
    value: Value
    event_at: datetime
    known_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedView:
    """The published version of a feature view that values were read from."""

    view: str
    version: str
    snapshot: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one version says. `share` is its share of the capital in this symbol; `outputs` are its kind's columns."""

    role: Role
    share: float
    deployment_id: str
    version: int
    kind: str
    fingerprint: str
    outputs: Mapping[str, Value]
    features: tuple[FeatureValue, ...]
    views: tuple[ServedView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a model says of a symbol. The first answer has the largest share; a canary by capital gives a second one.

    `epoch` is the move of the serving log that decided who answers. `as_of` is the instant whose knowledge was used.
    """

    model: str
    environment: str
    epoch: int
    symbol: str
    as_of: datetime
    answers: tuple[Answer, ...]
    latency_ms: float

    @property
    def main(self) -> Answer:
        return self.answers[0]


class NoAnswer(Conflict):
    """The question is right, but as things stand nothing can be said that anybody should trade on."""

    code: ClassVar[str] = "no_answer"


class NoChampion(NoAnswer):
    """No version of the model serves there."""

    code: ClassVar[str] = "no_champion"

    def __init__(self, *, model: str, environment: str) -> None:
        super().__init__(
            f"No version of {model} serves in {environment}. `mlops deployments list` shows which one is approved; "
            "`mlops deployments promote` makes it the champion."
        )


class FeatureVersionMismatch(NoAnswer):
    """A feature view is served in another version than the model learned from."""

    code: ClassVar[str] = "feature_version_mismatch"

    def __init__(self, *, model: str, version: int, differing: Mapping[str, tuple[str | None, str]]) -> None:
        self.differing = dict(differing)
        said = "; ".join(
            f"{view} {trained or 'of a version that it does not name'}, and {view} {served} is served"
            for view, (trained, served) in differing.items()
        )
        view = next(iter(differing))
        super().__init__(
            f"{model}@{version} learned from {said}. It refuses to predict: the same columns may mean something else. "
            f"Serve that version again (`mlops features rollback {view}`), or train {model} on what is served and "
            "promote the new version."
        )


class FeaturesMissing(NoAnswer):
    """Features of the symbol have no value at that time."""

    code: ClassVar[str] = "features_missing"

    def __init__(self, *, symbol: str, as_of: datetime, missing: Sequence[str], because: str) -> None:
        self.missing = tuple(missing)
        super().__init__(f"{symbol} has no {', '.join(missing)} as of {_said(as_of)}: {because}")


class FeaturesStale(NoAnswer):
    """The newest features of the symbol are older than their view allows."""

    code: ClassVar[str] = "features_stale"

    def __init__(self, *, symbol: str, as_of: datetime, ages: Mapping[str, tuple[datetime, float]]) -> None:
        """Say it of views: the last event that was known, and the age limit in days."""
        self.views = tuple(ages)
        said = "; ".join(
            f"the last of {view} is of {_said(last)}, and it may be {days:g} days old"
            for view, (last, days) in ages.items()
        )
        last = max(last for last, _ in ages.values())
        super().__init__(
            f"{symbol} has only old features as of {_said(as_of)}: {said}. Bring the bars up to date, or ask as of a "
            f"time not long after {_said(last)} (`--as-of`)."
        )


class UnknownSymbol(PlatformError):
    """No bar of that symbol was ever published."""

    code: ClassVar[str] = "unknown_symbol"

    def __init__(self, *, symbol: str, known: Sequence[str]) -> None:
        near = near_misses(symbol.upper(), known)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        super().__init__(f"No symbol is called {symbol!r} among the {len(known)} of market/bars.{hint}")


class AsOfInFuture(PlatformError):
    """A question about an instant that has not come."""

    code: ClassVar[str] = "as_of_in_future"

    def __init__(self, *, as_of: datetime, now: datetime) -> None:
        super().__init__(f"{_said(as_of)} is in the future: it is {_said(now)}. Ask as of now or of a time before.")


class AsOfBeforeFirst(PlatformError):
    """A question about an instant at which nothing of the symbol was known yet."""

    code: ClassVar[str] = "as_of_before_first"

    def __init__(self, *, symbol: str, as_of: datetime, first: datetime) -> None:
        super().__init__(
            f"Nothing of {symbol} was known as of {_said(as_of)}: its features begin at {_said(first)}. Ask as of then "
            "or later."
        )


class WrongQuestion(PlatformError):
    """A question that can't be meant."""

    code: ClassVar[str] = "wrong_question"


def _said(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
