"""How a store reaches an asset: built once per step process, at the first step that asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import dagster as dg

T = TypeVar("T")


def lazy(make: Callable[[], T], description: str) -> dg.ResourceDefinition:
    """Wrap a maker of a store as a resource; loading definitions builds nothing."""

    def build(_: dg.InitResourceContext) -> T:
        return make()

    return dg.ResourceDefinition(resource_fn=build, description=description)


def of_run(make: Callable[[dg.DagsterRun | None], T], description: str) -> dg.ResourceDefinition:
    """Wrap what depends on the run that asks for it; the tick of a sensor or a schedule is none."""

    def build(context: dg.InitResourceContext) -> T:
        return make(context.run)

    return dg.ResourceDefinition(resource_fn=build, description=description)
