"""What Dagster loads. Importing it does no work: the graph is imported and built when a process asks for it."""

from __future__ import annotations

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    """Build the definitions of this installation."""
    from mlops_assets.graph import build_defs
    from mlops_assets.services import ServiceFactory
    from mlops_assets.settings import keep_private, load_settings

    keep_private()
    return build_defs(ServiceFactory(load_settings()))
