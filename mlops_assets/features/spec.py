"""What a feature view and a training set are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast

import polars as pl
from pydantic import ConfigDict, Field

from mlops_assets.kernel.columns import Column, ColumnType
from mlops_assets.kernel.declaration import parse_declaration
from mlops_assets.kernel.errors import InvalidDeclaration, PlatformError, UnknownReference
from mlops_assets.kernel.fingerprint import Json, file_sha256, fingerprint
from mlops_assets.kernel.semantic_version import is_version, parse_version

_NAME = re.compile(r"[a-z][a-z0-9_]{2,99}")
_COLUMN_NAME = re.compile(r"[a-z][a-z0-9_]{1,99}")

KEY_COLUMNS = (
    Column(name="symbol", type="string", description="Ticker of the stock."),
    Column(name="date", type="date", description="Trading session at the exchange."),
    Column(name="event_at", type="timestamp", description="Close of the session.", unit="UTC"),
    Column(name="known_at", type="timestamp", description="When the platform could first know the bar.", unit="UTC"),
)


BAR_INPUTS = (
    "date",
    "open",
    "high",
    "low",
    "close",
    "adjusted_close",
    "volume",
    "dividend_amount",
    "split_coefficient",
    "adjusted_open",
    "adjusted_high",
    "adjusted_low",
    "split_factor",
    "index_adjusted_close",
)
"""What an expression may read of a bar. `adjusted_*` are the prices times adjusted_close / close, `split_factor` is the
product of the split coefficients so far, and `index_*` belongs to the market's index on the same day."""


