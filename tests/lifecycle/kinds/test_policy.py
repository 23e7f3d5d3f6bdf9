import hashlib
import math
import subprocess
import sys
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from mlops_assets.features.spec import Fold
from mlops_assets.kernel.errors import InvalidDeclaration
from mlops_assets.lifecycle import plots
from mlops_assets.lifecycle.kinds.allocation_states import FeatureBorders, States
from mlops_assets.lifecycle.kinds.known import kind_of
from mlops_assets.lifecycle.kinds.policy import scores_of
from mlops_assets.lifecycle.kinds.policy_artifact import StoredPolicy, policy_bytes, read_policy
from mlops_assets.lifecycle.kinds.q_learning import QTable
from mlops_assets.lifecycle.template import IncompleteMetadata, require_complete
from mlops_assets.lifecycle.training.candidate import train_candidate
from mlops_assets.lifecycle.training.folds import complete_rows
from mlops_assets.lifecycle.training.predictions import predict
from tests.lifecycle.kinds.policy_worlds import FEATURES, allocation_set, policy_spec, rows_of
from tests.lifecycle.worlds import changed

_FIT = """
import hashlib
from tests.lifecycle.kinds.test_policy import fitted
print(hashlib.sha256(fitted()).hexdigest())
"""
KIND = kind_of("policy")
LATER = pl.col("fold").is_in(["valid", "test", "live", "purged"])


def fitted(table=None, **changes: object) -> bytes:
    """The artifact of a fit to the train fold."""
    table = allocation_set() if table is None else table
    return KIND.fit(rows_of(table, Fold.TRAIN), rows_of(table, Fold.VALID), policy_spec(**changes)).content


def follows(*, every: int = 2) -> tuple[StoredPolicy, bytes]:
    """A policy that holds everything where volatility_20d is above 0 and it holds nothing, keeps what it holds, and
    knows nothing of the state in which it holds everything and volatility_20d is not above 0."""
    features = tuple(FeatureBorders(feature=name, borders=(0.0,)) for name in FEATURES)
    states = States(features=features, weights=(0.0, 1.0))
    values, visits = [], []
    for state in range(states.count):
        is_up, held = state // 2 % 2, state % 2
        values.append([0.0, 0.5] if is_up else [0.25, 0.0])
        visits.append([1, 0] if held and not is_up else [1, 1])
    policy = StoredPolicy(states=states, every_sessions=every, table=QTable(values=values, visits=visits))
    return policy, policy_bytes(policy)


def rows(symbol: str, volatility: list[float], returns: list[float] | None = None) -> pl.DataFrame:
    """Sessions of one symbol."""
    days = [date(2024, 1, 1) + timedelta(days=number) for number in range(len(volatility))]
    return pl.DataFrame(
        {
            "symbol": [symbol] * len(days),
            "date": days,
            "momentum_12_1": [0.1] * len(days),
            "return_20d": [0.1] * len(days),
            "volatility_20d": volatility,
            "forward_return": returns or [0.0] * len(days),
        }
    )


def together(*frames: pl.DataFrame) -> pl.DataFrame:
    return pl.concat(frames).sort("date", "symbol")


