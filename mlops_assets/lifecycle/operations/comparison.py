"""How a challenger's orders compare with the champion's: since it began to run, and over the test fold.

Since it began is what counts, and what limits are held against. The test fold is there because a new challenger has no
session of its own yet: it shows what to expect. A champion that runs alone is held against its limits too: it is its
own challenger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, cast

import polars as pl

from mlops_assets.features.spec import Fold
from mlops_assets.kernel.columns import Column
from mlops_assets.kernel.fingerprint import Json
from mlops_assets.lifecycle.deployment.serving_moves import Mode, Move, Serving, Slot
from mlops_assets.lifecycle.operations.limits import Measured
from mlops_assets.lifecycle.operations.orders import (
    OrderComparison,
    account,
    compare_orders,
    makes_orders,
    orders_of,
    target_weights,
)
from mlops_assets.lifecycle.operations.slices import who_answers
from mlops_assets.lifecycle.serving.health import ServingHealth

if TYPE_CHECKING:
    import pyarrow as pa

SINCE_START, TEST_FOLD = "since_start", "test_fold"

COLUMNS = (
    Column(name="environment", type="string", description="Where they run."),
    Column(name="period", type="string", description="since_start: since the newer of them began; or the test_fold."),
    Column(name="symbol", type="string", description="Ticker symbol."),
    Column(name="date", type="date", description="Session after whose close the orders are decided."),
    Column(
        name="verdict",
        type="string",
        description="same, side_differs, quantity_differs, only_champion or only_challenger.",
    ),
    Column(name="champion_version", type="integer", description="Version in the model registry that serves."),
    Column(name="challenger_version", type="integer", description="Version that runs beside it; else the same."),
    *(
        Column(name=f"{side}_{what}", type="float", unit="fraction of the account", description=description)
        for what, description in (
            ("weight", "Target that the symbol shall have."),
            ("order", "Change of that target since the session before; the first one starts from nothing."),
        )
        for side in ("champion", "challenger")
    ),
)


class ServingLog(Protocol):
    """Who serves, and how it came to that."""

    def heads(self) -> list[Serving]: ...

    def history(self, model: str, environment: str) -> list[Move]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A champion and the challenger beside it, which is itself where none runs; since when the challenger runs."""

    serving: Serving
    champion: Slot
    challenger: Slot
    since: datetime

    @property
    def is_alone(self) -> bool:
        return self.champion == self.challenger


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """What one version says of the rows that both are compared on, and how much of the account one symbol may be."""

    said: pl.DataFrame
    max_weight: float


def shadow_dataset(model: str) -> str:
    """Return the dataset that holds the comparison of a model's challenger."""
    return f"shadow/{model}"


def newest_running(log: ServingLog, model: str) -> Running | None:
    """Return the challenger of a model that began last, in whatever environment, else such a champion, if any runs."""
    found = [
        Running(
            serving=head,
            champion=head.champion,
            challenger=newer,
            since=running_since(log.history(model, head.environment), newer),
        )
        for head in log.heads()
        if head.model == model and head.champion is not None
        for newer in [head.challenger or head.champion]
    ]
    return max(found, key=lambda one: (not one.is_alone, one.since, one.serving.environment), default=None)


def running_since(log: Sequence[Move], slot: Slot) -> datetime:
    """Return when a deployment that runs now began: from shadow to canary to champion it goes on running."""
    began = log[-1].at
    for move in reversed(log):
        if slot not in (move.after.champion, move.after.challenger):
            break
        began = move.at
    return began


