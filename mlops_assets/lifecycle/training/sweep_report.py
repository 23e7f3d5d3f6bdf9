"""How a sweep is shown: its trials, the best parameters as they go into a declaration, the loss trial by trial."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from mlops_assets.lifecycle.training.trials import Trial, Values

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def trial_rows(trials: Sequence[Trial]) -> list[dict[str, object]]:
    """Return trials as rows of a table: number, state, loss, then one column for each parameter."""
    return [
        {"trial": one.number, "state": one.state.value, "valid_loss": one.value, **one.parameters} for one in trials
    ]


def as_declared(best: Values) -> str:
    """Return parameters as the lines of `learner.params` of a declaration."""
    import yaml

    return yaml.safe_dump({"learner": {"params": dict(best)}}, sort_keys=True)


def trials_plot(trials: Sequence[Trial]) -> Figure:
    """Draw the loss of each trial and the lowest so far; a failed trial is a mark at the bottom."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    complete = [(one.number, one.value) for one in trials if one.value is not None]
    numbers, values = [number for number, _ in complete], [value for _, value in complete]
    axes.plot(numbers, values, "o", color="#4c78a8", markersize=4, label="trial")
    axes.step(numbers, list(accumulate(values, min)), where="post", color="#e45756", label="lowest so far")
    failed = [one.number for one in trials if one.value is None]
    if failed:
        axes.plot(
            failed, [0.02] * len(failed), "x", color="black", transform=axes.get_xaxis_transform(), label="failed"
        )
    axes.set_xlabel("trial")
    axes.set_ylabel("loss on the valid fold")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
