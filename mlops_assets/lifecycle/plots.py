"""How a model is shown: whether what it said came true, and how that is spread, by kind of model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mlops_assets.lifecycle.kinds.forecast import COLUMNS, QUANTILES, with_equity
from mlops_assets.lifecycle.kinds.policy import Policy, decisions_of
from mlops_assets.lifecycle.kinds.regime import PROBABILITIES, REGIMES
from mlops_assets.lifecycle.learner import ClassifierLearner, PolicyLearner
from mlops_assets.lifecycle.spec import ModelSpec, fields_of
from mlops_assets.lifecycle.training.candidate import Candidate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE = "#4c78a8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """What a tenth of the rows was told on average, and how often it came true."""

    said: float
    came_true: float
    rows: int


def skill_plot(candidate: Candidate) -> Figure:
    """Draw what the model said of the test fold against what came true."""
    figure, axes = _figure(5, 4)
    _SKILL[candidate.spec.kind](axes, candidate)
    return figure


def periods_plot(candidate: Candidate) -> Figure:
    """Draw the gain over each baseline, period by period, with its 90 % interval."""
    figure, axes = _figure(6, 3.5)
    axes.axhline(0, color="grey", linewidth=1)
    names = [gain.baseline for gain in candidate.periods[0].gains]
    for number, name in enumerate(names):
        gains = [period.gains[number] for period in candidate.periods]
        places = np.arange(len(gains)) + 0.15 * (number - (len(names) - 1) / 2)
        estimates = np.array([gain.estimate for gain in gains])
        spread = [estimates - [gain.low for gain in gains], [gain.high for gain in gains] - estimates]
        axes.errorbar(places, estimates, yerr=np.abs(spread), fmt="o", capsize=3, label=name)
    axes.set_xticks(range(len(candidate.periods)), [period.last for period in candidate.periods])
    axes.set_xlabel("period that ends on")
    axes.set_ylabel(f"gain in {candidate.skill.loss.replace('_', ' ')}")
    axes.legend(frameon=False)
    return figure


def spread_plot(said: pl.DataFrame, spec: ModelSpec) -> Figure:
    """Draw how what the model says is spread."""
    figure, axes = _figure(6, 3)
    _SPREAD[spec.kind](axes, said, spec)
    return figure


def reliability(label: np.ndarray, probability: np.ndarray, *, bins: int = 10) -> list[Reliability]:
    """Group rows by what they were told, in equal counts, lowest first."""
    order = np.argsort(probability, kind="stable")
    return [
        Reliability(said=float(probability[group].mean()), came_true=float(label[group].mean()), rows=group.size)
        for group in np.array_split(order, bins)
        if group.size
    ]


def _reliability(axes: Axes, candidate: Candidate) -> None:
    groups = reliability(
        candidate.test.get_column("label").to_numpy(), candidate.said.get_column("probability").to_numpy()
    )
    said, true = [group.said for group in groups], [group.came_true for group in groups]
    ends = [min(*said, *true), max(*said, *true)]
    axes.plot(ends, ends, color="grey", linestyle="--", linewidth=1, label="as told")
    axes.plot(said, true, marker="o", color=_BLUE, label="tenths of the test fold")
    axes.set_xlabel("probability told")
    axes.set_ylabel("share that came true")
    axes.legend(frameon=False)


def _probabilities(axes: Axes, said: pl.DataFrame, spec: ModelSpec) -> None:
    assert isinstance(spec.learner, ClassifierLearner)
    axes.hist(said.get_column("probability").to_numpy(), bins=60, color=_BLUE)
    for name, border in fields_of(spec.learner.buckets).items():
        axes.axvline(float(str(border)), color="black", linewidth=1, linestyle="--")
        axes.text(float(str(border)), axes.get_ylim()[1], f" {name}", rotation=90, va="top", fontsize=8)
    axes.set_xlim(0, 1)
    axes.set_xlabel("probability")
    axes.set_ylabel("rows")


def _growth(axes: Axes, candidate: Candidate) -> None:
    """Draw what the mean symbol gained, decision by decision, beside holding all of it throughout."""
    spec, rows = candidate.spec, candidate.test
    assert isinstance(spec.learner, PolicyLearner)
    for name, said in (("policy", candidate.said), *Policy().naive(rows, rows, spec).items()):
        decisions = decisions_of(rows, said, spec.learner)
        by_day = decisions.group_by("date").agg(pl.col("growth").mean()).sort("date")
        axes.plot(by_day.get_column("date").to_list(), by_day.get_column("growth").cum_sum().to_list(), label=name)
    axes.set_xlabel("decision on")
    axes.set_ylabel("log growth, net of costs")
    axes.legend(frameon=False)


def _weights(axes: Axes, said: pl.DataFrame, spec: ModelSpec) -> None:
    assert isinstance(spec.learner, PolicyLearner)
    held = said.get_column("target_weight")
    shares = [(held == weight).mean() for weight in spec.learner.weights]
    axes.bar([f"{weight:g}" for weight in spec.learner.weights], [float(str(share)) for share in shares], color=_BLUE)
    axes.set_xlabel("target weight, fraction of the position limit")
    axes.set_ylabel("share of rows")


def _quantile_shares(axes: Axes, candidate: Candidate) -> None:
    """Draw the share of outcomes below each quantile, by tenths of the test fold in time, beside what it should be."""
    said = pl.concat([with_equity(candidate.test), candidate.said], how="horizontal").sort("date", maintain_order=True)
    tenths = np.array_split(np.arange(said.height), 10)
    for column, quantile in zip(COLUMNS, QUANTILES.values(), strict=True):
        below = (said.get_column("forward_equity") < said.get_column(column)).to_numpy()
        (line,) = axes.plot(range(1, 11), [below[tenth].mean() for tenth in tenths], marker="o", label=column)
        axes.axhline(quantile, color=line.get_color(), linestyle="--", linewidth=1)
    axes.set_xlabel("tenth of the test fold, in time")
    axes.set_ylabel("share of outcomes below")
    axes.set_ylim(0, 1)
    axes.legend(frameon=False)


def _fans(axes: Axes, said: pl.DataFrame, _spec: ModelSpec) -> None:
    for column in COLUMNS:
        axes.hist(said.get_column(column).to_numpy(), bins=60, alpha=0.6, label=column)
    axes.set_xlabel("multiple of today's equity")
    axes.set_ylabel("rows")
    axes.legend(frameon=False)


def _regime_days(axes: Axes, candidate: Candidate) -> None:
    """Draw the probability of each regime, day by day, stacked."""
    said = pl.concat([candidate.test.select("date"), candidate.said], how="horizontal").unique("date").sort("date")
    axes.stackplot(
        said.get_column("date").to_list(), *(said.get_column(name) for name in PROBABILITIES), labels=REGIMES
    )
    axes.set_ylim(0, 1)
    axes.set_ylabel("probability")
    axes.legend(frameon=False, fontsize=8)


def _regime_shares(axes: Axes, said: pl.DataFrame, _spec: ModelSpec) -> None:
    axes.bar(REGIMES, [float(str((said.get_column("regime") == name).mean())) for name in REGIMES], color=_BLUE)
    axes.set_ylabel("share of rows")


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


_SKILL = {"classifier": _reliability, "policy": _growth, "forecast": _quantile_shares, "regime": _regime_days}
_SPREAD = {"classifier": _probabilities, "policy": _weights, "forecast": _fans, "regime": _regime_shares}
