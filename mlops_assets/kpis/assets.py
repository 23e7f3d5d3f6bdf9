"""The graph of the KPIs: `governance/kpis` over everything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import polars as pl

from mlops_assets.kernel.columns import Column
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.kernel.identity import Principal
from mlops_assets.kpis.facts import gather_facts
from mlops_assets.kpis.measures import Kpi, measure
from mlops_assets.orchestration.declared import asset_metadata, code_version, key
from mlops_assets.orchestration.results import snapshot_result
from mlops_assets.orchestration.timing import content_freshness, refresh_when_any_input_changes
from mlops_assets.storage.parquet.snapshots import Provenance, SnapshotStore
from mlops_assets.storage.sql.database import Database

KPIS = "governance/kpis"
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


def kpi_definitions(measured: Sequence[str]) -> dg.Definitions:
    """Return the asset of the KPIs; `measured` names the datasets whose refresh makes the KPIs stale."""
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

    return dg.Definitions(assets=[kpis])


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
