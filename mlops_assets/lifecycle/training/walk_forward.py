"""Walk-forward: the model is fitted again for each of the last periods, from what was known before it alone.

Between the last label that a fit learned and the first day it is judged on lies the embargo of the folds. The fits are
thrown away: they say how the way of learning would have done, period by period, not how the registered version will.
"""

# pyarrow carries no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from mlops_assets.kernel.fingerprint import Json
from mlops_assets.lifecycle.kinds.known import kind_of
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.lifecycle.training.folds import EmptyFold, Gap, complete_rows, gap_between
from mlops_assets.lifecycle.training.skill import Gain, gain_over

if TYPE_CHECKING:
    import pyarrow as pa

VALID_SHARE = 0.2
"""Of the sessions that a fit may see, the last fifth decides when it stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The rows of one period and of what came before it."""

    train: pl.DataFrame
    valid: pl.DataFrame
    test: pl.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """How one period went. `loss` is the mean loss; gaps lie between train, valid and the period."""

    first: str
    last: str
    rows: int
    loss: float | None
    gains: Sequence[Gain]
    gaps: Sequence[Gap]

    def as_json(self) -> dict[str, Json]:
        return {
            "first": self.first,
            "last": self.last,
            "rows": self.rows,
            "loss": self.loss,
            "gains": [gain.as_json() for gain in self.gains],
            "gaps": [asdict(gap) for gap in self.gaps],
        }


def walk_forward(table: pa.Table, spec: ModelSpec) -> list[Period]:
    """Fit and judge the model on each of its last periods, the earliest first.

    Raises:
        EmptyFold: if the history is too short for the declared periods.
    """
    sessions = _labelled(table, spec).get_column("date").unique().sort()
    return [_judged(split, spec, sessions) for split in splits(table, spec)]


def splits(table: pa.Table, spec: ModelSpec) -> Iterator[Split]:
    """Yield the rows of each period, with what was known an embargo before it."""
    rows = _labelled(table, spec)
    sessions = rows.get_column("date").unique().sort().to_list()
    declared, embargo = spec.walk_forward, spec.training_set.folds.embargo_sessions
    first_period = len(sessions) - declared.windows * declared.window_sessions
    for start in range(max(first_period, 0), len(sessions), declared.window_sessions):
        days = sessions[start : start + declared.window_sessions]
        test = rows.filter(pl.col("date").is_between(days[0], days[-1]))
        before = _known_before(rows, sessions, start, embargo)
        seen = before.get_column("date").unique().sort().to_list()
        border = int(len(seen) * (1 - VALID_SHARE))
        train = _known_before(before, seen, border, embargo)
        if train.is_empty():
            raise EmptyFold(
                f"{declared.windows} periods of {declared.window_sessions} sessions leave nothing to learn from in "
                f"{len(sessions)} sessions of {spec.training_set.name}; lower walk_forward, or ingest a longer history."
            )
        yield Split(train=train, valid=before.filter(pl.col("date") >= seen[border]), test=test)


def _known_before(rows: pl.DataFrame, sessions: Sequence[date], start: int, embargo: int) -> pl.DataFrame:
    """Return the rows whose label was known more than `embargo` sessions before session number `start`."""
    if start <= embargo:
        return rows.clear()
    return rows.filter(pl.col("label_known_at").dt.date() <= sessions[start - embargo - 1])


def _judged(split: Split, spec: ModelSpec, sessions: pl.Series) -> Period:
    kind = kind_of(spec.kind)
    said = kind.predict(split.test, kind.fit(split.train, split.valid, spec).content, spec)
    losses = kind.losses(split.test, said, spec)
    dates = split.test.get_column("date")
    naive = kind.naive(split.train, split.test, spec)
    parts: Mapping[str, pl.DataFrame] = {"train": split.train, "valid": split.valid, "period": split.test}
    return Period(
        first=str(dates.min()),
        last=str(dates.max()),
        rows=split.test.height,
        loss=kind.scores(split.test, said, spec)[kind.loss_name],
        gains=[
            gain_over(name, dates, losses, kind.losses(split.test, said_by, spec), seed=spec.seed)
            for name, said_by in naive.items()
        ],
        gaps=[
            gap_between(dict(parts), "train", "valid", sessions),
            gap_between(dict(parts), "valid", "period", sessions),
        ],
    )


def _labelled(table: pa.Table, spec: ModelSpec) -> pl.DataFrame:
    return complete_rows(table, spec.features).filter(pl.col("label").is_not_null())
