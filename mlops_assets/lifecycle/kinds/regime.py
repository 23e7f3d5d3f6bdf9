"""A regime: which of four states the market is in today, by a mixture of Gaussians over features of the market's day.

The features are the same for every stock of a day, so one row a day teaches and is judged. Components have no names of
their own: the one with the highest mean volatility is `volatile`; of the others the one with the highest mean trend is
`bullish`, that with the lowest `bearish`, the last `sideways`.

What is said of a day depends on that day's features alone. A hidden Markov model's `predict` finds the likeliest path
through all days it is given (Viterbi), and its posteriors are smoothed: both change what is said of a day by what came
after it, which is look-ahead wherever history is replayed.

Two baselines, both judged by the same density: one Gaussian, and one for each quadrant of trend and volatility above or
below their medians in the train fold, weighted by how many days fell there.

scikit-learn fits by BLAS, whose sums differ in the last bit between processors. What is stored is rounded to eight
digits, which hides them: the same fit gave the same bytes on every processor tried, and surely does on one type of it.
Given the bytes, what is said is the same everywhere and for any number of rows, because densities are sums in a fixed
order and logarithms are `math`'s.
"""

# scikit-learn carries no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

from mlops_assets.kernel.columns import Column
from mlops_assets.kernel.errors import PlatformError
from mlops_assets.kernel.fingerprint import Json
from mlops_assets.lifecycle import skops_file
from mlops_assets.lifecycle.kinds.kind import READ_AND_KEPT, Figures, Fitted, Format
from mlops_assets.lifecycle.learner import RegimeLearner
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.lifecycle.training.folds import matrix
from mlops_assets.lifecycle.training.skill import steady

REGIMES = ("bullish", "bearish", "volatile", "sideways")
PROBABILITIES = tuple(f"p_{name}" for name in REGIMES)
SINGLE_GAUSSIAN, QUADRANTS = "single_gaussian", "quadrants"
ESTIMATOR = "sklearn.mixture._gaussian_mixture.GaussianMixture"
DAYS_THAT_DIFFER = 0.05
"""A stock that is told late may see other values than the rest; on more days than this they are not the day's."""


class NotOfTheDay(PlatformError):
    """A feature of a regime model differs between the stocks of a day."""

    code = "not_of_the_day"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mixture:
    """Gaussians by weight, mean and upper triangular root of the inverse covariance: P P' = inverse of S."""

    weights: np.ndarray
    means: np.ndarray
    roots: np.ndarray

    @classmethod
    def of(cls, groups: Sequence[np.ndarray], *, regularisation: float) -> Mixture:
        """Fit a Gaussian to each group of days, weighted by its share; the variances get `regularisation` added."""
        days = sum(len(group) for group in groups)
        covariances = [
            np.cov(group, rowvar=False, bias=True).reshape(group.shape[1], -1) + regularisation * np.eye(group.shape[1])
            for group in groups
        ]
        return cls(
            weights=np.array([len(group) / days for group in groups]),
            means=np.array([group.mean(axis=0) for group in groups]),
            roots=np.array([np.linalg.inv(np.linalg.cholesky(covariance)).T for covariance in covariances]),
        )

    def log_joint(self, days: np.ndarray) -> np.ndarray:
        """Return the logarithm of weight times density, a row for each day and a column for each component."""
        return np.column_stack([self._log_joint(number, days) for number in range(len(self.weights))])

    def _log_joint(self, component: int, days: np.ndarray) -> np.ndarray:
        root, apart = self.roots[component], days - self.means[component]
        size = days.shape[1]
        squares = np.zeros(len(days))
        for column in range(size):
            along = np.zeros(len(days))
            for row in range(column + 1):
                along = along + apart[:, row] * root[row, column]
            squares = squares + along * along
        heights = math.fsum(math.log(root[place, place]) for place in range(size))
        return math.log(self.weights[component]) + heights - 0.5 * size * math.log(2 * math.pi) - 0.5 * squares


