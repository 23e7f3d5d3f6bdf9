"""Who a client says it is in a body: accepted for old clients, and only where it is who signed in."""

from __future__ import annotations

from mlops_assets.kernel.errors import Forbidden
from mlops_assets.kernel.identity import Principal


def check_claimed(caller: Principal, **claims: str | None) -> None:
    """Refuse an actor that a client names beside its credential; a field that is left out claims nothing.

    Raises:
        Forbidden: naming the field, who was named and who signed in.
    """
    for field, claimed in claims.items():
        if claimed is not None and claimed != caller.name:
            raise Forbidden(
                f"{field} names {claimed!r}, and the token is {caller.name}'s. Who acts is who signed in: leave "
                f"{field} away, or sign in as them."
            )
