"""Where a store reports its state changes: the ledger implements this, one floor up."""

from __future__ import annotations

from typing import Protocol

import sqlalchemy as sa

from mlops_assets.kernel.change import Change


class Journal(Protocol):
    """Records a change inside the transaction that makes it."""

    def append(self, connection: sa.Connection, change: Change) -> int:
        """Append `change` and return its sequence number."""
        ...
