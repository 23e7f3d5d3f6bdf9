"""The graph of what runs beside a champion: `shadow/<model>` compares a challenger with it, order by order.

It refreshes when predictions, training set or bars change, and when the sensor `challengers` sees that somebody began
or ended to run beside a champion: that is no input of the graph.
"""

# No `from __future__ import annotations`: Dagster compares the annotation of `context` as a class.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from mlops_assets.features.knowledge import latest_known
from mlops_assets.kernel.errors import MissingColumns
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.kernel.identity import Principal
from mlops_assets.lifecycle.deployment.deployments import Deployments
from mlops_assets.lifecycle.deployment.serving_moves import Slot
from mlops_assets.lifecycle.deployment.serving_store import ServingStore
from mlops_assets.lifecycle.kinds.known import kind_of
from mlops_assets.lifecycle.operations.comparison import (
    COLUMNS,
    SINCE_START,
    TEST_FOLD,
    Running,
    Side,
    as_table,
    compare,
    figures,
    measured,
    newest_running,
    shadow_dataset,
)
from mlops_assets.lifecycle.operations.limits import Finding, Standing, findings, limits_of
from mlops_assets.lifecycle.operations.orders import OrderComparison, forward_returns, makes_orders
from mlops_assets.lifecycle.registry import ModelRegistry
from mlops_assets.lifecycle.serving.loaded_models import trained_spec
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.lifecycle.training.predictions import predict
from mlops_assets.market_data.bars import BARS
from mlops_assets.orchestration.declared import asset_metadata, code_version, key
from mlops_assets.orchestration.results import plot_metadata, snapshot_result
from mlops_assets.orchestration.timing import content_freshness, refresh_when_inputs_change
from mlops_assets.storage.parquet.snapshots import Provenance, SnapshotStore

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHECK = "orders_within_limits"
_RULES = (
    *(f"mlops_assets.lifecycle.operations.{name}" for name in ("orders", "comparison", "slices")),
    "mlops_assets.lifecycle.training.predictions",
)
_PERIOD_NAMES = {SINCE_START: "since it began", TEST_FOLD: "test fold"}


def shadow_definitions(spec: ModelSpec) -> dg.Definitions:
    """Return the asset that compares a model's challenger with its champion, order by order, and holds their limits."""
    dataset = shadow_dataset(spec.name)
    version = code_version(
        fingerprint({"model": spec.name, "kind": spec.kind}), *_RULES, *kind_of(spec.kind).rule_modules
    )
    sources = [(spec.training_set.dataset, feature) for feature in spec.features]

    @dg.asset(
        key=key(dataset),
        deps=[key(spec.predictions), key(spec.training_set.dataset), key(BARS)],
        description=(
            f"The orders of the version of {spec.name} that runs beside the champion, against the champion's: since it "
            "began, and over the test fold. The champion's own while none does, and nothing while nobody serves."
        ),
        owners=[spec.owner],
        group_name="deployments",
        kinds={"polars", "parquet"},
        code_version=version,
        metadata=asset_metadata(
            file=spec.declared_in,
            columns=COLUMNS,
            lineage={f"{side}_weight": sources for side in ("champion", "challenger")},
        ),
        check_specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=key(dataset),
                description="Champion and challenger trade within the limits that they were approved with.",
            )
        ],
        automation_condition=refresh_when_inputs_change(),
        freshness_policy=content_freshness(),
    )
    def shadow(
        snapshots: dg.ResourceParam[SnapshotStore],
        models: dg.ResourceParam[ModelRegistry],
        deployments: dg.ResourceParam[Deployments],
        serving: dg.ResourceParam[ServingStore],
        actor: dg.ResourceParam[Principal],
    ) -> dg.MaterializeResult:
        found = compare_challenger(spec, snapshots, models, deployments, serving)
        published = snapshots.publish(
            dataset,
            as_table(found.running, found.periods),
            provenance=Provenance(code_version=version, inputs=found.inputs, details=found.figures),
            actor=actor.name,
        )
        shown = snapshot_result(published, **_shown(spec, found))
        return dg.MaterializeResult(
            data_version=shown.data_version, metadata=shown.metadata, check_results=[_check(found, deployments)]
        )

    return dg.Definitions(assets=[shadow])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compared:
    """A challenger beside its champion; `running` is None, and everything else empty, where nobody serves."""

    running: Running | None
    periods: Mapping[str, OrderComparison]
    inputs: Mapping[str, str]
    figures: Mapping[str, Any]


