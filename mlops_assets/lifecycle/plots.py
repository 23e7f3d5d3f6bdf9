"""How a model is shown: whether its probabilities come true, and how they are spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlops_assets.lifecycle.candidate import Candidate
from mlops_assets.lifecycle.spec import Buckets, fields_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def reliability_plot(candidate: Candidate) -> Figure:
    """Draw how often each tenth of the test rows came true against what it was told."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4))
    axes = figure.subplots()
    said = [group.said for group in candidate.reliability]
    true = [group.came_true for group in candidate.reliability]
    ends = [min(*said, *true), max(*said, *true)]
    axes.plot(ends, ends, color="grey", linestyle="--", linewidth=1, label="as told")
    axes.plot(said, true, marker="o", color="#4c78a8", label="tenths of the test fold")
    axes.set_xlabel("probability told")
    axes.set_ylabel("share that came true")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def probability_plot(probability: np.ndarray, buckets: Buckets) -> Figure:
    """Draw the spread of probabilities with the borders of the buckets."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3))
    axes = figure.subplots()
    axes.hist(probability, bins=60, color="#4c78a8")
    for name, border in fields_of(buckets).items():
        axes.axvline(float(str(border)), color="black", linewidth=1, linestyle="--")
        axes.text(float(str(border)), axes.get_ylim()[1], f" {name}", rotation=90, va="top", fontsize=8)
    axes.set_xlim(0, 1)
    axes.set_xlabel("probability")
    axes.set_ylabel("rows")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
