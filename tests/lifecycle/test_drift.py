from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest
from scipy.stats import ks_2samp, wasserstein_distance

from mlops_assets.lifecycle.drift import (
    Sketch,
    Statistic,
    Verdict,
    as_table,
    effective_number,
    from_table,
    measure,
    usual_limit,
)
from mlops_assets.lifecycle.plans import Monitoring
from tests.lifecycle.worlds import sessions

MONITORING = Monitoring(window_sessions=40, stride_sessions=4, embargo_sessions=20, family_alpha=0.05)
REFERENCE, RECENT = 1200, 40
DAYS = sessions(REFERENCE + RECENT)
TRAIN_UNTIL = DAYS[REFERENCE - 1]


def _walk(generator: np.random.Generator, persistence: float, symbols: int = 3) -> np.ndarray:
    """An AR(1) that all symbols share in part, one row a session."""
    shocks = generator.normal(size=(REFERENCE + RECENT + 200, symbols)) + generator.normal(
        size=(REFERENCE + RECENT + 200, 1)
    )
    walk = np.zeros_like(shocks)
    for number in range(1, len(shocks)):
        walk[number] = persistence * walk[number - 1] + shocks[number]
    return walk[200:]


def _rows(values: np.ndarray) -> pl.DataFrame:
    days = [day for day in DAYS for _ in range(values.shape[1])]
    return pl.DataFrame({"date": days, "x": values.ravel()})


def _measure(rows: pl.DataFrame, *features: str, monitoring: Monitoring = MONITORING):
    return measure(rows, features or ("x",), train_until=TRAIN_UNTIL, monitoring=monitoring)


@pytest.mark.parametrize("shift", [0.0, 0.5, 6.0])
def test_the_sketch_measures_what_scipy_measures(shift: float):
    generator = np.random.default_rng(11)
    reference, recent = generator.standard_t(4, size=30_000), generator.standard_t(4, size=800) * 1.2 + shift
    sketch = Sketch.of(reference).including(recent)
    found = sketch.distances(sketch.counts(recent), sketch.counts(reference))
    assert found[Statistic.KS] == pytest.approx(ks_2samp(reference, recent).statistic, abs=0.003)
    expected = wasserstein_distance(reference, recent) / reference.std(ddof=1)
    assert found[Statistic.WASSERSTEIN] == pytest.approx(expected, rel=0.02)


def test_a_correlated_series_is_worth_fewer_values():
    generator = np.random.default_rng(4)
    white = generator.normal(size=20_000)
    moving = np.convolve(white, np.ones(10) / 10, mode="valid")  # worth one in ten
    assert effective_number(white) == pytest.approx(20_000, rel=0.15)
    assert effective_number(moving) == pytest.approx(2_000, rel=0.25)
    assert effective_number(np.ones(50)) == 1.0


def test_the_limit_is_exceeded_as_often_as_it_says():
    generator = np.random.default_rng(8)
    alpha, trials, windows = 0.05, 4_000, 25
    exceeded = sum(
        float(np.exp(generator.normal()))
        > usual_limit(
            Statistic.WASSERSTEIN, np.exp(generator.normal(size=windows)), effective_windows=windows, alpha=alpha
        )
        for _ in range(trials)
    )
    assert exceeded / trials == pytest.approx(alpha, abs=3 * np.sqrt(alpha * (1 - alpha) / trials))


def test_the_limit_of_a_bounded_distance_stays_within_its_bound():
    wide = np.random.default_rng(1).uniform(0.2, 0.95, size=50)
    assert 0.9 < usual_limit(Statistic.KS, wide, effective_windows=6, alpha=0.0005) < 1


@pytest.mark.slow
@pytest.mark.parametrize("persistence", [0.0, 0.7, 0.95])
def test_nothing_changed_means_few_alarms_where_a_p_value_cries_wolf(persistence: float):
    generator = np.random.default_rng(int(persistence * 100))
    trials = 120
    ours = p_value = 0
    for _ in range(trials):
        values = _walk(generator, persistence)
        ours += _measure(_rows(values)).features[0].verdict is Verdict.EXCESSIVE
        p_value += ks_2samp(values[:REFERENCE].ravel(), values[REFERENCE:].ravel()).pvalue < 0.05
    limit = MONITORING.family_alpha
    assert ours / trials <= limit + 3 * np.sqrt(limit * (1 - limit) / trials)
    if persistence:
        assert p_value / trials > 0.5


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 5.0), (6.0, 0.0)])
def test_a_shift_or_a_spread_beyond_the_reference_is_seen(scale: float, offset: float):
    values = _walk(np.random.default_rng(5), 0.3)
    values[REFERENCE:] = values[REFERENCE:] * scale + offset
    (found,) = _measure(_rows(values)).features
    assert found.verdict is Verdict.EXCESSIVE
    assert found.worst is not None
    assert found.worst.times_threshold > 1


@pytest.mark.parametrize(
    ("recent", "reason"),
    [
        (pl.lit(1.5), "the recent window is constant at 1.5"),
        (pl.lit(None, dtype=pl.Float64), "the recent window holds a value in only 0 of 120 rows"),
        (pl.lit(float("inf")), "the recent window holds 120 infinite values"),
    ],
)
def test_a_recent_window_that_can_not_be_measured_says_why(recent: pl.Expr, reason: str):
    rows = _rows(_walk(np.random.default_rng(6), 0.3))
    broken = rows.with_columns(pl.when(pl.col("date") > TRAIN_UNTIL).then(recent).otherwise(pl.col("x")).alias("x"))
    (found,) = _measure(broken).features
    assert (found.verdict, found.reason) == (Verdict.NOT_MEASURED, reason)


def test_missing_wrongly_typed_and_short_input_is_stated():
    rows = _rows(_walk(np.random.default_rng(6), 0.3)).with_columns(pl.lit("a").alias("word"))
    absent, word, fine = _measure(rows, "y", "word", "x").features
    assert absent.reason == "the view has no column y"
    assert word.reason == "the column is String, not a number"
    assert fine.verdict is Verdict.USUAL
    (short,) = _measure(rows.filter(pl.col("date") <= DAYS[REFERENCE + 10])).features
    assert short.reason == "only 11 of 40 sessions follow the reference"
    (young,) = _measure(rows.filter(pl.col("date") > DAYS[REFERENCE - 100])).features
    assert "the reference has 99 sessions" in young.reason
    empty = _measure(rows.clear())
    assert empty.features[0].verdict is Verdict.NOT_MEASURED
    assert empty.recent_from is None


def test_a_stricter_budget_raises_every_limit():
    rows = _rows(_walk(np.random.default_rng(6), 0.3))
    (loose,), (strict,) = (
        _measure(rows, monitoring=replace(MONITORING, family_alpha=alpha)).features for alpha in (0.1, 0.001)
    )
    for one, other in zip(loose.scores, strict.scores, strict=True):
        assert one.value == other.value
        assert one.threshold < other.threshold


def test_the_snapshot_reads_back_as_the_findings():
    rows = _rows(_walk(np.random.default_rng(6), 0.3))
    result = _measure(rows, "x", "y")
    assert from_table(as_table(result)) == list(result.features)
    assert as_table(result).column("reference_until").to_pylist() == [TRAIN_UNTIL] * 3
    assert isinstance(result.recent_until, date)
