"""A process that empties the outbox of a database into a webhook: `deliverer DATABASE_URL WEBHOOK_URL [kill]`.

With `kill` it ends by SIGKILL after the receiver took the first message and before that is recorded.
"""

from __future__ import annotations

import os
import signal
import sys

from mlops_assets.alerts.channels import WebhookChannel
from mlops_assets.alerts.message import Message
from mlops_assets.alerts.service import Alerts
from mlops_assets.kernel.clock import SystemClock
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.sql.database import Database
from tests.alerts.worlds import SECRET


class Killing(WebhookChannel):
    """Sends, and is no more."""

    def send(self, message: Message) -> None:
        super().send(message)
        os.kill(os.getpid(), signal.SIGKILL)


def main(database_url: str, webhook_url: str, *how: str) -> None:
    clock, database = SystemClock(), Database(database_url)
    channel = (Killing if how else WebhookChannel)(webhook_url, SECRET, clock)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    Alerts(database, Ledger(database, clock), clock, [channel]).deliver_due(by="dagster")


if __name__ == "__main__":
    main(*sys.argv[1:])
