import hashlib
import subprocess
import sys
from datetime import timedelta

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from mlops_assets.features.spec import Fold
from mlops_assets.lifecycle.train import EmptyFold, complete_rows, fit, fold_gaps, fold_rows
from tests.lifecycle.worlds import FEATURES, small_spec, training_set

_FIT = """
import hashlib
from mlops_assets.lifecycle.train import fit
from tests.lifecycle.worlds import small_spec, training_set
print(hashlib.sha256(fit(training_set(), small_spec()).text.encode()).hexdigest())
"""


def _changed(table: pa.Table, *columns: pl.Expr) -> pa.Table:
    return pl.DataFrame(pl.from_arrow(table)).with_columns(*columns).to_arrow(compat_level=pl.CompatLevel.oldest())


def test_two_processes_fit_the_same_bytes():
    here = hashlib.sha256(fit(training_set(), small_spec()).text.encode()).hexdigest()
    there = subprocess.run([sys.executable, "-c", _FIT], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


def test_the_order_of_the_rows_does_not_matter():
    table = training_set()
    shuffled = table.take(np.random.default_rng(3).permutation(table.num_rows))
    assert fit(shuffled, small_spec()).text == fit(table, small_spec()).text


def test_the_fit_never_sees_the_test_fold():
    table = training_set()
    flipped = _changed(
        table, pl.when(pl.col("fold") == "test").then(1 - pl.col("label")).otherwise(pl.col("label")).alias("label")
    )
    assert fit(flipped, small_spec()).text == fit(table, small_spec()).text


def test_early_stopping_listens_to_the_valid_fold():
    table = training_set(signal=1.0)
    flipped = _changed(
        table, pl.when(pl.col("fold") == "valid").then(1 - pl.col("label")).otherwise(pl.col("label")).alias("label")
    )
    assert fit(flipped, small_spec()).rounds < fit(table, small_spec()).rounds


def test_a_row_with_a_missing_or_infinite_feature_is_left_out():
    table = training_set(symbols=1)
    holed = _changed(
        table,
        pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise(pl.col("return_1d")).alias("return_1d"),
        pl.when(pl.int_range(pl.len()) == 7).then(float("inf")).otherwise(pl.col("rsi_14")).alias("rsi_14"),
    )
    assert complete_rows(holed, FEATURES).height == table.num_rows - 2


def test_the_gap_between_folds_counts_the_sessions_of_the_embargo():
    gaps = fold_gaps(training_set())
    assert [(gap.earlier, gap.later) for gap in gaps] == [("train", "valid"), ("valid", "test")]
    assert all(gap.is_disjoint and gap.sessions == 10 for gap in gaps)


def test_a_label_that_is_learned_after_the_next_fold_begins_is_seen():
    late = pl.col("label_known_at") + pl.when(pl.col("fold") == "train").then(timedelta(days=40)).otherwise(timedelta())
    first, second = fold_gaps(_changed(training_set(), late.alias("label_known_at")))
    assert not first.is_disjoint
    assert first.sessions == 0
    assert second.is_disjoint


def test_an_empty_fold_is_named():
    no_valid = training_set().filter(pa.compute.field("fold") != "valid")
    with pytest.raises(EmptyFold, match="valid"):
        fold_rows(no_valid, FEATURES, Fold.VALID)
