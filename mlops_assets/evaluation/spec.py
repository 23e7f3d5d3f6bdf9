"""What a strategy is and what a scenario is: the two declarations that a replay brings together."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, AllowInfNan, ConfigDict, Field, TypeAdapter

from mlops_assets.kernel.declaration import parse_declaration
from mlops_assets.kernel.errors import InvalidDeclaration, near_misses
from mlops_assets.kernel.fingerprint import Json, file_sha256, fingerprint
from mlops_assets.kernel.semantic_version import is_version

Signal = Callable[..., NDArray[np.float64]]
Scalar = int | float | str | bool

_NAME = re.compile(r"[a-z][a-z0-9_]{2,59}")
_OWNER = re.compile(r"team:[A-Za-z0-9_]+|[^@\s]+@[^@\s]+")
_BESIDE_THE_SIGNAL = Path()


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"is {text!r}, not 3 to 60 lower-case letters, digits and underscores, a letter first")
    return text


def _owner(text: str) -> str:
    if not _OWNER.fullmatch(text):
        raise ValueError(f"is {text!r}, neither `team:<name>` nor an e-mail address")
    return text


def _version(text: str) -> str:
    if not is_version(text):
        raise ValueError(f"is {text!r}, not a semantic version like 1.0.0")
    return text


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return text.strip()


Name = Annotated[str, AfterValidator(_name)]
Owner = Annotated[str, AfterValidator(_owner)]
Version = Annotated[str, AfterValidator(_version)]
Text = Annotated[str, AfterValidator(_text)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """A rule that says how much of each symbol to hold.

    `signal(market, **parameters)` returns target weights, days x symbols, as fractions of equity. A row speaks at the
    close of its day and may use nothing later; NaN means: keep what is held. `model` names the model whose
    probabilities the signal reads. `declared_in` is the file of `signal` unless stated.
    """

    name: str
    version: str
    owner: str
    description: str
    signal: Signal
    parameters: Mapping[str, Scalar]
    model: str | None = None
    declared_in: Path = _BESIDE_THE_SIGNAL

    def __post_init__(self) -> None:
        if self.declared_in == _BESIDE_THE_SIGNAL:
            object.__setattr__(self, "declared_in", Path(self.signal.__code__.co_filename))
        rules = {"name": _name, "version": _version, "owner": _owner, "description": _text}
        for name, rule in rules.items():
            try:
                rule(getattr(self, name))
            except ValueError as error:
                raise self._invalid(name, f"it {error}", f"Correct {name!r}.") from error
        self._match_parameters()

    @property
    def fingerprint(self) -> str:
        """Identify what the strategy does: its parameters and the code of its file."""
        content: dict[str, Json] = {
            "name": self.name,
            "version": self.version,
            "parameters": dict(self.parameters),
            "model": self.model,
            "code": file_sha256(self.declared_in),
        }
        return fingerprint(content)

    def _match_parameters(self) -> None:
        accepted = list(inspect.signature(self.signal).parameters.values())[1:]
        names = [parameter.name for parameter in accepted]
        for given, value in self.parameters.items():
            if given not in names:
                near = near_misses(given, names) or names
                raise self._invalid("parameters", f"{given!r} is no parameter of the signal", f"Did you mean {near}?")
            if isinstance(value, float) and not math.isfinite(value):
                raise self._invalid("parameters", f"{given!r} is {value}", "Give a finite number.")
        for parameter in accepted:
            if parameter.default is inspect.Parameter.empty and parameter.name not in self.parameters:
                raise self._invalid("parameters", f"{parameter.name!r} has no value", "Give it one.")

    def _invalid(self, field: str, problem: str, remedy: str) -> InvalidDeclaration:
        return InvalidDeclaration(file=self.declared_in, field=field, problem=problem, remedy=remedy)


_NO_OTHER_KEYS = ConfigDict(extra="forbid")
Finite = Annotated[float, AllowInfNan(False)]
BasisPoints = Annotated[float, Field(ge=0, lt=10_000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A span of days, both inclusive."""

    __pydantic_config__ = _NO_OTHER_KEYS

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ValueError(f"it ends on {self.end}, which is not after its start on {self.start}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StressEvent:
    """A named part of the window on which metrics are also taken."""

    __pydantic_config__ = _NO_OTHER_KEYS

    label: Text
    start: date
    end: date

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ValueError(f"{self.label!r} ends on {self.end}, which is not after its start on {self.start}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What trading costs, in basis points of the traded notional."""

    __pydantic_config__ = _NO_OTHER_KEYS

    commission_bps: BasisPoints = 10.0
    slippage_bps: BasisPoints = 5.0

    @property
    def fraction(self) -> float:
        return (self.commission_bps + self.slippage_bps) / 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A bound that a metric of a candidate must keep; without `candidate` it binds each of them."""

    __pydantic_config__ = _NO_OTHER_KEYS

    metric: str
    candidate: str | None = None
    at_least: Finite | None = None
    at_most: Finite | None = None

    def __post_init__(self) -> None:
        if self.at_least is None and self.at_most is None:
            raise ValueError(f"the gate on {self.metric} has neither at_least nor at_most")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A replay to be run: when, on what, by whom, from which account and at which costs.

    The account is fresh: it holds only cash at the close of the first day, and takes up the targets then in force.
    `warm_up_days` are trading days before the window that strategies may look at. `fill` `next_close`: a target of
    one close is traded at the next.
    """

    __pydantic_config__ = _NO_OTHER_KEYS

    name: Name
    owner: Owner
    description: Text
    window: Window
    candidates: Annotated[tuple[Name, ...], Field(min_length=1)]
    baselines: Annotated[tuple[Name, ...], Field(min_length=1)]
    declared_in: Path
    version: Version = "1.0.0"
    warm_up_days: Annotated[int, Field(ge=0, le=5_000)] = 252
    universe: Literal["all"] | tuple[str, ...] = "all"
    costs: Costs = field(default_factory=Costs)
    initial_cash: Annotated[float, Field(gt=0), AllowInfNan(False)] = 100_000.0
    initial_state: Literal["fresh"] = "fresh"
    position_limit: Annotated[float, Field(gt=0, le=1)] = 0.2
    fill: Literal["next_close"] = "next_close"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    stress_events: tuple[StressEvent, ...] = ()
    gates: tuple[Gate, ...] = ()

    def __post_init__(self) -> None:
        for field_name, problem in (
            ("candidates", self._repeated_name()),
            ("gates", self._stray_gate()),
            ("stress_events", self._misplaced_event()),
        ):
            if problem:
                remedy = f"Correct {field_name!r}."
                raise InvalidDeclaration(file=self.declared_in, field=field_name, problem=problem, remedy=remedy)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], file: Path) -> Scenario:
        """Build a scenario from the parsed content of `file`.

        Raises:
            InvalidDeclaration: naming the file, the field and the way out.
        """
        return parse_declaration(cls, {**mapping, "declared_in": file}, file)

    @property
    def fingerprint(self) -> str:
        """Identify the whole declaration; neither its comments nor its path are part of it."""
        return fingerprint(self.as_json())

    @property
    def replayed(self) -> tuple[str, ...]:
        """Name every strategy to be run, the baselines first."""
        return (*self.baselines, *self.candidates)

    def as_json(self) -> dict[str, Json]:
        """Return the declaration as plain values."""
        content: dict[str, Json] = TypeAdapter(Scenario).dump_python(self, mode="json", exclude={"declared_in"})
        return content

    def _repeated_name(self) -> str | None:
        twice = sorted({name for name in self.replayed if self.replayed.count(name) > 1})
        return f"{', '.join(twice)} is named twice among candidates and baselines" if twice else None

    def _stray_gate(self) -> str | None:
        stray = [gate.candidate for gate in self.gates if gate.candidate not in (None, *self.candidates)]
        return f"a gate names {stray[0]!r}, which is not among the candidates" if stray else None

    def _misplaced_event(self) -> str | None:
        events = sorted(self.stress_events, key=lambda event: event.start)
        for event in events:
            if event.start < self.window.start or event.end > self.window.end:
                return f"{event.label!r} lies outside the window"
        for earlier, later in pairwise(events):
            if later.start <= earlier.end:
                return f"{earlier.label!r} and {later.label!r} overlap"
        return "two events have the same label" if len({event.label for event in events}) < len(events) else None
