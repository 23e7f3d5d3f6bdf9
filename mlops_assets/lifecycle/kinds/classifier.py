"""A classifier: the probability that the label comes true, by boosted trees, and the name of its bucket.

Two baselines: the base rate of the train fold said to every row, and the sign of a momentum feature, turned into a
probability by how often the label followed that sign in the train fold.

The figures enter a version's metadata and the evidence for its deployment, so their bits may not depend on the
processor: logarithms are `math`'s and not numpy's, which has others for AVX-512, and figures are `steady`.
"""

# LightGBM and scikit-learn carry no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import polars as pl

from mlops_assets.kernel.columns import Column
from mlops_assets.kernel.fingerprint import Json
from mlops_assets.lifecycle.kinds.kind import Figures, Fitted, Format
from mlops_assets.lifecycle.kinds.trees import fit_trees, parameters_of, values_of
from mlops_assets.lifecycle.learner import Buckets, ClassifierLearner
from mlops_assets.lifecycle.spec import ModelSpec, fields_of
from mlops_assets.lifecycle.training.skill import steady

BASE_RATE, MOMENTUM_SIGN = "base_rate", "momentum_sign"
BUCKET_NAMES = ("strong_sell", "sell", "hold", "buy", "strong_buy")
OBJECTIVE: dict[str, Json] = {"objective": "binary", "metric": "binary_logloss"}


class Classifier:
    """Binary boosted trees."""

    columns = (
        Column(
            name="probability",
            type="float",
            unit="fraction",
            description="Probability that the forward return beats the label's threshold.",
            minimum=0.0,
            maximum=1.0,
        ),
        Column(name="bucket", type="string", description="strong_sell, sell, hold, buy or strong_buy."),
    )
    loss_name = "log_loss"
    baselines = (BASE_RATE, MOMENTUM_SIGN)
    libraries = frozenset({"lightgbm"})
    rule_modules = ("mlops_assets.lifecycle.kinds.classifier", "mlops_assets.lifecycle.kinds.trees")

    def fit(self, train: pl.DataFrame, valid: pl.DataFrame, spec: ModelSpec) -> Fitted:
        learner = _learner(spec)
        trees = fit_trees(
            train,
            valid,
            features=spec.features,
            target="label",
            params=learner.params,
            objective=OBJECTIVE,
            seed=spec.seed,
        )
        return Fitted(
            content=trees.text.encode(),
            format=Format.LIGHTGBM_TEXT,
            library=trees.library,
            parameters=parameters_of(learner.params, OBJECTIVE, spec.seed),
            facts={
                "threshold": spec.training_set.label.threshold,
                "rounds": trees.rounds,
                "buckets": fields_of(learner.buckets),
            },
        )

    def predict(self, rows: pl.DataFrame, content: bytes, spec: ModelSpec) -> pl.DataFrame:
        probability = values_of(content.decode(), rows, spec.features)
        return pl.DataFrame(
            {"probability": probability, "bucket": bucket_of(probability, _learner(spec).buckets)},
            schema={"probability": pl.Float64, "bucket": pl.String},
        )

    def naive(self, train: pl.DataFrame, rows: pl.DataFrame, spec: ModelSpec) -> Mapping[str, pl.DataFrame]:
        said = baseline_probabilities(train, rows, _learner(spec).baseline.momentum)
        return {name: pl.DataFrame({"probability": probability}) for name, probability in said.items()}

    def losses(self, rows: pl.DataFrame, said: pl.DataFrame, spec: ModelSpec) -> np.ndarray:
        return log_losses(rows.get_column("label").to_numpy(), said.get_column("probability").to_numpy())

    def scores(self, rows: pl.DataFrame, said: pl.DataFrame, spec: ModelSpec) -> Figures:
        return scores_of(rows, said.get_column("probability").to_numpy())

    def check(self, said: pl.DataFrame) -> Mapping[str, int]:
        inside = pl.col("probability").is_between(0, 1).fill_null(value=False)
        return {"outside_0_to_1": said.filter(~inside).height}


def bucket_of(probability: np.ndarray, buckets: Buckets) -> list[str]:
    """Name the bucket of each probability; a threshold belongs to the bucket further from `hold`."""
    buys = np.searchsorted([buckets.buy, buckets.strong_buy], probability, side="right")
    sells = np.searchsorted([buckets.strong_sell, buckets.sell], probability, side="left") - 2
    return [BUCKET_NAMES[2 + buy + sell] for buy, sell in zip(buys, sells, strict=True)]


def baseline_probabilities(train: pl.DataFrame, rows: pl.DataFrame, momentum: str) -> dict[str, np.ndarray]:
    """Return what each baseline says of `rows`, having seen the train fold alone."""
    rate = train.get_column("label").cast(pl.Float64).mean()
    by_sign = train.group_by((pl.col(momentum) > 0).alias("is_up")).agg(
        pl.col("label").cast(pl.Float64).mean().alias("rate")
    )
    signed = rows.select((pl.col(momentum) > 0).alias("is_up")).join(
        by_sign, on="is_up", how="left", maintain_order="left"
    )
    return {
        BASE_RATE: np.full(rows.height, rate, dtype=np.float64),
        MOMENTUM_SIGN: signed.get_column("rate").fill_null(rate).to_numpy(),
    }


def scores_of(rows: pl.DataFrame, probability: np.ndarray) -> Figures:
    """Return the metrics of `probability` against the labels of `rows`.

    `information_coefficient` is the mean over days of the Spearman correlation, across symbols, of probability and
    forward return; None where no day ranks the symbols (the base rate says the same of all).
    """
    from sklearn import metrics

    label = rows.get_column("label").to_numpy()
    return {
        "rows": rows.height,
        "auc": steady(metrics.roc_auc_score(label, probability)),
        "log_loss": steady(math.fsum(log_losses(label, probability)) / rows.height),
        "brier": steady(metrics.brier_score_loss(label, probability)),
        "accuracy": steady(metrics.accuracy_score(label, probability > 0.5)),
        "information_coefficient": information_coefficient(rows, probability),
    }


def information_coefficient(rows: pl.DataFrame, probability: np.ndarray) -> float | None:
    """Return the mean daily rank correlation of probability and forward return, or None if no day has one."""
    daily = (
        rows.select("date", "forward_return", pl.Series("probability", probability))
        .group_by("date")
        .agg(
            pl.corr("probability", "forward_return", method="spearman").alias("rho"),
            (pl.col("probability").n_unique() > 1).alias("is_ranked"),
        )
        .filter("is_ranked", pl.col("rho").is_finite())
        .sort("date")
    )
    return None if daily.is_empty() else steady(math.fsum(daily.get_column("rho")) / daily.height)


def log_losses(label: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Return the log loss of each row, in nats."""
    clipped = np.clip(probability, 1e-15, 1 - 1e-15).tolist()
    pairs = zip(label.tolist(), clipped, strict=True)
    return np.array([-math.log(said) if came_true == 1 else -math.log1p(-said) for came_true, said in pairs])


def _learner(spec: ModelSpec) -> ClassifierLearner:
    assert isinstance(spec.learner, ClassifierLearner)
    return spec.learner