def compare(
    kind: str, champion: Side, challenger: Side, returns: pl.DataFrame, running: Running
) -> dict[str, OrderComparison]:
    """Compare two versions in both periods; a kind that makes no orders has none.

    Since it began, the account of a canary is that of the symbols it answers for; orders are compared for all.

    Args:
        returns: see `orders.forward_returns`.
    """
    if not makes_orders(kind):
        return {}
    rows = {SINCE_START: pl.col("known_at") >= running.since, TEST_FOLD: pl.col("fold") == Fold.TEST.value}
    ours, theirs = (target_weights(kind, side.said, max_weight=side.max_weight) for side in (champion, challenger))
    said = pl.concat([side.said.select("symbol", "date", "known_at", "fold") for side in (champion, challenger)])
    within = {name: said.filter(are_in) for name, are_in in rows.items()}
    found = {name: compare_orders(ours, theirs, returns, within=each) for name, each in within.items()}
    if running.serving.mode is Mode.CANARY:
        own = within[SINCE_START].filter(pl.col("symbol").is_in(_slice(running.serving, said)))
        held = orders_of(theirs).join(own, on=["symbol", "date"], how="semi", maintain_order="left")
        found[SINCE_START] = replace(found[SINCE_START], challenger=account(held, returns))
    return found


def _slice(serving: Serving, said: pl.DataFrame) -> list[str]:
    """Return the symbols that a canary answers for, alone or with its share."""
    symbols = cast("list[str]", said["symbol"].unique().to_list())
    return [symbol for symbol in symbols if who_answers(serving, symbol).challenger_share > 0]


def figures(running: Running, periods: Mapping[str, OrderComparison]) -> dict[str, Json]:
    """Return what is kept with the comparison: who was compared, and each period's figures."""
    return {
        "environment": running.serving.environment,
        "champion": running.champion.deployment_id,
        "challenger": running.challenger.deployment_id,
        "since": running.since.isoformat(),
        "periods": {
            name: {
                "sessions": one.sessions,
                "orders": one.orders,
                "counts": {verdict.value: count for verdict, count in one.counts.items()},
                "share_that_differs": one.share_that_differs,
                "left_out": one.left_out,
                "champion": asdict(one.champion),
                "challenger": asdict(one.challenger),
            }
            for name, one in periods.items()
        },
    }


def is_of(kept: Mapping[str, Any], head: Serving) -> bool:
    """Tell whether figures are of who runs now."""
    newer = head.challenger or head.champion
    if head.champion is None or newer is None:
        return False
    pair = (kept.get("environment"), kept.get("champion"), kept.get("challenger"))
    return pair == (head.environment, head.champion.deployment_id, newer.deployment_id)


def measured(
    kept: Mapping[str, Any], deployment_id: str, health: ServingHealth | None = None, *, period: str = SINCE_START
) -> Measured:
    """Return what is known of a deployment: from figures, if it is one of the two compared, and from its health.

    The share of orders that differ is the challenger's: the champion is what it is measured against.
    """
    asked = Measured() if health is None else _of_health(health)
    found = kept.get("periods", {}).get(period)
    side = next((name for name in ("champion", "challenger") if kept.get(name) == deployment_id), None)
    if found is None or side is None or found["sessions"] == 0:
        return asked
    account = cast("Mapping[str, Any]", found[side])
    return Measured(
        requests=asked.requests,
        error_rate=asked.error_rate,
        p99_ms=asked.p99_ms,
        order_difference=found["share_that_differs"] if side == "challenger" else None,
        drawdown=account["drawdown"],
        largest_weight=account["largest_weight"],
        most_orders_a_session=account["most_orders_a_session"],
    )


def as_table(running: Running | None, periods: Mapping[str, OrderComparison]) -> pa.Table:
    """Return the compared orders as rows of the snapshot, by period, session and symbol; none where nobody serves."""
    import pyarrow as pa

    types = {"string": pa.string(), "float": pa.float64(), "date": pa.date32(), "integer": pa.int64()}
    schema = pa.schema([(column.name, types[column.type]) for column in COLUMNS])
    if running is None or not periods:
        return schema.empty_table()
    frames = [
        one.rows.with_columns(
            environment=pl.lit(running.serving.environment),
            period=pl.lit(period),
            champion_version=pl.lit(running.champion.version, dtype=pl.Int64),
            challenger_version=pl.lit(running.challenger.version, dtype=pl.Int64),
        )
        for period, one in periods.items()
    ]
    rows = pl.concat(frames).select([column.name for column in COLUMNS])
    return rows.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema)


def _of_health(health: ServingHealth) -> Measured:
    return Measured(requests=health.request_count, error_rate=health.error_rate, p99_ms=health.p99_ms)
