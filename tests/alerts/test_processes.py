"""Several processes over one outbox: together, and one that is killed."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from standardwebhooks import Webhook

from mlops_assets.alerts.channels import WebhookChannel
from mlops_assets.alerts.delivery import CLAIM, State
from mlops_assets.alerts.service import Alerts
from mlops_assets.kernel.clock import SystemClock
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.sql.database import Database
from tests.alerts.worlds import SECRET, MovingClock, WebReceiver, alert

ROOT = Path(__file__).parents[2]


def started(database: Database, url: str, *how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.alerts.deliverer", database.url, url, *how]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def raised(database: Database, count: int) -> list[str]:
    clock = SystemClock()
    alerts = Alerts(database, Ledger(database, clock), clock, [WebhookChannel("http://localhost/", SECRET, clock)])
    return [alerts.raise_alert(alert(f"k{number}"), "dagster").id for number in range(count)]


def test_two_processes_at_once_send_each_alert_once(database: Database):
    ids = raised(database, 20)
    with WebReceiver() as receiver:
        processes = [started(database, receiver.url) for _ in range(2)]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        assert [process.wait(timeout=60) for process in processes] == [0, 0]
    assert Counter(request.headers["webhook-id"] for request in receiver.requests) == Counter(ids)
    for request in receiver.requests:
        Webhook(SECRET).verify(request.body, request.headers)
    ledger = Ledger(database, SystemClock())
    assert Counter(entry.action for entry in ledger.entries()) == {"alert.raise": 20, "alert.deliver": 20}
    assert ledger.verify().is_intact


def test_a_process_killed_between_sending_and_recording_means_one_more_with_the_same_id(database: Database):
    (only,) = raised(database, 1)
    with WebReceiver() as receiver:
        process = started(database, receiver.url, "kill")
        process.communicate("go\n", timeout=60)
        assert process.returncode == -9
        clock = MovingClock(datetime.now(UTC))
        channel = WebhookChannel(receiver.url, SECRET, clock)
        alerts = Alerts(database, Ledger(database, clock), clock, [channel])
        assert alerts.deliver_due(by="dagster") == []
        clock.move(CLAIM)
        (after,) = alerts.deliver_due(by="dagster")
    assert (after.state, after.attempts) == (State.DELIVERED, 2)
    assert [request.headers["webhook-id"] for request in receiver.requests] == [only, only]
    assert receiver.requests[0].body == receiver.requests[1].body