def test_two_processes_learn_the_same_bytes_and_another_seed_another_table():
    there = subprocess.run([sys.executable, "-c", _FIT], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == hashlib.sha256(fitted()).hexdigest()
    one, other = (read_policy(fitted(seed=seed), FEATURES) for seed in (1, 2))
    assert one.states == other.states
    assert one.table.values != other.table.values


def test_what_is_learned_is_deaf_to_every_later_fold():
    moved = [(-10 * pl.col(name) - 1).alias(name) for name in (*FEATURES, "forward_return")]
    later = changed(
        allocation_set(),
        *(
            pl.when(LATER).then(one).otherwise(pl.col(one.meta.output_name())).alias(one.meta.output_name())
            for one in moved
        ),
    )
    assert fitted(later) == fitted()


def test_no_symbol_learns_from_anothers_rows_which_way_they_are_sorted():
    table = allocation_set()
    shuffled = table.take(np.random.default_rng(3).permutation(table.num_rows))
    assert fitted(shuffled) == fitted()


def test_it_finds_a_signal_that_is_there():
    table = allocation_set(signal=2.0)
    trained = train_candidate(table, policy_spec(params={"passes": 20}))
    assert trained.skill.beats_every_baseline
    assert all(gain.estimate > 0 for period in trained.periods for gain in period.gains)
    by_bucket = trained.said.group_by(pl.col("state").str.extract(r"volatility_20d (\d)")).agg(
        pl.col("target_weight").mean()
    )
    weights = dict(by_bucket.rows())
    assert weights["1"] < 0.05
    assert weights["3"] > 0.95


def test_every_row_tells_the_decision_that_stands():
    _, content = follows()
    said = KIND.predict(rows("A", [1.0, -1.0, 1.0, 1.0, -1.0]), content, policy_spec())
    assert said["target_weight"].to_list() == [1.0, 1.0, 1.0, 1.0, 0.0]
    assert said["value"].to_list() == [0.5, 0.5, 0.5, 0.5, None]
    assert [text.split("volatility_20d ")[1] for text in said["state"]] == [
        "2/2, held 0",
        "2/2, held 0",
        "2/2, held 1",
        "2/2, held 1",
        "1/2, held 1 (not learned: cash)",
    ]
    assert said.columns == [column.name for column in KIND.columns]


def test_each_symbol_is_replayed_on_its_own():
    table, content = allocation_set(), fitted()
    everything = complete_rows(table, FEATURES)
    said = KIND.predict(everything, content, policy_spec())
    for symbol in ("S0", "S3"):
        is_its = everything["symbol"] == symbol
        alone = KIND.predict(everything.filter(is_its), content, policy_spec())
        assert said.filter(is_its).equals(alone)


@pytest.mark.parametrize("days", [1, 2, 5, 6, 137])
def test_what_was_said_is_not_moved_by_later_rows(days: int):
    everything, content = complete_rows(allocation_set(), FEATURES), fitted()
    whole = KIND.predict(everything, content, policy_spec())
    prefix = KIND.predict(everything.head(4 * days), content, policy_spec())
    assert whole.head(4 * days).equals(prefix)


def test_replaying_again_says_the_same():
    table, content, spec = allocation_set(), fitted(), policy_spec()
    one, other = (predict(table, content, spec, model_version=1) for _ in range(2))
    assert one.equals(other)
    assert KIND.check(pl.DataFrame(pl.from_arrow(one))) == {"outside_0_to_1": 0}


def test_a_single_row_is_decided_by_what_is_held_already():
    _, content = follows()
    row = rows("A", [-1.0]).drop("forward_return")
    held = row.with_columns(pl.lit(0.8).alias("held_weight"))
    assert KIND.predict(row, content, policy_spec())["state"].item().endswith("held 0")
    assert KIND.predict(held, content, policy_spec())["state"].item().endswith("held 1 (not learned: cash)")


def test_a_weight_outside_0_to_1_or_none_at_all_is_counted():
    said = pl.DataFrame({"target_weight": [0.0, 1.0, 1.2, -0.1, None, math.nan]})
    assert KIND.check(said) == {"outside_0_to_1": 4}


def test_losses_are_worked_by_hand():
    """Every 5 sessions at 15 basis points: A has two complete decisions and one row more, B has one."""
    a = rows("A", [0.0] * 11, [0.10, *[9.0] * 4, -0.20, *[9.0] * 4, 0.5])
    b = rows("B", [0.0] * 9, [0.04, *[9.0] * 8]).with_columns(pl.lit(1.0).alias("held_weight"))
    both = together(a.with_columns(pl.lit(0.0).alias("held_weight")), b)
    weights = {("A", 0): 1.0, ("A", 5): 0.5, ("B", 0): 0.5}
    place = pl.int_range(pl.len()).over("symbol")
    keyed = both.with_columns(place.alias("place")).select("symbol", "place").rows()
    said = pl.DataFrame({"target_weight": [weights.get((symbol, at // 5 * 5), 0.5) for symbol, at in keyed]})
    losses = dict(zip(keyed, KIND.losses(both, said, policy_spec()).tolist(), strict=True))
    expected = {
        ("A", 0): math.log(1.10 * (1 - 0.0015)),
        ("A", 5): math.log(0.90 * (1 - 0.00075)),
        ("B", 0): math.log(1.02 * (1 - 0.00075)),
    }
    judged = {key: -loss for key, loss in losses.items() if not math.isnan(loss)}
    assert judged == pytest.approx(expected)


def test_scores_are_worked_by_hand():
    growth, weight, traded = [0.02, -0.01, 0.0, 0.03], [1.0, 1.0, 0.0, 0.5], [1.0, 0.0, 1.0, 0.5]
    scores = scores_of(pl.DataFrame({"growth": growth, "weight": weight, "traded": traded}), every_sessions=5)
    assert scores == pytest.approx(
        {
            "decisions": 4,
            "minus_log_growth": -0.01,
            "annual_return": math.exp(0.01 * 50.4) - 1,
            "annual_volatility": float(np.std(growth, ddof=1)) * math.sqrt(50.4),
            "turnover": 2.5 / 4 * 50.4,
            "time_invested": 0.75,
            "hit_rate": 2 / 3,
        }
    )


def test_holding_pays_once_and_cash_never():
    test = rows_of(allocation_set(), Fold.TEST)
    naive = KIND.naive(test, test, policy_spec())
    hold, cash = (KIND.scores(test, naive[name], policy_spec()) for name in KIND.baselines)
    a_symbol = test.filter(pl.col("symbol") == "S0")
    decided = a_symbol["forward_return"].to_list()[: a_symbol.height // 5 * 5 : 5]
    alone = KIND.losses(a_symbol, naive["hold"].head(a_symbol.height), policy_spec())
    assert -np.nansum(alone) == pytest.approx(math.log(math.prod(1 + one for one in decided)) + math.log(1 - 0.0015))
    assert (hold["time_invested"], cash["time_invested"], cash["hit_rate"]) == (1.0, 0.0, None)
    assert cash["minus_log_growth"] == 0.0


def test_a_trained_policy_says_all_that_its_template_asks_of_training():
    trained = train_candidate(allocation_set(), policy_spec())
    with pytest.raises(IncompleteMetadata) as caught:
        require_complete("allocation_policy", "policy", trained.metadata())
    of_the_platform = ["code_version", "environment", "feature_views", "inputs", "training_set_fingerprint", "trials"]
    assert caught.value.missing == of_the_platform
    for figure in (plots.skill_plot(trained), plots.spread_plot(trained.said, trained.spec)):
        assert figure.axes[0].get_xlabel()


def test_it_decides_as_often_as_its_label_looks_ahead():
    with pytest.raises(InvalidDeclaration, match="horizon_sessions"):
        policy_spec(learner={"every_sessions": 4})


def test_a_table_too_large_for_its_past_is_refused():
    with pytest.raises(InvalidDeclaration, match=r"20000 states.*fewer features"):
        policy_spec(learner={"buckets": 10, "weights": [number / 20 for number in range(20)]})
