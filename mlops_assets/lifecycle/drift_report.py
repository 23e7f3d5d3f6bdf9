"""How drift is shown: one plot of distances beside their limits, and Evidently's report with our limits."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from mlops_assets.lifecycle.drift import DriftResult, FeatureDrift, Statistic, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_REFERENCE_ROWS = 20_000
_COLOURS = {Verdict.USUAL: "#4c78a8", Verdict.EXCESSIVE: "#d62728"}


def drift_plot(result: DriftResult) -> Figure:
    """Draw each distance as a multiple of its limit; a bar beyond 1 is excessive."""
    from matplotlib.figure import Figure

    bars = [(feature, score) for feature in reversed(result.features) for score in reversed(feature.scores)]
    figure = Figure(figsize=(8, 1.2 + 0.32 * max(len(bars), 1)))
    axes = figure.subplots()
    axes.barh(
        [f"{feature.feature}, {score.statistic}" for feature, score in bars],
        [score.times_threshold for _, score in bars],
        color=[_COLOURS[feature.verdict] for feature, _ in bars],
    )
    axes.axvline(1, color="black", linewidth=1, linestyle="--")
    axes.set_xlabel("distance, as a multiple of the largest usual one")
    axes.set_title(f"{result.recent_from} to {result.recent_until} against {result.reference_until} and before")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def evidently_html(result: DriftResult, rows: pl.DataFrame, *, train_until: date) -> bytes | None:
    """Let Evidently draw the measured features with our Wasserstein limits, or return None if there are none.

    The reference is thinned to every k-th row: the report shows shapes, the verdicts are ours.
    """
    measured = [feature for feature in result.features if feature.scores]
    if not measured:
        return None
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    names = [feature.feature for feature in measured]
    known = rows.select("date", *names).drop_nulls()
    reference = known.filter(pl.col("date") <= train_until)
    recent = known.filter(pl.col("date") >= result.recent_from)
    thinned = reference.gather_every(-(-reference.height // _MOST_REFERENCE_ROWS))
    definition = DataDefinition(numerical_columns=names)
    preset = DataDriftPreset(
        columns=names,
        per_column_method=dict.fromkeys(names, "wasserstein"),
        per_column_threshold={feature.feature: _wasserstein_limit(feature) for feature in measured},
    )
    snapshot = Report([preset]).run(
        Dataset.from_pandas(recent.select(names).to_pandas(), data_definition=definition),
        Dataset.from_pandas(thinned.select(names).to_pandas(), data_definition=definition),
    )
    return snapshot.get_html_str(as_iframe=False).encode()


def _wasserstein_limit(feature: FeatureDrift) -> float:
    return next(score.threshold for score in feature.scores if score.statistic is Statistic.WASSERSTEIN)
