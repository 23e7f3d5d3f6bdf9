from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from arch.bootstrap import CircularBlockBootstrap

from mlops_assets.lifecycle.training.skill import block_resamples, gain_over

DAYS = pl.Series([date(2020, 1, 1) + timedelta(days=number) for number in range(500)])


def test_rows_that_are_not_judged_do_not_count():
    model, naive = np.random.default_rng(1).uniform(size=(2, 500))
    judged = gain_over("naive", DAYS[:300], model[:300], naive[:300], seed=1)
    holed = gain_over("naive", DAYS, np.where(np.arange(500) < 300, model, np.nan), naive, seed=1)
    assert holed == judged


def test_a_day_counts_by_its_rows():
    days = pl.Series([date(2020, 1, 1)] * 3 + [date(2020, 1, 2)])
    found = gain_over("naive", days, np.zeros(4), np.array([1.0, 1.0, 1.0, 5.0]), seed=1)
    assert found.estimate == 2.0


def test_the_interval_is_that_of_a_circular_block_bootstrap():
    noise = np.random.default_rng(7).normal(size=500)
    gain = np.convolve(noise, np.ones(10) / 10, mode="same") + 0.1
    found = gain_over("naive", DAYS, np.zeros(500), gain, seed=1)
    other = CircularBlockBootstrap(20, gain, seed=3).conf_int(np.mean, 4000, method="percentile", size=0.9).ravel()
    width = other[1] - other[0]
    assert found.low == pytest.approx(other[0], abs=0.1 * width)
    assert found.high == pytest.approx(other[1], abs=0.1 * width)


def test_blocks_go_round_the_end():
    days = block_resamples(50, np.random.default_rng(1))
    assert days.shape == (1000, 50)
    steps = np.diff(days, axis=1) % 50
    assert (steps == 1).mean() > 0.94
