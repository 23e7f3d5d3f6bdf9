"""A forecast: the 5, 50 and 95 percentile of forward equity, which is 1 plus the forward return, by boosted trees.

One set of trees for each quantile learns the pinball loss. Quantiles that cross are put in order (Chernozhukov,
Fernandez-Val and Galichon 2010: sorting never makes them worse). The valid fold is cut in two, in time: trees stop
early by the first half, and by the second half the interval is widened or narrowed until it covers what it says
(conformalized quantile regression: Romano, Patterson and Candes 2019, equation 8). The median is not moved: one and a
half years say more of where the market happened to go than of where its middle is.

The coverage that this promises is that of rows which come in any order alike. Days of a market do not: it is measured
on the test fold, period by period, and never taken for granted.

Two baselines: the quantiles of the train fold said to every row, and those of returns in units of volatility, times the
row's own volatility.
"""

# LightGBM and scikit-learn carry no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlops_assets.kernel.columns import Column
from mlops_assets.kernel.errors import PlatformError
from mlops_assets.kernel.fingerprint import Json, canonical_json
from mlops_assets.lifecycle.kinds.classifier import information_coefficient
from mlops_assets.lifecycle.kinds.kind import READ_AND_KEPT, Figures, Fitted, Format
from mlops_assets.lifecycle.kinds.trees import fit_trees, parameters_of, values_of
from mlops_assets.lifecycle.learner import ForecastLearner
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.lifecycle.training.skill import steady

QUANTILES: Mapping[str, float] = {"q05": 0.05, "q50": 0.5, "q95": 0.95}
COLUMNS = tuple(f"equity_{name}" for name in QUANTILES)
LOW, MEDIAN, HIGH = COLUMNS
COVERAGE = QUANTILES["q95"] - QUANTILES["q05"]
TRAIN_QUANTILES, SCALED_QUANTILES = "train_quantiles", "volatility_scaled"
_EQUITY = "forward_equity"


class CannotCalibrate(PlatformError):
    """The valid fold has too few rows to be cut in two and calibrate by the second half."""

    code = "cannot_calibrate"