class Regime:
    """Four named Gaussians."""

    columns = (
        Column(name="regime", type="string", description="bullish, bearish, volatile or sideways: the likeliest."),
        *(
            Column(
                name=f"p_{name}",
                type="float",
                unit="fraction",
                description=f"Probability that the market is {name}, by the day's own features alone.",
                minimum=0.0,
                maximum=1.0,
            )
            for name in REGIMES
        ),
        Column(
            name="log_density",
            type="float",
            unit="nats",
            description="Logarithm of the density of the day's features; low where no regime knows such a day.",
        ),
    )
    loss_name = "negative_log_density"
    baselines = (SINGLE_GAUSSIAN, QUADRANTS)
    libraries = frozenset({"scikit-learn", "skops"})
    rule_modules = ("mlops_assets.lifecycle.kinds.regime", "mlops_assets.lifecycle.skops_file")

    def fit(self, train: pl.DataFrame, valid: pl.DataFrame, spec: ModelSpec) -> Fitted:
        """Fit to the days of `train`; there is nothing to stop or to calibrate, so `valid` is not looked at."""
        import sklearn

        learner, days = _learner(spec), days_of(train, spec.features)
        parameters: dict[str, Json] = {
            "n_components": len(REGIMES),
            "covariance_type": "full",
            "max_iter": learner.params.max_iterations,
            "tol": learner.params.tolerance,
            "reg_covar": learner.params.regularisation,
        }
        mixture = _best_of(
            learner.params.initialisations, matrix(days, spec.features), parameters=parameters, seed=spec.seed
        )
        names = _names(mixture.means_, spec)
        return Fitted(
            content=skops_file.dumps(mixture),
            format=Format.SKOPS,
            library=f"scikit-learn {sklearn.__version__}",
            parameters={**parameters, "initialisations": learner.params.initialisations, "seed": spec.seed},
            facts={
                "regimes": {
                    name: {
                        "weight": steady(mixture.weights_[component]),
                        "means": {
                            feature: steady(mean)
                            for feature, mean in zip(spec.features, mixture.means_[component], strict=True)
                        },
                    }
                    for component, name in sorted(enumerate(names), key=lambda pair: REGIMES.index(pair[1]))
                },
                "converged": bool(mixture.converged_),
                "iterations": int(mixture.n_iter_),
                "teaching_days": days.height,
            },
        )

    def predict(self, rows: pl.DataFrame, content: bytes, spec: ModelSpec) -> pl.DataFrame:
        stored = _read_once(content, spec.features)
        names = _names(stored.means, spec)
        probability, density = posterior(stored.log_joint(matrix(rows, spec.features)))
        by_name = probability[:, [names.index(name) for name in REGIMES]]
        return pl.DataFrame(
            {
                "regime": [REGIMES[likeliest] for likeliest in by_name.argmax(axis=1)],
                **{column: by_name[:, number] for number, column in enumerate(PROBABILITIES)},
                "log_density": density,
            },
            schema={"regime": pl.String, **dict.fromkeys((*PROBABILITIES, "log_density"), pl.Float64)},
        )

    def naive(self, train: pl.DataFrame, rows: pl.DataFrame, spec: ModelSpec) -> Mapping[str, pl.DataFrame]:
        learner, days = _learner(spec), days_of(train, spec.features)
        values, judged = matrix(days, spec.features), matrix(rows, spec.features)
        quadrants = _quadrants(days, learner.trend, learner.volatility)
        by_name = {SINGLE_GAUSSIAN: [values], QUADRANTS: [values[is_in] for is_in in quadrants if is_in.any()]}
        mixtures = {
            name: Mixture.of(groups, regularisation=learner.params.regularisation) for name, groups in by_name.items()
        }
        return {
            name: pl.DataFrame({"log_density": posterior(mixture.log_joint(judged))[1]})
            for name, mixture in mixtures.items()
        }

    def losses(self, rows: pl.DataFrame, said: pl.DataFrame, spec: ModelSpec) -> np.ndarray:
        is_first = rows.select(pl.struct("date", *spec.features).is_first_distinct()).to_series().to_numpy()
        return np.where(is_first, -said.get_column("log_density").to_numpy(), np.nan)

    def scores(self, rows: pl.DataFrame, said: pl.DataFrame, spec: ModelSpec) -> Figures:
        losses = self.losses(rows, said, spec)
        judged = losses[np.isfinite(losses)]
        density: dict[str, float | None] = {
            "rows": len(judged),
            "negative_log_density": steady(math.fsum(judged) / len(judged)),
        }
        return density if "regime" not in said.columns else {**density, **_by_regime(rows, said)}

    def check(self, said: pl.DataFrame) -> Mapping[str, int]:
        total = pl.sum_horizontal(PROBABILITIES)
        inside = pl.all_horizontal(pl.col(column).is_between(0, 1) for column in PROBABILITIES)
        adds_up = ((total - 1).abs() < 1e-9) & inside
        return {
            "no_distribution": said.filter(~adds_up.fill_null(value=False)).height,
            "unknown_regime": said.filter(~pl.col("regime").is_in(REGIMES).fill_null(value=False)).height,
            "no_density": said.filter(~pl.col("log_density").is_finite().fill_null(value=False)).height,
        }


def days_of(rows: pl.DataFrame, features: Sequence[str]) -> pl.DataFrame:
    """Return one row for each day.

    Raises:
        NotOfTheDay: if features differ between the stocks of a day on more than a few days.
    """
    distinct = rows.select("date", *features).unique(maintain_order=True)
    days = distinct.unique("date", keep="first", maintain_order=True)
    differing = distinct.group_by("date").len().filter(pl.col("len") > 1).height
    if differing > DAYS_THAT_DIFFER * days.height:
        raise NotOfTheDay(
            f"{', '.join(features)} differ between stocks on {differing} of {days.height} days. A regime is the "
            "market's: take features from a view with one value a day, such as regime."
        )
    return days


def names_of(trend: Sequence[float], volatility: Sequence[float]) -> list[str]:
    """Name four components by their mean trend and volatility: see above. Of equals the first comes first."""
    names = ["sideways"] * len(REGIMES)
    volatile = max(range(len(names)), key=lambda number: volatility[number])
    by_trend = sorted((number for number in range(len(names)) if number != volatile), key=lambda number: trend[number])
    names[volatile], names[by_trend[0]], names[by_trend[-1]] = "volatile", "bearish", "bullish"
    return names


