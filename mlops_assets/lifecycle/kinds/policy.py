"""A policy: the target weight of each symbol, from a table learned in a seeded environment and replayed as it stands.

A weight is a fraction of the symbol's position limit. Each symbol is replayed on its own: decided on its first row and
every `every_sessions` rows after that, the weight kept in between. Two baselines: always hold everything, never
anything.

Figures enter a version's metadata, so logarithms are `math`'s and not numpy's, which has others for AVX-512.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version

import numpy as np
import polars as pl

from mlops_assets.kernel.columns import Column
from mlops_assets.kernel.fingerprint import Json
from mlops_assets.lifecycle.kinds.allocation_states import States, borders_of
from mlops_assets.lifecycle.kinds.kind import READ_AND_KEPT, Figures, Fitted, Format
from mlops_assets.lifecycle.kinds.policy_artifact import StoredPolicy, policy_bytes, read_policy
from mlops_assets.lifecycle.kinds.q_learning import learn
from mlops_assets.lifecycle.learner import PolicyLearner
from mlops_assets.lifecycle.spec import ModelSpec, fields_of
from mlops_assets.lifecycle.training.skill import steady

HOLD, CASH = "hold", "cash"
HELD_WEIGHT = "held_weight"
NOT_LEARNED = "not learned: cash"
SESSIONS_A_YEAR = 252


class Policy:
    """Tabular Q-learning."""

    columns = (
        Column(
            name="target_weight",
            type="float",
            unit="fraction",
            description="Weight to hold, as a fraction of the symbol's position limit.",
            minimum=0.0,
            maximum=1.0,
        ),
        Column(
            name="value",
            type="float",
            unit="log growth",
            description="Discounted log growth, net of costs, that the decision is thought to lead to; null where the "
            "state was not learned.",
            is_nullable=True,
        ),
        Column(
            name="state",
            type="string",
            description="What was decided on: each feature's bucket, lowest first, and the weight that was held; and "
            f"whether it is `{NOT_LEARNED}`.",
        ),
    )
    loss_name = "minus_log_growth"
    baselines = (HOLD, CASH)
    libraries = frozenset({"gymnasium"})
    rule_modules = tuple(
        f"mlops_assets.lifecycle.kinds.{name}"
        for name in ("policy", "policy_artifact", "allocation_environment", "allocation_states", "q_learning")
    )

    def fit(self, train: pl.DataFrame, valid: pl.DataFrame, spec: ModelSpec) -> Fitted:
        from mlops_assets.lifecycle.kinds.allocation_environment import AllocationEnvironment, histories_of

        learner, parameters = _learner(spec), _learner(spec).params
        states = States(features=borders_of(train, spec.features, learner.buckets), weights=learner.weights)
        environment = AllocationEnvironment(
            histories_of(train, states),
            states=states.count,
            weights=learner.weights,
            every_sessions=learner.every_sessions,
            cost_bps=learner.cost_bps,
        )
        table = learn(
            environment,
            states=states.count,
            actions=len(learner.weights),
            episodes=parameters.passes * environment.symbols,
            exploration=parameters.exploration,
            discount=parameters.discount,
            seed=spec.seed,
        )
        policy = StoredPolicy(states=states, every_sessions=learner.every_sessions, table=table)
        declared: dict[str, Json] = {
            "buckets": learner.buckets,
            "weights": list(learner.weights),
            "every_sessions": learner.every_sessions,
            "cost_bps": learner.cost_bps,
        }
        return Fitted(
            content=policy_bytes(policy),
            format=Format.JSON,
            library=f"gymnasium {version('gymnasium')}",
            parameters={**fields_of(parameters), **declared, "seed": spec.seed},
            facts={
                **declared,
                "steps": table.steps,
                "states": states.count,
                "states_learned": sum(policy.chosen(state) is not None for state in range(states.count)),
            },
        )

    def predict(self, rows: pl.DataFrame, content: bytes, spec: ModelSpec) -> pl.DataFrame:
        policy = _read_once(content, spec.features)
        decided = _replay(policy, rows)
        says = {state: _said(policy, state) for state in set(decided)}
        return pl.DataFrame(
            [says[state] for state in decided],
            schema={"target_weight": pl.Float64, "value": pl.Float64, "state": pl.String},
            orient="row",
        )

    def naive(self, train: pl.DataFrame, rows: pl.DataFrame, spec: ModelSpec) -> Mapping[str, pl.DataFrame]:
        weights = {HOLD: 1.0, CASH: 0.0}
        return {name: pl.DataFrame({"target_weight": np.full(rows.height, weight)}) for name, weight in weights.items()}

    def losses(self, rows: pl.DataFrame, said: pl.DataFrame, spec: ModelSpec) -> np.ndarray:
        decisions = decisions_of(rows, said, _learner(spec))
        losses = np.full(rows.height, np.nan)
        losses[decisions.get_column("row").to_numpy()] = -decisions.get_column("growth").to_numpy()
        return losses

    def scores(self, rows: pl.DataFrame, said: pl.DataFrame, spec: ModelSpec) -> Figures:
        learner = _learner(spec)
        return {"rows": rows.height, **scores_of(decisions_of(rows, said, learner), learner.every_sessions)}

    def check(self, said: pl.DataFrame) -> Mapping[str, int]:
        inside = pl.col("target_weight").is_between(0, 1).fill_null(value=False)
        return {"outside_0_to_1": said.filter(~inside).height}


_read_once = lru_cache(maxsize=READ_AND_KEPT)(read_policy)


def decisions_of(rows: pl.DataFrame, said: pl.DataFrame, learner: PolicyLearner) -> pl.DataFrame:
    """Return a row for each decision whose period is complete and whose outcome is known.

    Columns: row (its number in `rows`), date, symbol, weight, traded (how far from what was held) and growth: the log
    growth until the next decision, net of `cost_bps` of what was traded.
    """
    session, sessions = pl.int_range(pl.len()).over("symbol"), pl.len().over("symbol")
    held_first = pl.col(HELD_WEIGHT).fill_null(0.0) if HELD_WEIGHT in rows.columns else pl.lit(0.0)
    decided = (
        rows.with_row_index("row")
        .with_columns(
            said.get_column("target_weight").alias("weight"),
            held_first.alias("held_first"),
            session.alias("session"),
            (sessions - session).alias("left"),
        )
        .filter(pl.col("session") % learner.every_sessions == 0)
        .with_columns(pl.col("weight").shift(1).over("symbol").fill_null(pl.col("held_first")).alias("held"))
        .filter(pl.col("left") >= learner.every_sessions, pl.col("forward_return").is_not_null())
        .with_columns((pl.col("weight") - pl.col("held")).abs().alias("traded"))
    )
    outcomes = zip(
        *(decided.get_column(name).to_list() for name in ("weight", "forward_return", "traded")), strict=True
    )
    growth = [net_growth(weight, change, traded, learner.cost_bps) for weight, change, traded in outcomes]
    return decided.select("row", "date", "symbol", "weight", "traded", pl.Series("growth", growth, dtype=pl.Float64))


def net_growth(weight: float, forward_return: float, traded: float, cost_bps: float) -> float:
    """Return the log growth of what is held at `weight`, after `cost_bps` of what was traded to get there."""
    return math.log1p(weight * forward_return) + math.log1p(-cost_bps / 10_000 * traded)


def scores_of(decisions: pl.DataFrame, every_sessions: int) -> Figures:
    """Return the metrics of decisions, of a typical symbol at its position limit and not of a portfolio.

    Annual figures count 252 sessions. `turnover` is the fraction of the limit that is traded in a year;
    `time_invested` the share of decisions that hold anything; `hit_rate` the share of those that gained net of costs.
    """
    count = decisions.height
    growth, traded = (decisions.get_column(name).to_list() for name in ("growth", "traded"))
    invested = decisions.filter(pl.col("weight") > 0)
    if count < 2:
        names = ("minus_log_growth", "annual_return", "annual_volatility", "turnover", "time_invested", "hit_rate")
        return {"decisions": count, **dict.fromkeys(names)}
    mean, a_year = math.fsum(growth) / count, SESSIONS_A_YEAR / every_sessions
    variance = math.fsum((one - mean) ** 2 for one in growth) / (count - 1)
    return {
        "decisions": count,
        "minus_log_growth": steady(0.0 - mean),
        "annual_return": steady(math.expm1(mean * a_year)),
        "annual_volatility": steady(math.sqrt(variance * a_year)),
        "turnover": steady(math.fsum(traded) / count * a_year),
        "time_invested": steady(invested.height / count),
        "hit_rate": steady(invested.filter(pl.col("growth") > 0).height / invested.height) if invested.height else None,
    }


def _replay(policy: StoredPolicy, rows: pl.DataFrame) -> list[int]:
    """Return for each row the state in which the weight that it holds was decided."""
    nothing_held = policy.states.of_rows(rows)
    decided = np.zeros(rows.height, dtype=np.int64)
    first_held = rows.get_column(HELD_WEIGHT).fill_null(0.0) if HELD_WEIGHT in rows.columns else None
    for places in rows.with_row_index("row").group_by("symbol", maintain_order=True).agg("row").get_column("row"):
        at = places.to_numpy()
        held = 0 if first_held is None else policy.states.nearest(first_held[int(at[0])])
        for start in range(0, len(at), policy.every_sessions):
            state = int(nothing_held[at[start]]) + held
            decided[at[start : start + policy.every_sessions]] = state
            held = policy.chosen(state) or 0
    return decided.tolist()


def _said(policy: StoredPolicy, state: int) -> tuple[float, float | None, str]:
    chosen, words = policy.chosen(state), policy.states.words(state)
    if chosen is None:
        return 0.0, None, f"{words} ({NOT_LEARNED})"
    return policy.states.weights[chosen], policy.table.values[state][chosen], words


def _learner(spec: ModelSpec) -> PolicyLearner:
    assert isinstance(spec.learner, PolicyLearner)
    return spec.learner
