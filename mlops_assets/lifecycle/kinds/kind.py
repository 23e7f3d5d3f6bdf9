"""What a kind of model is: how it is fitted, what it says of a row, and what it is judged against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
import polars as pl

from mlops_assets.kernel.columns import Column
from mlops_assets.kernel.fingerprint import Json
from mlops_assets.lifecycle.spec import ModelSpec

Figures = Mapping[str, float | None]
"""Metrics by name; None where there is nothing to measure."""

READ_AND_KEPT = 32
"""How many artifacts are kept read: those of four models in two environments that may have to answer next, each four.

Reading one takes several times as long as asking it for a row.
"""


class Format(StrEnum):
    """How a model is stored: each of these is read without running anything that is in it."""

    LIGHTGBM_TEXT = "lightgbm-text"
    JSON = "json"
    SKOPS = "skops"

    @property
    def file_name(self) -> str:
        return {"lightgbm-text": "model.lgb", "json": "model.json", "skops": "model.skops"}[self.value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A fitted model as the bytes that are stored. `facts` is what the template of its kind asks for beside scores."""

    content: bytes
    format: Format
    library: str
    parameters: Mapping[str, Json]
    facts: Mapping[str, Json]


class KindOfModel(Protocol):
    """One kind. Rows are complete (every feature a finite number) and sorted by date and symbol.

    What a model says of rows is a frame with the kind's own columns, one row for each, in the same order. A loss is
    lower where the model was better; NaN where a row is not judged.
    """

    @property
    def columns(self) -> tuple[Column, ...]: ...

    @property
    def loss_name(self) -> str: ...

    @property
    def baselines(self) -> tuple[str, ...]: ...

    @property
    def libraries(self) -> frozenset[str]:
        """What the graph's kinds show."""
        ...

    @property
    def rule_modules(self) -> tuple[str, ...]:
        """The modules whose source decides what a fit yields."""
        ...

    def fit(self, train: pl.DataFrame, valid: pl.DataFrame, spec: ModelSpec) -> Fitted:
        """Fit to `train`; `valid` may decide when to stop or how to calibrate. The same input gives the same bytes."""
        ...

    def predict(self, rows: pl.DataFrame, content: bytes, spec: ModelSpec) -> pl.DataFrame:
        """Return what a stored model says of rows."""
        ...

    def naive(self, train: pl.DataFrame, rows: pl.DataFrame, spec: ModelSpec) -> Mapping[str, pl.DataFrame]:
        """Return what each baseline says of `rows`, having seen `train` alone."""
        ...

    def losses(self, rows: pl.DataFrame, said: pl.DataFrame, spec: ModelSpec) -> np.ndarray:
        """Return the loss of what was said of each row; `loss_name` is its mean."""
        ...

    def scores(self, rows: pl.DataFrame, said: pl.DataFrame, spec: ModelSpec) -> Figures:
        """Return the metrics of what was said of labelled rows; `rows` and `loss_name` are among them."""
        ...

    def check(self, said: pl.DataFrame) -> Mapping[str, int]:
        """Count the rows of predictions that no model of this kind may say, by what is wrong with them."""
        ...