class MalformedForecast(PlatformError):
    """The stored bytes are no forecast, or one for other features."""

    code = "malformed_forecast"

    def __init__(self, problem: str) -> None:
        super().__init__(f"the stored forecast can't be read: {problem}. Load another version, or train it again.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidHalves:
    """The valid fold, cut in two in time: no label of the first is known after the second begins."""

    stopping: pl.DataFrame
    calibration: pl.DataFrame


class Forecast:
    """Calibrated quantiles of forward equity."""

    columns = tuple(
        Column(
            name=column,
            type="float",
            unit="multiple of today's equity",
            description=f"{quantile * 100:g} percentile of 1 + the forward return.",
            minimum=0.0,
        )
        for column, quantile in zip(COLUMNS, QUANTILES.values(), strict=True)
    )
    loss_name = "pinball_loss"
    baselines = (TRAIN_QUANTILES, SCALED_QUANTILES)
    libraries = frozenset({"lightgbm"})
    rule_modules = (
        "mlops_assets.lifecycle.kinds.forecast",
        "mlops_assets.lifecycle.kinds.trees",
        "mlops_assets.lifecycle.kinds.classifier",
    )

    def fit(self, train: pl.DataFrame, valid: pl.DataFrame, spec: ModelSpec) -> Fitted:
        learner, halves = _learner(spec), valid_halves(valid)
        teaching = with_equity(thinned(train, learner.every_sessions))
        fitted = {
            name: fit_trees(
                teaching,
                with_equity(halves.stopping),
                features=spec.features,
                target=_EQUITY,
                params=learner.params,
                objective=objective(quantile),
                seed=spec.seed,
            )
            for name, quantile in QUANTILES.items()
        }
        texts = {name: trees.text for name, trees in fitted.items()}
        raw = _ordered(texts, halves.calibration, spec.features)
        widening = conformal_widening(raw[:, 0], raw[:, -1], _equity(halves.calibration))
        return Fitted(
            content=canonical_json({"trees": texts, "widening": widening}),
            format=Format.JSON,
            library=fitted["q50"].library,
            parameters={
                **parameters_of(learner.params, {"objective": "quantile", "metric": "quantile"}, spec.seed),
                "alpha": list(QUANTILES.values()),
                "every_sessions": learner.every_sessions,
            },
            facts={
                "quantiles": dict(QUANTILES),
                "rounds": {name: trees.rounds for name, trees in fitted.items()},
                "widening": widening,
                "calibration_rows": halves.calibration.height,
                "teaching_rows": teaching.height,
            },
        )

    def predict(self, rows: pl.DataFrame, content: bytes, spec: ModelSpec) -> pl.DataFrame:
        stored = _read_once(content, spec.features)
        raw = _ordered(stored.trees.model_dump(), rows, spec.features)
        return _said(np.sort(raw + np.array([-stored.widening, 0.0, stored.widening]), axis=1))

    def naive(self, train: pl.DataFrame, rows: pl.DataFrame, spec: ModelSpec) -> Mapping[str, pl.DataFrame]:
        volatility = _learner(spec).baseline.volatility
        moving = train.filter(pl.col(volatility) > 0)
        scaled = moving.get_column("forward_return").to_numpy() / moving.get_column(volatility).to_numpy()
        levels = list(QUANTILES.values())
        row_volatility = rows.get_column(volatility).to_numpy()[:, None]
        return {
            TRAIN_QUANTILES: _said(np.tile(np.quantile(_equity(train), levels), (rows.height, 1))),
            SCALED_QUANTILES: _said(1 + row_volatility * np.quantile(scaled, levels)),
        }

    def losses(self, rows: pl.DataFrame, said: pl.DataFrame, spec: ModelSpec) -> np.ndarray:
        return sum(_pinball_by_quantile(rows, said).values(), np.zeros(rows.height)) / len(QUANTILES)

    def scores(self, rows: pl.DataFrame, said: pl.DataFrame, spec: ModelSpec) -> Figures:
        equity, low, high = _equity(rows), said.get_column(LOW).to_numpy(), said.get_column(HIGH).to_numpy()
        return {
            "rows": rows.height,
            "pinball_loss": _mean(self.losses(rows, said, spec)),
            **{f"pinball_{name}": _mean(losses) for name, losses in _pinball_by_quantile(rows, said).items()},
            "coverage": _mean((low <= equity) & (equity <= high)),
            "share_below": _mean(equity < low),
            "share_above": _mean(equity > high),
            "mean_width": _mean(high - low),
            "information_coefficient": information_coefficient(rows, said.get_column(MEDIAN).to_numpy()),
        }

    def check(self, said: pl.DataFrame) -> Mapping[str, int]:
        ordered = (pl.col(LOW) <= pl.col(MEDIAN)) & (pl.col(MEDIAN) <= pl.col(HIGH))
        possible = pl.all_horizontal((pl.col(column).is_finite() & (pl.col(column) >= 0)) for column in COLUMNS)
        return {
            "quantiles_that_cross": said.filter(~ordered.fill_null(value=False)).height,
            "impossible_equity": said.filter(~possible.fill_null(value=False)).height,
        }


def objective(quantile: float) -> dict[str, Json]:
    """Return what makes LightGBM learn a quantile."""
    return {"objective": "quantile", "metric": "quantile", "alpha": quantile}


def thinned(rows: pl.DataFrame, every_sessions: int) -> pl.DataFrame:
    """Return one row in `every_sessions` of each symbol, counted from its first, in the order of `rows`."""
    return rows.filter(pl.int_range(pl.len()).over("symbol") % every_sessions == 0)


def with_equity(rows: pl.DataFrame) -> pl.DataFrame:
    """Add what is forecast: the worth after the horizon of 1 that is invested now."""
    return rows.with_columns((1 + pl.col("forward_return")).alias(_EQUITY))


def valid_halves(valid: pl.DataFrame) -> ValidHalves:
    """Cut the valid fold at its middle session; rows whose label reaches into the second half are in neither.

    Raises:
        CannotCalibrate: if a half is empty, or too few rows calibrate.
    """
    sessions = valid.get_column("date").unique().sort()
    middle = sessions[len(sessions) // 2]
    calibration = valid.filter(pl.col("date") >= middle)
    stopping = valid.filter(pl.col("label_known_at") < calibration.get_column("event_at").min())
    fewest = math.ceil(COVERAGE / (1 - COVERAGE))
    if stopping.is_empty() or calibration.height < fewest:
        raise CannotCalibrate(
            f"the {len(sessions)} sessions of the valid fold leave {stopping.height} rows to stop early by and "
            f"{calibration.height} to calibrate by, and a label's horizon apart 1 and {fewest} are needed; "
            "change folds."
        )
    return ValidHalves(stopping=stopping, calibration=calibration)


def conformal_widening(low: np.ndarray, high: np.ndarray, equity: np.ndarray) -> float:
    """Return by how much to move both ends outwards so that the interval covers what it says; below 0 is inwards.

    It is the ceil((n + 1) coverage)-th smallest of how far each row lies outside (Romano et al. 2019, equation 8).
    """
    outside = np.sort(np.maximum(low - equity, equity - high))
    # rounded first: (n + 1) * 0.9 may lie a bit above a whole number only because 0.9 has no exact float
    rank = math.ceil(round((len(outside) + 1) * COVERAGE, 9))
    return float(outside[rank - 1])


def pinball(equity: np.ndarray, said: np.ndarray, quantile: float) -> np.ndarray:
    """Return the pinball loss of each row (Koenker and Bassett 1978)."""
    missed = equity - said
    return np.maximum(quantile * missed, (quantile - 1) * missed)


def read_forecast(content: bytes, features: Sequence[str]) -> _StoredForecast:
    """Read a stored forecast that knows exactly these features, in this order.

    Raises:
        MalformedForecast: naming what is wrong.
    """
    try:
        stored = _StoredForecast.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MalformedForecast(f"{where}: {first['msg']}" if where else first["msg"]) from None
    for name, text in stored.trees.model_dump().items():
        if not text.startswith("tree\n") or f"\nfeature_names={' '.join(features)}\n" not in text:
            raise MalformedForecast(f"trees.{name} are no LightGBM trees for {', '.join(features)}")
    return stored


_read_once = lru_cache(maxsize=READ_AND_KEPT)(read_forecast)


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _StoredTrees(_Stored):
    q05: str
    q50: str
    q95: str


class _StoredForecast(_Stored):
    trees: _StoredTrees
    widening: Annotated[float, Field(ge=-1, le=10)]


def _ordered(texts: Mapping[str, str], rows: pl.DataFrame, features: Sequence[str]) -> np.ndarray:
    """Return what the trees say before calibration, a column for each quantile, in order."""
    return np.sort(np.column_stack([values_of(texts[name], rows, features) for name in QUANTILES]), axis=1)


def _said(quantiles: np.ndarray) -> pl.DataFrame:
    """Name the columns; nobody can lose more than everything."""
    return pl.DataFrame(np.maximum(quantiles, 0.0), schema=dict.fromkeys(COLUMNS, pl.Float64))


def _pinball_by_quantile(rows: pl.DataFrame, said: pl.DataFrame) -> dict[str, np.ndarray]:
    equity = _equity(rows)
    return {
        name: pinball(equity, said.get_column(f"equity_{name}").to_numpy(), quantile)
        for name, quantile in QUANTILES.items()
    }


def _equity(rows: pl.DataFrame) -> np.ndarray:
    return with_equity(rows).get_column(_EQUITY).to_numpy()


def _mean(values: np.ndarray) -> float:
    return steady(math.fsum(values) / len(values))


def _learner(spec: ModelSpec) -> ForecastLearner:
    assert isinstance(spec.learner, ForecastLearner)
    return spec.learner
