"""What a replay and an explanation look like: figures for the report and for the asset pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlops_assets.evaluation.explain import Importance
from mlops_assets.evaluation.replay import Replay
from mlops_assets.evaluation.spec import StressEvent

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BEESWARM_ROWS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """Colours that read on one background; the baseline's is the quiet one."""

    paper: str
    ink: str
    muted: str
    grid: str
    baseline: str
    candidates: tuple[str, ...]


LIGHT = Theme(
    paper="#ffffff",
    ink="#1c2128",
    muted="#5b6570",
    grid="#e3e6ea",
    baseline="#8a939e",
    candidates=("#1f6fb5", "#c2571a", "#2f8558", "#7d4fb0", "#a8324e"),
)
DARK = Theme(
    paper="#14171b",
    ink="#e6e9ed",
    muted="#a2abb5",
    grid="#2b3138",
    baseline="#8a939e",
    candidates=("#64aeea", "#ef9556", "#63c08f", "#b692e0", "#e8809a"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """How large a figure is, in inches, and its theme."""

    width: float = 7.6
    height: float = 3.3
    theme: Theme = LIGHT

    @property
    def is_wide(self) -> bool:
        return self.width > 5


def colours(baselines: Sequence[str], candidates: Sequence[str], theme: Theme) -> dict[str, str]:
    """Give every strategy its colour."""
    ring = theme.candidates
    return {
        **dict.fromkeys(baselines, theme.baseline),
        **{name: ring[index % len(ring)] for index, name in enumerate(candidates)},
    }


def equity_curves(
    results: Mapping[str, Replay], colour: Mapping[str, str], events: Sequence[StressEvent], canvas: Canvas
) -> Figure:
    """Draw equity by day; stress events are shaded."""
    figure, axis = _axis(canvas)
    _shade(axis, events, canvas)
    for name, result in results.items():
        axis.plot(result.dates, result.equity / 1_000, label=name, color=colour[name], linewidth=1.4)
    axis.set_ylabel("equity, thousand USD")
    _dates(axis, canvas)
    _legend(axis, canvas)
    return figure


def drawdown_curves(
    results: Mapping[str, Replay], colour: Mapping[str, str], events: Sequence[StressEvent], canvas: Canvas
) -> Figure:
    """Draw the fall from the running peak by day."""
    figure, axis = _axis(canvas)
    _shade(axis, events, canvas)
    for name, result in results.items():
        fall = (result.equity / np.maximum.accumulate(result.equity) - 1.0) * 100
        axis.plot(result.dates, fall, label=name, color=colour[name], linewidth=1.2)
    axis.axhline(0, color=canvas.theme.grid, linewidth=0.8)
    axis.set_ylabel("below the peak, %")
    _dates(axis, canvas)
    _legend(axis, canvas)
    return figure


def fills_by_month(results: Mapping[str, Replay], colour: Mapping[str, str], canvas: Canvas) -> Figure:
    """Draw how many orders were filled in each month."""
    figure, axis = _axis(canvas)
    months = sorted({str(day) for result in results.values() for day in result.dates.astype("datetime64[M]")})
    width = 0.8 / len(results)
    for index, (name, result) in enumerate(results.items()):
        counts = Counter(f"{fill.date:%Y-%m}" for fill in result.fills)
        places = np.arange(len(months)) + (index - (len(results) - 1) / 2) * width
        axis.bar(places, [counts[month] for month in months], width=width, label=name, color=colour[name])
    step = max(1, len(months) // (12 if canvas.is_wide else 5))
    axis.set_xticks(np.arange(len(months))[::step], months[::step], rotation=0 if canvas.is_wide else 30)
    axis.set_ylabel("fills a month")
    _legend(axis, canvas)
    return figure


def importance_bars(importances: Sequence[Importance], canvas: Canvas) -> Figure:
    """Draw mean |SHAP| by feature, the greatest on top."""
    figure, axis = _axis(canvas)
    ordered = list(reversed(importances[:15]))
    values = [one.mean_absolute_shap for one in ordered]
    bars = axis.barh([one.feature for one in ordered], values, color=canvas.theme.candidates[0], height=0.62)
    labels = [f"{one.share:.0%}" for one in ordered]
    axis.bar_label(bars, labels=labels, padding=4, color=canvas.theme.muted, fontsize=8)
    axis.set_xlabel("mean |SHAP|, log-odds")
    axis.grid(visible=False)
    axis.set_axisbelow(True)
    axis.margins(x=0.1)
    return figure


def beeswarm(explanations: pl.DataFrame, values: pl.DataFrame, features: Sequence[str], *, seed: int) -> Figure:
    """Draw SHAP values against feature values with the `shap` package, on an evenly spaced part of the rows.

    Reproducible only with numpy's global seed set: the package scatters points with it.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import shap

    rows = np.unique(np.linspace(0, explanations.height - 1, min(_BEESWARM_ROWS, explanations.height)).astype(int))
    shown = explanations[rows]
    explanation = shap.Explanation(
        values=shown.select([f"shap_{name}" for name in features]).to_numpy(),
        base_values=shown["base"].to_numpy(),
        data=values[rows].select(features).to_numpy(),
        feature_names=list(features),
    )
    state = np.random.get_state()  # the package draws from the global generator
    np.random.seed(seed)
    try:
        plt.close("all")
        shap.plots.beeswarm(explanation, show=False, max_display=20)
        figure = plt.gcf()
    finally:
        np.random.set_state(state)
        plt.close("all")
    return figure


def _axis(canvas: Canvas) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    theme = canvas.theme
    figure = Figure(figsize=(canvas.width, canvas.height), layout="constrained", facecolor=theme.paper)
    axis = figure.subplots()
    axis.set_facecolor(theme.paper)
    for side, spine in axis.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.grid)
    axis.tick_params(colors=theme.muted, labelsize=8, length=0, pad=5)
    axis.grid(visible=True, axis="y", color=theme.grid, linewidth=0.6)
    axis.set_axisbelow(True)
    for label in (axis.xaxis.label, axis.yaxis.label):
        label.set_color(theme.muted)
        label.set_fontsize(8)
    return figure, axis


def _shade(axis: Axes, events: Sequence[StressEvent], canvas: Canvas) -> None:
    """Shade the events; on a narrow canvas every second label sits higher, so that neighbours don't collide."""
    theme = canvas.theme
    for index, event in enumerate(events):
        start, end = np.datetime64(event.start), np.datetime64(event.end)
        axis.axvspan(start, end, color=theme.grid, alpha=0.55, linewidth=0)  # pyright: ignore[reportArgumentType]
        axis.text(
            start,  # pyright: ignore[reportArgumentType]
            1.0 if canvas.is_wide or index % 2 == 0 else 1.05,
            f" {event.label}",
            transform=axis.get_xaxis_transform(),
            va="bottom",
            fontsize=7.5,
            color=theme.muted,
        )


def _dates(axis: Axes, canvas: Canvas) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=12 if canvas.is_wide else 6)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axis.xaxis.get_offset_text().set_color(canvas.theme.muted)
    axis.xaxis.get_offset_text().set_fontsize(8)
    axis.margins(x=0.01)


def _legend(axis: Axes, canvas: Canvas) -> None:
    """Name the lines below the axis, where they cover nothing."""
    axis.legend(
        frameon=False,
        fontsize=8,
        labelcolor=canvas.theme.ink,
        loc="upper left" if canvas.is_wide else "upper center",
        bbox_to_anchor=(-0.01, -0.09) if canvas.is_wide else (0.5, -0.14),
        ncols=6 if canvas.is_wide else 3,
        handlelength=1.3,
        columnspacing=1.4,
    )
