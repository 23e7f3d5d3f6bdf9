"""How a policy is stored: canonical JSON of its borders, its weights and its table. Reading it executes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.kernel.fingerprint import canonical_json
from mlops_assets.lifecycle.kinds.allocation_states import FeatureBorders, States
from mlops_assets.lifecycle.kinds.q_learning import QTable


class MalformedPolicy(PlatformError):
    """The stored bytes are no policy, or one for other features."""

    code = "malformed_policy"

    def __init__(self, problem: str) -> None:
        super().__init__(f"the stored policy can't be read: {problem}. Load another version, or train it again.")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPolicy:
    """A learned table, and how its states are told."""

    states: States
    every_sessions: int
    table: QTable

    def chosen(self, state: int) -> int | None:
        """Return the number of the best weight, of equals the lowest; None where not every weight was tried."""
        if not all(self.table.visits[state]):
            return None
        values = self.table.values[state]
        return values.index(max(values))


def policy_bytes(policy: StoredPolicy) -> bytes:
    """Write a policy as canonical JSON."""
    return canonical_json(
        {
            "every_sessions": policy.every_sessions,
            "features": [asdict(one) for one in policy.states.features],
            "values": policy.table.values,
            "visits": policy.table.visits,
            "weights": policy.states.weights,
        }
    )


def read_policy(content: bytes, features: Sequence[str]) -> StoredPolicy:
    """Read a policy that knows exactly these features, in this order.

    Raises:
        MalformedPolicy: naming the first field that is wrong.
    """
    try:
        read = _Content.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MalformedPolicy(f"{where}: {first['msg']}" if where else first["msg"]) from None
    if (known := [one.feature for one in read.features]) != list(features):
        raise MalformedPolicy(f"features: it knows {', '.join(known)}, and is asked by {', '.join(features)}")
    return StoredPolicy(
        states=read.states, every_sessions=read.every_sessions, table=QTable(values=read.values, visits=read.visits)
    )


_Count = Annotated[int, Field(ge=0)]


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _Feature(_Stored):
    feature: str
    borders: Annotated[tuple[float, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _rise(self) -> Self:
        if list(self.borders) != sorted(self.borders):
            raise ValueError("borders must not fall")
        return self


class _Content(_Stored):
    every_sessions: Annotated[int, Field(ge=1)]
    features: Annotated[list[_Feature], Field(min_length=1)]
    weights: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=2)]
    values: list[list[float]]
    visits: list[list[_Count]]

    @property
    def states(self) -> States:
        features = tuple(FeatureBorders(feature=one.feature, borders=one.borders) for one in self.features)
        return States(features=features, weights=self.weights)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.weights[0] != 0 or any(low >= high for low, high in pairwise(self.weights)):
            raise ValueError("weights must rise from 0")
        shape = [len(self.weights)] * self.states.count
        for name, table in (("values", self.values), ("visits", self.visits)):
            if [len(row) for row in table] != shape:
                raise ValueError(f"{name} must have {len(shape)} states of {len(self.weights)} weights")
        return self
