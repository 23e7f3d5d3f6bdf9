"""When the SQL views follow: after each run that succeeded, whatever it published."""

from __future__ import annotations

import dagster as dg

from mlops_assets.features.warehouse import Warehouse


def views_sensor() -> dg.SensorDefinition:
    """Return the sensor that rebuilds the DuckDB file after a successful run."""

    @dg.run_status_sensor(
        name="rebuild_views",
        run_status=dg.DagsterRunStatus.SUCCESS,
        description="Rebuilds the DuckDB views over what is published, after each successful run.",
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def rebuild_views(warehouse: dg.ResourceParam[Warehouse]) -> None:
        warehouse.rebuild()

    return rebuild_views
