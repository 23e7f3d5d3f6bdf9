"""What holds of training whatever the kind: repeatable to the byte, and deaf to what comes later."""

import hashlib
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from mlops_assets.lifecycle.training.candidate import train_candidate
from mlops_assets.lifecycle.training.folds import EmptyFold
from mlops_assets.lifecycle.training.walk_forward import splits, walk_forward
from tests.lifecycle.worlds import changed, small_spec, training_set

_TRAIN = """
import hashlib
from mlops_assets.lifecycle.training.candidate import train_candidate
from tests.lifecycle.worlds import small_spec, training_set
print(hashlib.sha256(train_candidate(training_set(), small_spec()).fitted.content).hexdigest())
"""


def _content(table=None, spec=None) -> bytes:
    return train_candidate(table or training_set(), spec or small_spec()).fitted.content


def test_two_processes_fit_the_same_bytes():
    here = hashlib.sha256(_content()).hexdigest()
    there = subprocess.run([sys.executable, "-c", _TRAIN], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


def test_the_order_of_the_rows_does_not_matter():
    table = training_set()
    shuffled = table.take(np.random.default_rng(3).permutation(table.num_rows))
    assert _content(shuffled) == _content(table)


def test_the_fit_never_sees_the_test_fold():
    table = training_set()
    flipped = changed(
        table, pl.when(pl.col("fold") == "test").then(1 - pl.col("label")).otherwise(pl.col("label")).alias("label")
    )
    assert _content(flipped) == _content(table)


def test_early_stopping_listens_to_the_valid_fold():
    table = training_set(signal=1.0)
    flipped = changed(
        table, pl.when(pl.col("fold") == "valid").then(1 - pl.col("label")).otherwise(pl.col("label")).alias("label")
    )
    rounds = [train_candidate(one, small_spec()).fitted.facts["rounds"] for one in (flipped, table)]
    assert rounds[0] < rounds[1]


def test_each_period_is_judged_by_a_fit_that_knew_nothing_of_the_embargo_or_later():
    spec, table = small_spec(), training_set()
    rows = pl.DataFrame(pl.from_arrow(table)).filter(pl.col("label").is_not_null())
    days = rows["date"].unique().sort()
    found = list(splits(table, spec))
    assert [split.test["date"].n_unique() for split in found] == [100, 100]
    assert found[-1].test["date"].max() == days[-1]
    for split in found:
        begins, valid_begins = split.test["date"].min(), split.valid["date"].min()
        learned, tuned = (part["label_known_at"].dt.date().max() for part in (split.train, split.valid))
        assert days.filter((days > tuned) & (days < begins)).len() == 10
        assert days.filter((days > learned) & (days < valid_begins)).len() >= 10
        assert split.train["symbol"].n_unique() == split.test["symbol"].n_unique() == 4


def test_a_period_is_not_moved_by_what_comes_after_it():
    spec, table = small_spec(), training_set()
    first = walk_forward(table, spec)[0]
    border = pl.lit(first.last).str.to_date()
    later = changed(
        table, pl.when(pl.col("date") > border).then(1 - pl.col("label")).otherwise(pl.col("label")).alias("label")
    )
    assert walk_forward(later, spec)[0] == first
    assert walk_forward(later, spec)[1] != walk_forward(table, spec)[1]


def test_every_gap_of_a_candidate_counts():
    trained = train_candidate(training_set(), small_spec())
    assert trained.folds_lie_apart
    assert trained.fewest_sessions_apart == 10
    assert len(trained.periods) == 2


@pytest.mark.parametrize("left", [-3505, 0, 5, 11, 12, 16, 30])
def test_a_history_that_is_too_short_for_the_periods_is_refused(left: int):
    """`left` sessions come before the first period: its embargo, labels and the valid fifth leave nothing."""
    periods = {"windows": 1, "window_sessions": 1495 - left}
    with pytest.raises(EmptyFold, match="lower walk_forward"):
        train_candidate(training_set(), small_spec(walk_forward=periods))
