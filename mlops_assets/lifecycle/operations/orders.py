"""Which orders a version's predictions lead to, and where two versions would trade differently.

A target is the share of the account that a symbol shall have after a session; an order is the change of a target. An
order that is decided at a close is filled at the next close, as in the replays,
so that what is decided at session t earns the return from t+1 to t+2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import polars as pl

from mlops_assets.kernel.errors import MissingColumns
from mlops_assets.lifecycle.training.skill import steady

ROUND_TRIP_BPS = 30.0
"""What buying and selling cost together where nothing else is declared: twice 10 bps commission and 5 bps slippage."""

_ROW = ["symbol", "date"]
_SAME = 1e-9
_BUYS = ("buy", "strong_buy")
READS: Mapping[str, Sequence[str]] = {
    "classifier": ("bucket",),
    "forecast": ("equity_q50",),
    "policy": ("target_weight",),
}
"""By kind, the columns of its predictions that orders follow from."""


class Verdict(StrEnum):
    """How the orders of two versions for one symbol in one session compare."""

    SAME = "same"
    SIDE_DIFFERS = "side_differs"
    QUANTITY_DIFFERS = "quantity_differs"
    ONLY_CHAMPION = "only_champion"
    ONLY_CHALLENGER = "only_challenger"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What following one version would have done to an account in a period.

    `total_return` and `drawdown` (positive: 0.1 is a fall by a tenth) are None while no return is known; costs are not
    in them. `turnover` is half of what is bought and sold, as a multiple of the account. The account borrows nothing:
    where targets add up to more than 1, all are scaled down, for these three figures alone.
    """

    orders: int
    most_orders_a_session: int
    largest_weight: float
    turnover: float
    total_return: float | None
    drawdown: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OrderComparison:
    """Two versions over the same rows: one row for each (symbol, session) in which at least one of them trades.

    `equity` has a row for each session whose return is known: date, champion, challenger; 1 before the first.
    """

    rows: pl.DataFrame
    equity: pl.DataFrame
    counts: Mapping[Verdict, int]
    sessions: int
    left_out: int
    champion: Account
    challenger: Account

    @property
    def orders(self) -> int:
        """How many (symbol, session) have an order of either."""
        return sum(self.counts.values())

    @property
    def share_that_differs(self) -> float | None:
        """The share of those that are not the same; None where nobody trades."""
        return None if self.orders == 0 else 1.0 - self.counts[Verdict.SAME] / self.orders


def makes_orders(kind: str) -> bool:
    """Tell whether a kind of model leads to orders: a regime is read by strategies and trades nothing by itself."""
    return kind in READS


def target_weights(
    kind: str, said: pl.DataFrame, *, max_weight: float, costs_bps: float = ROUND_TRIP_BPS
) -> pl.DataFrame:
    """Return symbol, date and `weight`, the target that a prediction leads to.

    A classifier's `buy` and `strong_buy` are `max_weight`, everything else is nothing: the desk holds long positions
    only. A forecast is `max_weight` where its median gains more than buying and selling cost. A policy says which part
    of `max_weight` it wants, and never gets more.

    Raises:
        ValueError: if the kind makes no orders.
        MissingColumns: if the predictions lack what the kind needs.
    """
    if not makes_orders(kind):
        raise ValueError(f"a {kind} makes no orders")
    if missing := {*_ROW, *READS[kind]} - set(said.columns):
        raise MissingColumns(
            asked_by=f"orders of a {kind}",
            missing=missing,
            available=said.columns,
            remedy="Predict with the version's own kind.",
        )
    if kind == "policy":
        weight = pl.col("target_weight").clip(0.0, 1.0) * max_weight
    elif kind == "forecast":
        weight = pl.when(pl.col("equity_q50") - 1.0 > costs_bps / 10_000).then(max_weight).otherwise(0.0)
    else:
        weight = pl.when(pl.col("bucket").is_in(_BUYS)).then(max_weight).otherwise(0.0)
    return said.select(*_ROW, weight.cast(pl.Float64).alias("weight")).sort(_ROW)


def orders_of(targets: pl.DataFrame) -> pl.DataFrame:
    """Add what becomes of each symbol's target: `order`, its change since the session before; `funded`, the target that
    the account can pay for; `traded`, the change of that. The first one starts from nothing."""
    gross = pl.max_horizontal(pl.col("weight").abs().sum().over("date"), 1.0)
    funded = targets.sort(_ROW).with_columns(funded=pl.col("weight") / gross)
    before = {name: pl.col(name).shift(1).over("symbol").fill_null(0.0) for name in ("weight", "funded")}
    return funded.with_columns(order=pl.col("weight") - before["weight"], traded=pl.col("funded") - before["funded"])


