"""When the mirrors are brought up to date: a sensor."""

# No `from __future__ import annotations`: Dagster compares the annotation of `context` as a class.

from datetime import timedelta

import dagster as dg

from mlops_assets.storage.mirror.mirrors import Mirrors, Turn

_SECONDS_BETWEEN_TICKS = 30
_EACH_MIRROR = timedelta(seconds=25)
"""A tick has 60 s, and there are two mirrors."""


def mirror_delivery_sensor() -> dg.SensorDefinition:
    """Return the sensor that empties the outbox into the mirrors. One that is down holds up no other."""

    @dg.sensor(
        name="mirror_delivery",
        description="Brings the mirrors of the lifecycle's metadata up to date; what fails waits longer each time.",
        minimum_interval_seconds=_SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def deliver(mirrors: dg.ResourceParam[Mirrors]) -> dg.SensorResult:
        if not mirrors.names:
            return dg.SensorResult(skip_reason="no mirror is on")
        turns = mirrors.deliver_due(within=_EACH_MIRROR)
        return dg.SensorResult(skip_reason="; ".join(_words(one) for one in turns))

    return deliver


def _words(turn: Turn) -> str:
    refused = f", refused {turn.refused}" if turn.refused else ""
    problem = f", {turn.problem}" if turn.problem else ""
    return f"{turn.target}: delivered {turn.delivered}{refused}{problem}"
