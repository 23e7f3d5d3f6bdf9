"""What a feature view and a training set are."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ConfigDict

from mlops_assets.kernel.columns import Column
from mlops_assets.kernel.declaration import parse_declaration
from mlops_assets.kernel.errors import InvalidDeclaration
from mlops_assets.kernel.fingerprint import Json, file_sha256, fingerprint
from mlops_assets.kernel.semantic_version import is_version, parse_version

_NAME = re.compile(r"[a-z][a-z0-9_]{2,99}")

KEY_COLUMNS = (
    Column(name="symbol", type="string", description="Ticker of the stock."),
    Column(name="date", type="date", description="Trading session at the exchange."),
    Column(name="event_at", type="timestamp", description="Close of the session.", unit="UTC"),
    Column(name="known_at", type="timestamp", description="When the platform could first know the bar.", unit="UTC"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureView:
    """Columns computed together, per symbol, from bars.

    `compute` takes one symbol's bars in order of date (the columns `inputs` beside the keys) and returns a frame of
    the same height with exactly `columns`. A value at one row may use that row and earlier ones, never later ones.
    """

    name: str
    version: str
    owner: str
    description: str
    columns: tuple[Column, ...]
    inputs: tuple[str, ...]
    compute: Callable[[pl.DataFrame], pl.DataFrame]
    warm_up_bars: int
    declared_in: Path
    tags: tuple[str, ...] = ()
    ttl: timedelta = timedelta(days=7)

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        for claim, name, problem, remedy in (
            (_NAME.fullmatch(self.name), "name", f"{self.name!r} is no name", "Use 3-100 of a-z, 0-9 and _."),
            (is_version(self.version), "version", f"{self.version!r} is no semantic version", "Write it like 1.0.0."),
            (self.owner, "owner", "it is empty", "Name the team or the address that answers for it."),
            (self.description, "description", "it is empty", "Say what the columns are for."),
            (names, "columns", "it is empty", "Declare at least one column."),
            (len(names) == len(set(names)), "columns", "a name stands twice", "Give each column its own name."),
            (self.inputs, "inputs", "it is empty", "Name the bar columns the view reads."),
            (self.warm_up_bars >= 0, "warm_up_bars", "it is negative", "Say how many bars the longest window takes."),
        ):
            if not claim:
                raise InvalidDeclaration(file=self.declared_in, field=name, problem=problem, remedy=remedy)

    @property
    def dataset(self) -> str:
        return f"features/{self.name}"

    @property
    def major(self) -> int:
        return parse_version(self.version).major

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def fingerprint(self) -> str:
        """Identity of the declaration: its file's bytes, which hold schema, version and transformation."""
        return fingerprint({"feature_view": self.name, "version": self.version, "file": file_sha256(self.declared_in)})


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class FeatureReference:
    """One column of one view, written `view.column`."""

    view: str
    column: str

    @classmethod
    def parse(cls, text: str) -> FeatureReference:
        """Read `view.column`.

        Raises:
            ValueError: if `text` has another form.
        """
        view, dot, column = text.partition(".")
        if not (view and dot and column) or "." in column:
            raise ValueError(f"{text!r} is not of the form view.column")
        return cls(view=view, column=column)

    def __str__(self) -> str:
        return f"{self.view}.{self.column}"


class Fold(StrEnum):
    """What a row of a training set may be used for."""

    TRAIN = "train"
    VALID = "valid"
    TEST = "test"
    PURGED = "purged"
    """Its label would be learned after its fold ends, or it lies within an embargo. Features may look back across."""
    LIVE = "live"
    """Its label is not known yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What is to be predicted: whether the return over the next sessions exceeds `threshold` (a fraction)."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    horizon_sessions: int
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if self.horizon_sessions < 1:
            raise ValueError("horizon_sessions must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Folds:
    """Where training ends and validation ends (both inclusive), and how many sessions are left out after each."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    train_until: date
    valid_until: date
    embargo_sessions: int

    def __post_init__(self) -> None:
        if self.train_until >= self.valid_until:
            raise ValueError("train_until must be before valid_until")
        if self.embargo_sessions < 0:
            raise ValueError("embargo_sessions must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """A frozen table of features as known at each row's time, a label, and the fold each row belongs to."""

    name: str
    owner: str
    description: str
    features: tuple[FeatureReference, ...]
    label: Label
    folds: Folds
    declared_in: Path
    tags: tuple[str, ...] = field(default=())

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any], file: Path) -> TrainingSet:
        """Read the block `training_set` of a model's file.

        Raises:
            InvalidDeclaration: if a field is missing, unknown or wrong.
        """
        parsed = parse_declaration(_TrainingSetContent, content, file)
        return cls(
            name=parsed.name,
            owner=parsed.owner,
            description=parsed.description,
            features=tuple(_reference(text, file) for text in parsed.features),
            label=parsed.label,
            folds=parsed.folds,
            declared_in=file,
            tags=parsed.tags,
        )

    @property
    def dataset(self) -> str:
        return f"datasets/{self.name}"

    @property
    def views(self) -> tuple[str, ...]:
        """The views it reads, each once, in order of first mention."""
        return tuple(dict.fromkeys(feature.view for feature in self.features))

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(feature.column for feature in self.features)

    @property
    def fingerprint(self) -> str:
        content: dict[str, Json] = {
            "training_set": self.name,
            "features": [str(feature) for feature in self.features],
            "label": {"horizon_sessions": self.label.horizon_sessions, "threshold": self.label.threshold},
            "folds": {
                "train_until": self.folds.train_until.isoformat(),
                "valid_until": self.folds.valid_until.isoformat(),
                "embargo_sessions": self.folds.embargo_sessions,
            },
        }
        return fingerprint(content)


@dataclass(frozen=True, slots=True, kw_only=True)
class _TrainingSetContent:
    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    owner: str
    description: str
    features: tuple[str, ...]
    label: Label
    folds: Folds
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r}: use 3-100 of a-z, 0-9 and _")
        if not self.features:
            raise ValueError("features must name at least one column")
        columns = [text.rpartition(".")[2] for text in self.features]
        if len(columns) != len(set(columns)):
            raise ValueError("features: two columns have the same short name")


def _reference(text: str, file: Path) -> FeatureReference:
    try:
        return FeatureReference.parse(text)
    except ValueError as error:
        raise InvalidDeclaration(
            file=file, field="training_set.features", problem=str(error), remedy="Write it like momentum.return_1d."
        ) from error