def forward_returns(bars: pl.DataFrame) -> pl.DataFrame:
    """Return symbol, date and `forward_return`: what is earned by an order of that session until the session after its
    fill. It is null while that bar is ahead."""
    price = pl.col("adjusted_close")
    filled, after = (price.shift(-ahead).over("symbol") for ahead in (1, 2))
    return (
        bars.filter(~pl.col("is_index"))
        .unique(_ROW, keep="last", maintain_order=True)
        .sort(_ROW)
        .select(*_ROW, forward_return=after / filled - 1)
    )


def compare_orders(
    champion: pl.DataFrame, challenger: pl.DataFrame, returns: pl.DataFrame, *, within: pl.DataFrame | None = None
) -> OrderComparison:
    """Compare the targets of two versions, order by order.

    Rows that only one of the two has are left out and counted.

    Args:
        returns: see `forward_returns`.
        within: the rows that count, by symbol and date; the ones before them say only what is held when they begin.
    """
    held = {
        "champion": orders_of(champion.join(challenger, on=_ROW, how="semi")),
        "challenger": orders_of(challenger.join(champion, on=_ROW, how="semi")),
    }
    asked = [champion, challenger] if within is None else [_only(champion, within), _only(challenger, within)]
    if within is not None:
        held = {name: _only(frame, within) for name, frame in held.items()}
    sides = [
        frame.select(*_ROW, pl.col("weight").alias(f"{name}_weight"), pl.col("order").alias(f"{name}_order"))
        for name, frame in held.items()
    ]
    both = sides[0].join(sides[1], on=_ROW, how="inner").sort("date", "symbol")
    rows = both.with_columns(_verdict().alias("verdict")).filter(pl.col("verdict").is_not_null())
    found = dict(rows.group_by("verdict").len().iter_rows())
    grown = [equity_of(frame, returns).rename({"equity": name}) for name, frame in held.items()]
    return OrderComparison(
        rows=rows,
        equity=grown[0].join(grown[1], on="date", how="inner").sort("date"),
        counts={verdict: int(found.get(verdict.value, 0)) for verdict in Verdict},
        sessions=both["date"].n_unique(),
        left_out=sum(one.height for one in asked) - 2 * both.height,
        champion=account(held["champion"], returns),
        challenger=account(held["challenger"], returns),
    )


def account(held: pl.DataFrame, returns: pl.DataFrame) -> Account:
    """Follow orders; `held` is what `orders_of` says, or some of its rows."""
    ordered = held.filter(pl.col("order").abs() > _SAME)
    a_session = ordered.group_by("date").len()
    equity = np.array([1.0, *equity_of(held, returns)["equity"]])
    is_known = len(equity) > 1
    return Account(
        orders=ordered.height,
        most_orders_a_session=0 if a_session.is_empty() else int(a_session["len"].to_numpy().max()),
        largest_weight=0.0 if held.is_empty() else float(held["weight"].abs().to_numpy().max()),
        turnover=steady(math.fsum(held["traded"].abs()) / 2),
        total_return=steady(float(equity[-1]) - 1.0) if is_known else None,
        drawdown=steady(float(np.max(1.0 - equity / np.maximum.accumulate(equity)))) if is_known else None,
    )


def equity_of(held: pl.DataFrame, returns: pl.DataFrame) -> pl.DataFrame:
    """Return date and `equity` after each session whose returns are known; 1 before the first."""
    return (
        held.join(returns, on=_ROW, how="inner")
        .filter(pl.col("forward_return").is_not_null())
        .group_by("date")
        .agg(gain=(pl.col("funded") * pl.col("forward_return")).sum())
        .sort("date")
        .select("date", equity=(1.0 + pl.col("gain")).cum_prod())
    )


def _only(frame: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    return frame.join(rows, on=_ROW, how="semi", maintain_order="left")


def _verdict() -> pl.Expr:
    """Name how two orders compare; null where neither trades."""
    ours, theirs = pl.col("champion_order"), pl.col("challenger_order")
    trades = {name: pl.col(f"{name}_order").abs() > _SAME for name in ("champion", "challenger")}
    return (
        pl.when(~trades["champion"] & ~trades["challenger"])
        .then(None)
        .when(~trades["challenger"])
        .then(pl.lit(Verdict.ONLY_CHAMPION.value))
        .when(~trades["champion"])
        .then(pl.lit(Verdict.ONLY_CHALLENGER.value))
        .when(ours.sign() != theirs.sign())
        .then(pl.lit(Verdict.SIDE_DIFFERS.value))
        .when((ours - theirs).abs() > _SAME)
        .then(pl.lit(Verdict.QUANTITY_DIFFERS.value))
        .otherwise(pl.lit(Verdict.SAME.value))
    )