def posterior(log_joint: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of each component, a row for each day, and the logarithm of the density of the day."""
    probabilities, densities = np.empty_like(log_joint), np.empty(len(log_joint))
    for number, row in enumerate(log_joint.tolist()):
        highest = max(row)
        shares = [math.exp(one - highest) for one in row]
        total = math.fsum(shares)
        probabilities[number] = [share / total for share in shares]
        densities[number] = highest + math.log(total)
    return probabilities, densities


def read_mixture(content: bytes, features: Sequence[str]) -> Mixture:
    """Read the Gaussians of a stored mixture over as many features.

    Raises:
        RefusedArtifact: if the file holds anything but a whole mixture of four.
    """
    parts: dict[str, Any] = vars(skops_file.loads(content, estimator=ESTIMATOR))
    size, count = len(features), len(REGIMES)
    shapes = {"weights_": (count,), "means_": (count, size), "precisions_cholesky_": (count, size, size)}
    for name, shape in shapes.items():
        part = parts.get(name)
        if not isinstance(part, np.ndarray) or part.shape != shape or not np.isfinite(part).all():
            raise skops_file.RefusedArtifact(
                f"{name} of the stored mixture is no array of {shape} finite numbers, as {', '.join(features)} need. "
                "Restore the artifact, or train the model again."
            )
    roots = parts["precisions_cholesky_"]
    if not (parts["weights_"] > 0).all() or not (np.diagonal(roots, axis1=1, axis2=2) > 0).all():
        raise skops_file.RefusedArtifact("the stored mixture has a component without weight or width; train it again.")
    return Mixture(weights=parts["weights_"], means=parts["means_"], roots=roots)


_read_once = lru_cache(maxsize=READ_AND_KEPT)(read_mixture)


def _best_of(initialisations: int, days: np.ndarray, *, parameters: Mapping[str, Any], seed: int) -> Any:  # noqa: ANN401 - scikit-learn's
    """Return the likeliest of several fits, of equals the first.

    Most find the same optimum, with likelihoods that differ in the last bits: scikit-learn's own `n_init` would let the
    processor choose between them. Likelihoods are equal when six digits are.
    """
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        fits = [
            GaussianMixture(**parameters, random_state=seed + number).fit(days) for number in range(initialisations)
        ]
    return _rounded(max(fits, key=lambda one: round(one.lower_bound_, 6)))


def _rounded(mixture: Any) -> Any:  # noqa: ANN401 - scikit-learn's
    """Round what was fitted to eight digits: iterations carry differences of the last digit up to the twelfth."""
    for name, value in vars(mixture).items():
        if isinstance(value, np.ndarray):
            setattr(mixture, name, np.array([_eight_digits(one) for one in value.flat]).reshape(value.shape))
        elif isinstance(value, np.floating):
            setattr(mixture, name, _eight_digits(float(value)))
    mixture.lower_bounds_ = [_eight_digits(one) for one in mixture.lower_bounds_]
    return mixture


def _eight_digits(value: float) -> float:
    return float(f"{value:.8g}")


def _names(means: np.ndarray, spec: ModelSpec) -> list[str]:
    learner = _learner(spec)
    trend, volatility = (spec.features.index(name) for name in (learner.trend, learner.volatility))
    return names_of(means[:, trend].tolist(), means[:, volatility].tolist())


def _quadrants(days: pl.DataFrame, trend: str, volatility: str) -> list[np.ndarray]:
    above = [(days[name] > days[name].median()).to_numpy() for name in (trend, volatility)]
    return [(above[0] == rising) & (above[1] == moving) for rising in (True, False) for moving in (True, False)]


def _by_regime(rows: pl.DataFrame, said: pl.DataFrame) -> dict[str, float | None]:
    """Return shares of days, mean dwell, and what the market did over the label's horizon after days of each regime.

    The market is the mean forward return of a day's stocks; the spread is its standard deviation over days.
    """
    days = (
        pl.DataFrame({"date": rows["date"], "forward_return": rows["forward_return"], "regime": said["regime"]})
        .group_by("date")
        .agg(pl.col("forward_return").mean(), pl.col("regime").first())
        .sort("date")
    )
    stays = days.select((pl.col("regime") != pl.col("regime").shift()).sum() + 1).item()
    found: dict[str, float | None] = {"mean_dwell_sessions": steady(days.height / stays)}
    for name in REGIMES:
        forward = days.filter(pl.col("regime") == name)["forward_return"]
        found[f"share_{name}"] = steady(len(forward) / days.height)
        found[f"forward_return_{name}"] = steady(math.fsum(forward) / len(forward)) if len(forward) else None
        found[f"forward_spread_{name}"] = steady(statistics.stdev(forward)) if len(forward) > 1 else None
    return found


def _learner(spec: ModelSpec) -> RegimeLearner:
    assert isinstance(spec.learner, RegimeLearner)
    return spec.learner
