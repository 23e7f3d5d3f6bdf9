"""Versions are compared on what none of them learned from, paired by day, with intervals."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlops_assets.features.spec import Fold, Label
from mlops_assets.kernel.errors import NotFound
from mlops_assets.lifecycle.kinds.known import kind_of
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.lifecycle.training.compare import (
    SCORE_RESAMPLES,
    Comparison,
    Judged,
    NotComparable,
    Verdict,
    compare,
    require_same_question,
    shared_rows,
)
from mlops_assets.lifecycle.training.folds import fold_rows
from mlops_assets.lifecycle.training.skill import block_resamples
from mlops_assets.lifecycle.training.version_comparison import compare_versions
from tests.lifecycle.kinds.policy_worlds import allocation_set, policy_spec, rows_of
from tests.lifecycle.registered import DAYS, MODEL, declaration, publish, services_with_versions, train
from tests.lifecycle.worlds import small_spec, training_set

SPEC = small_spec()
ROWS = fold_rows(training_set(signal=1.0, count=1450, symbols=3), SPEC.features, Fold.TEST)
UP = {True: 0.8, False: 0.2}


def _judged(version: int, probability: Any, rows: pl.DataFrame = ROWS, spec: ModelSpec = SPEC) -> Judged:
    """A version that says a probability of each of its rows."""
    said = rows.select("date", "symbol", pl.Series("probability", probability, dtype=pl.Float64))

    def say(asked: pl.DataFrame) -> pl.DataFrame:
        return asked.select("date", "symbol").join(said, on=["date", "symbol"], how="left", maintain_order="left")

    return Judged(version=version, spec=spec, rows=rows, say=say)


def _knowing(version: int, rows: pl.DataFrame = ROWS) -> Judged:
    """A version that knows the sign of the feature which drives the label."""
    return _judged(version, [UP[value > 0] for value in rows["return_1d"]], rows)


def _ignorant(version: int, rows: pl.DataFrame = ROWS) -> Judged:
    return _judged(version, np.random.default_rng(version).uniform(0.4, 0.6, rows.height), rows)


@cache
def _usual() -> Comparison:
    return compare([_ignorant(1), _knowing(2)])


def _by_metric(found: Comparison) -> dict[str, Any]:
    return {one.metric: one for one in found.differences}


def test_a_version_that_knows_more_is_better_and_the_other_way_round_worse():
    up, down = _usual(), compare([_knowing(2), _ignorant(1)])
    better, worse = _by_metric(up)["log_loss"], _by_metric(down)["log_loss"]
    assert (better.verdict, worse.verdict) == (Verdict.BETTER, Verdict.WORSE)
    assert (better.estimate, better.low, better.high) == (-worse.estimate, -worse.high, -worse.low)
    assert better.estimate == pytest.approx(up.values["log_loss"][2] - up.values["log_loss"][1], abs=1e-12)
    assert _by_metric(up)["auc"].verdict is Verdict.HIGHER
    assert _by_metric(up)["brier"].verdict is Verdict.LOWER


def test_two_versions_that_say_the_same_are_not_told_apart():
    found = compare([_knowing(1), _knowing(2)])
    assert {one.verdict for one in found.differences} == {Verdict.NOT_TOLD_APART}
    assert {one.estimate for one in found.differences} == {0.0}


def test_two_versions_without_skill_are_not_told_apart():
    found = _by_metric(compare([_ignorant(1), _ignorant(2)]))
    for name in ("log_loss", "auc", "information_coefficient"):
        assert found[name].verdict is Verdict.NOT_TOLD_APART
        assert found[name].low < 0 < found[name].high


def test_each_of_more_than_two_is_compared_with_the_first():
    found = compare([_ignorant(4), _knowing(2), _ignorant(9)])
    assert found.versions == [4, 2, 9]
    assert {one.version for one in found.differences} == {2, 9}
    assert set(found.values["auc"]) == {4, 2, 9}


def test_the_interval_of_a_score_is_that_of_drawn_days_one_that_is_drawn_twice_counted_twice():
    first, second = _ignorant(1), _knowing(2)
    found = _by_metric(_usual())["information_coefficient"]
    daily = {}
    for one in (first, second):
        frame = one.rows.select("date", "forward_return", one.say(one.rows)["probability"])
        rho = frame.group_by("date").agg(pl.corr("probability", "forward_return", method="spearman").alias("rho"))
        daily[one.version] = rho.sort("date")["rho"].to_numpy()
    draws = block_resamples(len(daily[1]), np.random.default_rng(SPEC.seed))[:SCORE_RESAMPLES]
    gaps = [np.nanmean(daily[2][draw]) - np.nanmean(daily[1][draw]) for draw in draws]
    np.testing.assert_allclose([found.low, found.high], np.quantile(gaps, [0.05, 0.95]), atol=1e-9)


def test_only_rows_of_every_test_fold_with_one_outcome_count():
    days = [date(2024, 1, 1) + timedelta(day) for day in range(4)]
    first = pl.DataFrame({"date": days, "symbol": "A", "forward_return": [0.1, 0.2, 0.3, 0.4], "label": 1})
    second = pl.DataFrame({"date": days[1:], "symbol": "A", "forward_return": [0.2, 0.9, 0.4], "label": 1})
    shared, restated = shared_rows([first, second])
    assert shared["date"].to_list() == [days[1], days[3]]
    assert restated == 1


def test_versions_are_judged_on_nothing_else_than_the_shared_rows():
    border = ROWS["date"].unique().sort()[60]
    later = ROWS.filter(pl.col("date") >= border)
    other = ROWS.filter(pl.col("date") < border)
    spoilt = pl.concat([other.with_columns((1 - pl.col("label")).alias("label")), later]).sort("date", "symbol")
    whole, part = compare([_knowing(1), _knowing(2, later)]), compare([_knowing(1, spoilt), _knowing(2, later)])
    assert whole.values == part.values
    assert (whole.rows, whole.first) == (later.height, str(border))


def test_versions_that_share_no_row_are_refused_with_the_reason():
    border = ROWS["date"].unique().sort()[60]
    early, late = ROWS.filter(pl.col("date") < border), ROWS.filter(pl.col("date") >= border)
    with pytest.raises(NotComparable, match="would be judged on what it learned from"):
        compare([_knowing(1, early), _knowing(2, late)])


def test_versions_that_answer_different_questions_are_refused():
    longer = replace(SPEC, training_set=replace(SPEC.training_set, label=Label(horizon_sessions=20)))
    with pytest.raises(NotComparable, match=r"label\.horizon_sessions is 5 in 1 and 20 in 2"):
        require_same_question({1: SPEC, 2: longer})
    with pytest.raises(NotComparable, match="kind is classifier in 1 and policy in 2"):
        require_same_question({1: SPEC, 2: replace(SPEC, kind="policy")})
    require_same_question({1: SPEC, 2: replace(SPEC, seed=1, version="9.0.0")})


def test_the_api_gets_each_metric_with_its_value_by_version():
    found = compare([_judged(1, np.full(ROWS.height, 0.5)), _knowing(2)])
    shape = {one["metric_name"]: one["values"] for one in found.by_metric()}
    assert set(shape["auc"]) == {"1", "2"}
    assert shape["auc"]["1"] == 0.5
    assert set(shape["information_coefficient"]) == {"2"}, "one that ranks nothing has no value"
    assert "rows" not in shape


def test_registered_versions_are_compared_with_what_they_learned_from(tmp_path: Path):
    services = services_with_versions(tmp_path)
    moved = declaration(version="1.2.0")
    folds = {"train_until": DAYS[350].isoformat(), "valid_until": DAYS[420].isoformat(), "embargo_sessions": 2}
    moved["training_set"] = {**moved["training_set"], "folds": folds}
    third = train(services, moved, publish(services, moved))
    found = compare_versions(MODEL, [1, 3, 3], models=services.models, snapshots=services.snapshots)
    test = pl.DataFrame(services.snapshots.frame(services.snapshots.head("datasets/signal_daily")))
    judged = test.filter(pl.col("fold") == "test", pl.col("label").is_not_null())
    assert third.version == 3
    assert found.versions == [1, 3]
    assert (found.rows, found.first) == (judged.height, str(judged["date"].min()))
    assert found.values["auc"][3] == pytest.approx(third.metrics["test/auc"], abs=1e-11)


def test_every_version_that_there_is_not_is_named(tmp_path: Path):
    services = services_with_versions(tmp_path)
    with pytest.raises(
        NotFound, match=r"signal_classifier@7, signal_classifier@9.*versions of signal_classifier: 1, 2"
    ):
        compare_versions(MODEL, [7, 1, 9], models=services.models, snapshots=services.snapshots)


def test_policies_whose_folds_begin_on_different_days_are_replayed_from_the_first_shared_one():
    """Retrained on folds that move on, they would decide on other days, and with something held."""
    spec, table = policy_spec(), allocation_set(signal=1.0)
    rows = {fold: rows_of(table, fold) for fold in (Fold.TRAIN, Fold.VALID, Fold.TEST)}
    kind = kind_of("policy")
    say = partial(kind.predict, content=kind.fit(rows[Fold.TRAIN], rows[Fold.VALID], spec).content, spec=spec)
    days = rows[Fold.TEST]["date"].unique().sort()
    early = Judged(version=1, spec=spec, rows=rows[Fold.TEST], say=say)
    late = replace(early, version=2, rows=rows[Fold.TEST].filter(pl.col("date") >= days[7]))
    found = compare([early, late])
    assert found.first == str(days[7])
    assert {(one.estimate, one.low, one.high) for one in found.differences} == {(0.0, 0.0, 0.0)}
    alone = kind.scores(late.rows, say(late.rows), spec)
    assert {name: values[1] for name, values in found.values.items()} == {
        name: value for name, value in alone.items() if name != "rows"
    }
    short = replace(early, version=2, rows=rows[Fold.TEST].filter(pl.col("date") >= days[-4]))
    with pytest.raises(NotComparable, match="share 4 sessions, too few for one decision"):
        compare([early, short])
