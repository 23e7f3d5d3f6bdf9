"""How well the desk's MLOps is doing, over HTTP."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from mlops_assets.kpis.facts import gather_facts
from mlops_assets.kpis.measures import Unit, measure
from mlops_assets.storage.sql.database import Database

_KPI: dict[str, Any] = {
    "name": "prompt_evaluations_passed",
    "definition": "Prompt evaluations that passed all their checks / all prompt evaluations.",
    "unit": "fraction",
    "owner": "team:compliance",
    "target": 0.95,
    "value": 1.0,
    "is_met": True,
}


class KpiValue(BaseModel):
    """One KPI with its definition; `value` is None while there is nothing to compute it from."""

    model_config = ConfigDict(json_schema_extra={"examples": [_KPI]})

    name: str
    definition: str
    unit: Unit
    owner: str
    target: float | None
    value: float | None
    is_met: bool | None


class Kpis(BaseModel):
    """Every KPI, computed now from the stores and the ledger."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"kpis": [_KPI]}]})

    kpis: list[KpiValue]


def router(database: Database) -> APIRouter:
    """Return the routes of the KPIs."""
    routes = APIRouter(tags=["governance"])

    @routes.get("/kpis")
    def list_kpis() -> Kpis:
        """Compute every KPI."""
        return Kpis(
            kpis=[
                KpiValue(
                    name=kpi.name,
                    definition=kpi.definition,
                    unit=kpi.unit,
                    owner=kpi.owner,
                    target=kpi.target,
                    value=kpi.value,
                    is_met=kpi.is_met,
                )
                for kpi in measure(gather_facts(database))
            ]
        )

    return routes
