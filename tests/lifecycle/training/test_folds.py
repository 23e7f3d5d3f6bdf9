from datetime import timedelta

import polars as pl
import pyarrow.compute as pc
import pytest

from mlops_assets.features.spec import Fold
from mlops_assets.lifecycle.training.folds import EmptyFold, complete_rows, fold_gaps, fold_rows
from tests.lifecycle.worlds import FEATURES, changed, training_set


def test_a_row_with_a_missing_or_infinite_feature_is_left_out():
    table = training_set(symbols=1)
    holed = changed(
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
    first, second = fold_gaps(changed(training_set(), late.alias("label_known_at")))
    assert not first.is_disjoint
    assert first.sessions == 0
    assert second.is_disjoint


def test_an_empty_fold_is_named():
    no_valid = training_set().filter(pc.field("fold") != "valid")
    with pytest.raises(EmptyFold, match="valid"):
        fold_rows(no_valid, FEATURES, Fold.VALID)
