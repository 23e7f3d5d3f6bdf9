import numpy as np
import pytest

from mlops_assets.lifecycle.plots import periods_plot, reliability
from mlops_assets.lifecycle.training.candidate import train_candidate
from tests.lifecycle.worlds import small_spec, training_set


def test_reliability_groups_equal_counts_from_low_to_high():
    groups = reliability(np.array([0, 0, 1, 1]), np.array([0.8, 0.1, 0.9, 0.2]), bins=2)
    assert [(group.said, group.came_true, group.rows) for group in groups] == [
        (pytest.approx(0.15), 0.5, 2),
        (pytest.approx(0.85), 0.5, 2),
    ]


def test_each_period_shows_its_gain_over_each_baseline():
    trained = train_candidate(training_set(), small_spec())
    axes = periods_plot(trained).axes[0]
    drawn = [container.lines[0].get_ydata() for container in axes.containers]
    assert [list(values) for values in drawn] == [
        [period.gains[number].estimate for period in trained.periods] for number in range(2)
    ]