def compare_challenger(
    spec: ModelSpec,
    snapshots: SnapshotStore,
    models: ModelRegistry,
    deployments: Deployments,
    serving: ServingStore,
) -> Compared:
    """Compare the newest challenger of a model with its champion on the rows of the published training set.

    Where none runs, the champion is measured alone.

    Raises:
        MissingColumns: if a version reads features that the training set no longer has.
        NoLimits: if one was approved without limits.
    """
    running = newest_running(serving, spec.name)
    source, bars = snapshots.head(spec.training_set.dataset), snapshots.head(BARS)
    inputs = {source.dataset: source.fingerprint, bars.dataset: bars.fingerprint}
    if running is None:
        return Compared(running=None, periods={}, inputs=inputs, figures={})
    rows = snapshots.read(source)

    def side(slot: Slot) -> Side:
        version = models.get(spec.name, slot.version)
        trained = trained_spec(version)
        if missing := set(trained.features) - set(rows.column_names):
            raise MissingColumns(
                asked_by=version.id,
                missing=missing,
                available=rows.column_names,
                remedy=f"Versions of other features can't be compared: end the challenger with "
                f"`mlops deployments stop {spec.name}`, or declare the features again.",
            )
        inputs[version.id] = version.fingerprint
        said = predict(rows, models.load(version), trained, model_version=version.version)
        return Side(
            said=pl.DataFrame(pl.from_arrow(said)),
            max_weight=limits_of(deployments.get(slot.deployment_id)).max_weight,
        )

    inputs[f"serving/{spec.name}/{running.serving.environment}"] = running.serving.fingerprint
    champion = side(running.champion)
    periods = compare(
        spec.kind,
        champion,
        champion if running.is_alone else side(running.challenger),
        forward_returns(latest_known(snapshots.frame(bars))),
        running,
    )
    return Compared(running=running, periods=periods, inputs=inputs, figures=figures(running, periods))


def _check(found: Compared, deployments: Deployments) -> dg.AssetCheckResult:
    """Hold both versions against their limits, in both periods; what could not be measured is said."""
    judged = {
        f"{name}, {_PERIOD_NAMES[period]}": findings(
            measured(found.figures, slot.deployment_id, period=period),
            limits_of(deployments.get(slot.deployment_id)),
        )
        for period in found.periods
        if found.running is not None
        for name, slot in _sides(found.running)
    }
    orders = {name: [one for one in each if _is_of_orders(one)] for name, each in judged.items()}
    broken = [f"{name}: {one}" for name, each in orders.items() for one in each if one.standing is Standing.BREACHED]
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=not broken,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(broken) or ("every limit is kept" if orders else "nobody serves"),
        metadata={name: ", ".join(map(str, each)) for name, each in orders.items()},
    )


def _sides(running: Running) -> list[tuple[str, Slot]]:
    """Return who runs, by part; a champion alone has one."""
    champion = ("champion", running.champion)
    return [champion] if running.is_alone else [("challenger", running.challenger), champion]


def _is_of_orders(finding: Finding) -> bool:
    """Latency and errors are those of answers, which `deployment_limits` watches."""
    return finding.limit not in ("max_error_rate", "max_p99_ms")


def _shown(spec: ModelSpec, found: Compared) -> dict[str, Any]:
    if found.running is None:
        return {"compared": f"no version of {spec.name} serves"}
    running = found.running
    newer = "alone" if running.is_alone else f"as {running.serving.mode} beside version {running.champion.version}"
    said = (
        f"version {running.challenger.version} {newer} in {running.serving.environment}, since "
        f"{running.since:%Y-%m-%d %H:%M} UTC"
    )
    if not makes_orders(spec.kind):
        return {"compared": f"{said}; a {spec.kind} makes no orders, so there are none to compare"}
    names = [name for name, _ in _sides(running)]
    shown: dict[str, Any] = {"compared": said, "accounts": dg.MetadataValue.md(_account_table(found.periods, names))}
    for period, one in found.periods.items():
        shown[f"{period}_orders"] = one.orders
        shown[f"{period}_share_that_differs"] = (
            "no orders" if one.share_that_differs is None else one.share_that_differs
        )
        shown[f"{period}_verdicts"] = dg.MetadataValue.json({verdict.value: n for verdict, n in one.counts.items()})
    return {**shown, "equity": plot_metadata(equity_plot(found.periods, names))}


def _account_table(periods: Mapping[str, OrderComparison], names: Sequence[str]) -> str:
    rows = [
        f"| {_PERIOD_NAMES[period]} | {name} | {one.sessions} | {side.orders} | {side.turnover:.2f} | "
        f"{_percent(side.total_return)} | {_percent(side.drawdown)} |"
        for period, one in periods.items()
        for name, side in (("champion", one.champion), ("challenger", one.challenger))
        if name in names
    ]
    head = "| period | version | sessions | orders | turnover | return before costs | drawdown |"
    return "\n".join([head, "| --- | --- | --- | --- | --- | --- | --- |", *rows])


def equity_plot(periods: Mapping[str, OrderComparison], names: Sequence[str]) -> "Figure":
    """Draw what following each version would have done to an account, one panel for each period."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.5))
    panels = figure.subplots(1, len(periods), squeeze=False)[0]
    for axes, (period, one) in zip(panels, periods.items(), strict=True):
        for name, color in zip(names[::-1], ("#4c78a8", "#f58518"), strict=False):
            axes.plot(one.equity["date"].to_list(), one.equity[name].to_list(), color=color, label=name)
        axes.set_title(_PERIOD_NAMES[period])
        axes.set_ylabel("account, 1 at the start")
        axes.tick_params(axis="x", rotation=30)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return figure


def _percent(value: float | None) -> str:
    return "not known" if value is None else f"{value:+.1%}"