class Partition(StrEnum):
    """Over which rows an expression is evaluated, in order of time."""

    SYMBOL = "symbol"
    """Each stock's own bars."""
    DATE = "date"
    """All stocks of one day."""
    INDEX = "index"
    """The bars of the market's index; every stock gets the day's value."""
    CALENDAR = "calendar"
    """The days themselves, for what follows from `date` alone; every stock gets the day's value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature(Column):
    """A column and the polars expression that computes it.

    The expression reads bar inputs by name and columns of other views as `pl.col("view.column")`; what it reads is its
    lineage. A value at one row may use that row and earlier ones, never later ones.
    """

    expr: pl.Expr = field(compare=False)
    type: ColumnType = "float"
    is_nullable: bool = True

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names it reads, sorted: bar inputs and columns of other views."""
        return tuple(sorted(set(self.expr.meta.root_names())))

    @property
    def bar_inputs(self) -> tuple[str, ...]:
        return tuple(name for name in self.inputs if "." not in name)

    @property
    def upstream(self) -> tuple[FeatureReference, ...]:
        """The columns of other views that it reads."""
        return tuple(FeatureReference.parse(name) for name in self.inputs if "." in name)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureView:
    """Columns that are computed, versioned and served together, one row for each bar of each stock."""

    name: str
    version: str
    owner: str
    description: str
    columns: tuple[Feature, ...]
    warm_up_bars: int
    declared_in: Path
    partition: Partition = Partition.SYMBOL
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
            (self.warm_up_bars >= 0, "warm_up_bars", "it is negative", "Say how many bars the longest window takes."),
            (self.ttl >= timedelta(0), "ttl", "it is negative", "Say how old a value may be; zero means any age."),
        ):
            if not claim:
                raise InvalidDeclaration(file=self.declared_in, field=name, problem=problem, remedy=remedy)
        for column in self.columns:
            self._check_column(column)
            if self.partition is Partition.CALENDAR and column.inputs != ("date",):
                raise InvalidDeclaration(
                    file=self.declared_in,
                    field=f"columns.{column.name}",
                    problem=f"a view of the calendar reads {', '.join(column.inputs)}",
                    remedy="It may read date alone; choose another partition for the rest.",
                )

    def _check_column(self, column: Feature) -> None:
        where = f"columns.{column.name}"
        if not _COLUMN_NAME.fullmatch(column.name) or column.name in {key.name for key in KEY_COLUMNS}:
            raise InvalidDeclaration(
                file=self.declared_in,
                field=where,
                problem=f"{column.name!r} is no name of a feature",
                remedy="Use 2-100 of a-z, 0-9 and _, and none of symbol, date, event_at, known_at.",
            )
        if not column.inputs:
            raise InvalidDeclaration(
                file=self.declared_in, field=where, problem="it reads nothing", remedy="Compute it from a bar's input."
            )
        for name in column.bar_inputs:
            if name not in BAR_INPUTS:
                raise UnknownReference(
                    kind="bar input", name=name, known=BAR_INPUTS, asked_by=str(self.declared_in), field=where
                )

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
    def bar_inputs(self) -> tuple[str, ...]:
        """What its columns read of the bars, each once, sorted."""
        return tuple(sorted({name for column in self.columns for name in column.bar_inputs}))

    @property
    def upstream(self) -> tuple[FeatureReference, ...]:
        """The columns of other views that it reads, each once, sorted."""
        return tuple(sorted({one for column in self.columns for one in column.upstream}))

    @property
    def upstream_views(self) -> tuple[str, ...]:
        """The names of the views it reads, each once, sorted."""
        return tuple(sorted({one.view for one in self.upstream}))

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

    def resolved(self, sessions: Sequence[date]) -> Folds:
        """Return the borders as dates: these."""
        return self

    def as_json(self) -> dict[str, Json]:
        return {
            "train_until": self.train_until.isoformat(),
            "valid_until": self.valid_until.isoformat(),
            "embargo_sessions": self.embargo_sessions,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingFolds:
    """Folds that move on with the history: the last sessions test, those before them validate, all others train.

    Both counts begin with the embargo. A model that is trained again on its cadence learns from what came since.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    valid_sessions: Annotated[int, Field(ge=20)]
    test_sessions: Annotated[int, Field(ge=20)]
    embargo_sessions: Annotated[int, Field(ge=0)]

    def __post_init__(self) -> None:
        if self.embargo_sessions >= min(self.valid_sessions, self.test_sessions):
            raise ValueError("embargo_sessions leave nothing of valid_sessions or test_sessions")

    def resolved(self, sessions: Sequence[date]) -> Folds:
        """Return the borders as dates in a history of sorted sessions.

        Raises:
            HistoryTooShort: if nothing is left to train on.
        """
        last_valid, last_train = -self.test_sessions - 1, -self.test_sessions - self.valid_sessions - 1
        if len(sessions) < -last_train:
            raise HistoryTooShort(
                f"{len(sessions)} sessions are too few for {self.valid_sessions} to validate and "
                f"{self.test_sessions} to test: lower them in folds, or ingest a longer history."
            )
        return Folds(
            train_until=sessions[last_train],
            valid_until=sessions[last_valid],
            embargo_sessions=self.embargo_sessions,
        )

    def as_json(self) -> dict[str, Json]:
        return {
            "valid_sessions": self.valid_sessions,
            "test_sessions": self.test_sessions,
            "embargo_sessions": self.embargo_sessions,
        }


class HistoryTooShort(PlatformError):
    """A history has fewer sessions than its folds need."""

    code = "history_too_short"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """A frozen table of features as known at each row's time, a label, and the fold each row belongs to.

    With `as_of` it is what could have been built at that instant: nothing known later enters, labels neither.
    """

    name: str
    owner: str
    description: str
    features: tuple[FeatureReference, ...]
    label: Label
    folds: Folds | RollingFolds
    declared_in: Path
    tags: tuple[str, ...] = field(default=())
    as_of: datetime | None = None

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any], file: Path) -> TrainingSet:
        """Read the block `training_set` of a model's file.

        Raises:
            InvalidDeclaration: if a field is missing, unknown or wrong.
        """
        parsed = parse_declaration(
            _RollingContent if _are_rolling(content.get("folds")) else _DatedContent, content, file
        )
        return cls(
            name=parsed.name,
            owner=parsed.owner,
            description=parsed.description,
            features=tuple(_reference(text, file) for text in parsed.features),
            label=parsed.label,
            folds=parsed.folds,
            declared_in=file,
            tags=parsed.tags,
            as_of=_instant(parsed.as_of, file),
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
            "folds": self.folds.as_json(),
        }
        if self.as_of is not None:
            content["as_of"] = self.as_of.isoformat()
        return fingerprint(content)


@dataclass(frozen=True, slots=True, kw_only=True)
class _TrainingSetContent:
    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    owner: str
    description: str
    features: tuple[str, ...]
    label: Label
    tags: tuple[str, ...] = ()
    as_of: date | datetime | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r}: use 3-100 of a-z, 0-9 and _")
        if not self.features:
            raise ValueError("features must name at least one column")
        columns = [text.rpartition(".")[2] for text in self.features]
        if len(columns) != len(set(columns)):
            raise ValueError("features: two columns have the same short name")


@dataclass(frozen=True, slots=True, kw_only=True)
class _DatedContent(_TrainingSetContent):
    folds: Folds


@dataclass(frozen=True, slots=True, kw_only=True)
class _RollingContent(_TrainingSetContent):
    folds: RollingFolds


def _are_rolling(folds: object) -> bool:
    """Tell by its fields which folds a file means, so that what is wrong with them is said of the right ones."""
    said = set(cast("Mapping[str, object]", folds) if isinstance(folds, Mapping) else ())
    return bool(said & {"valid_sessions", "test_sessions"}) and not said & {"train_until", "valid_until"}


def _reference(text: str, file: Path) -> FeatureReference:
    try:
        return FeatureReference.parse(text)
    except ValueError as error:
        raise InvalidDeclaration(
            file=file, field="training_set.features", problem=str(error), remedy="Write it like momentum.return_1d."
        ) from error


def _instant(as_of: date | datetime | None, file: Path) -> datetime | None:
    """Return the last instant that counts; a date counts to its end in UTC."""
    if as_of is None:
        return None
    if not isinstance(as_of, datetime):
        return datetime.combine(as_of, time.max, tzinfo=UTC)
    if as_of.tzinfo is None:
        raise InvalidDeclaration(
            file=file,
            field="training_set.as_of",
            problem=f"{as_of.isoformat()} names no time zone",
            remedy="Write it like 2020-06-30T21:00:00Z, or give a date, which counts to its end in UTC.",
        )
    return as_of.astimezone(UTC)
