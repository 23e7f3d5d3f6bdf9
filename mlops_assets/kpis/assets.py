"""The graph of governance: `governance/kpis` over everything, `governance/audit_checkpoint` over the ledger."""

# No `from __future__ import annotations`: Dagster compares the annotation of `context` as a class.

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import polars as pl

from mlops_assets.kernel.columns import Column
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.kernel.identity import Principal
from mlops_assets.kpis.facts import gather_facts
from mlops_assets.kpis.measures import Kpi, measure
from mlops_assets.ledger.entry import GENESIS_HASH
from mlops_assets.ledger.store import Ledger
from mlops_assets.orchestration.declared import asset_metadata, code_version, key
from mlops_assets.orchestration.results import snapshot_result
from mlops_assets.orchestration.timing import content_freshness, refresh_when_any_input_changes
from mlops_assets.storage.parquet.snapshots import Provenance, SnapshotStore
from mlops_assets.storage.sql.database import Database

KPIS = "governance/kpis"
AUDIT_CHECKPOINT = "governance/audit_checkpoint"
OWNER = "team:compliance"

COLUMNS = (
    Column(name="name", type="string", description="Name of the KPI."),
    Column(name="definition", type="string", description="What is divided by what."),
    Column(name="unit", type="string", description="fraction, hours or count."),
    Column(name="owner", type="string", description="Who answers for it."),
    Column(name="target", type="float", description="Value to reach.", is_nullable=True),
    Column(name="value", type="float", description="Value now; null while there is nothing yet.", is_nullable=True),
    Column(name="is_met", type="boolean", description="Whether the target is reached.", is_nullable=True),
)


def governance_definitions(measured: Sequence[str]) -> dg.Definitions:
    """Return the governance assets; `measured` names the datasets whose refresh makes the KPIs stale."""
    version = code_version(fingerprint(KPIS), "mlops_assets.kpis.measures", "mlops_assets.kpis.facts")

    @dg.asset(
        key=key(KPIS),
        deps=[key(name) for name in measured],
        description="Each KPI of the platform with its definition, target and value, from the stores and the ledger.",
        owners=[OWNER],
        group_name="governance",
        kinds={"sql", "parquet"},
        code_version=version,
        metadata=asset_metadata(file=Path(__file__), columns=COLUMNS),
        automation_condition=refresh_when_any_input_changes(),
        freshness_policy=content_freshness(),
    )
    def kpis(
        snapshots: dg.ResourceParam[SnapshotStore],
        database: dg.ResourceParam[Database],
        actor: dg.ResourceParam[Principal],
    ) -> dg.MaterializeResult:
        measured_now = measure(gather_facts(database))
        published = snapshots.publish(
            KPIS,
            _rows(measured_now).to_arrow(),
            provenance=Provenance(code_version=version, inputs={}),
            actor=actor.name,
        )
        return snapshot_result(published, kpis=dg.MetadataValue.md(_table(measured_now)))

    @dg.asset(
        key=key(AUDIT_CHECKPOINT),
        deps=[key(KPIS)],
        description="The audit ledger's chain, verified from its first entry, with the hash of its head.",
        owners=[OWNER],
        group_name="governance",
        kinds={"sql"},
        code_version=code_version(fingerprint(AUDIT_CHECKPOINT), "mlops_assets.ledger.entry"),
        metadata=asset_metadata(file=Path(__file__)),
        automation_condition=refresh_when_any_input_changes(),
        freshness_policy=content_freshness(),
        check_specs=[
            dg.AssetCheckSpec(
                "chain_is_intact",
                asset=key(AUDIT_CHECKPOINT),
                blocking=True,
                description="No entry was edited, moved or removed since the previous checkpoint, nor before it.",
            )
        ],
    )
    def audit_checkpoint(context: dg.AssetExecutionContext, journal: dg.ResourceParam[Ledger]) -> dg.MaterializeResult:
        verification = journal.verify()
        entries, head_hash = _previous_checkpoint(context.instance)
        is_continued = journal.holds(entries, head_hash)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(verification.head_hash),
            metadata={"entries": verification.entries, "head_hash": verification.head_hash},
            check_results=[
                dg.AssetCheckResult(
                    check_name="chain_is_intact",
                    passed=verification.is_intact and is_continued,
                    metadata={
                        "entries": verification.entries,
                        "previous_checkpoint": entries,
                        "previous_checkpoint_holds": is_continued,
                        "problem": verification.problem or "none",
                    },
                )
            ],
        )

    return dg.Definitions(assets=[kpis, audit_checkpoint])


def _previous_checkpoint(instance: dg.DagsterInstance) -> tuple[int, str]:
    """Return how many entries the previous checkpoint saw and the hash of the last; none and the first hash before."""
    for record in instance.fetch_materializations(key(AUDIT_CHECKPOINT), limit=1).records:
        if (made := record.asset_materialization) is not None:
            return int(str(made.metadata["entries"].value)), str(made.metadata["head_hash"].value)
    return 0, GENESIS_HASH


def _rows(kpis: Sequence[Kpi]) -> pl.DataFrame:
    schema = {"target": pl.Float64, "value": pl.Float64, "is_met": pl.Boolean}
    return pl.DataFrame(
        [{column.name: getattr(kpi, column.name) for column in COLUMNS} for kpi in kpis], schema_overrides=schema
    )


def _table(kpis: Sequence[Kpi]) -> str:
    shown = {True: "yes", False: "no", None: "-"}
    lines = [
        f"| {kpi.name} | {_number(kpi.value)} | {_number(kpi.target)} | {kpi.unit} | {shown[kpi.is_met]} |"
        for kpi in kpis
    ]
    return "\n".join(["| KPI | value | target | unit | met |", "| --- | --- | --- | --- | --- |", *lines])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
