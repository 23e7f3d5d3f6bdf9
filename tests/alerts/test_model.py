"""Random alerts, times and failures against a model that is told in a few lines."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mlops_assets.alerts.alert import COOL_DOWN, Severity
from mlops_assets.alerts.delivery import LONGEST_PAUSE, MAX_ATTEMPTS, PermanentFailure, State, TemporaryFailure
from mlops_assets.alerts.message import Message
from mlops_assets.alerts.service import Alerts
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.sql.database import Database
from tests.alerts.worlds import MovingClock, Scripted, alert

CHANNELS = ("email", "log", "webhook")
RANKS = {"low": 0, "medium": 1, "high": 2, "critical": 3}


class Killed(BaseException):
    """The process ends after sending and before recording."""


class Outbox(RuleBasedStateMachine):
    """The model: per key what was told last; per message and channel how often the receiver got it."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        shutil.copyfile(_empty_database(), self.folder / "platform.db")
        database = Database(f"sqlite:///{self.folder / 'platform.db'}")
        self.clock = MovingClock()
        self.ledger = Ledger(database, self.clock)
        self.moods = dict.fromkeys(CHANNELS, "well")
        self.received: Counter[tuple[str, str]] = Counter()
        self.crashed: Counter[tuple[str, str]] = Counter()
        channels = [Scripted(name, self.receiver(name)) for name in CHANNELS]
        self.alerts = Alerts(database, self.ledger, self.clock, channels)
        self.told: dict[str, tuple[str, Severity, object]] = {}
        self.raised: dict[str, int] = {}
        self.database = database

    def receiver(self, channel: str):
        def receive(message: Message) -> None:
            mood = self.moods[channel]
            if mood == "down":
                raise TemporaryFailure("down")
            if mood == "refuses":
                raise PermanentFailure("refused")
            self.received[message.id, channel] += 1
            if mood == "kills":
                self.crashed[message.id, channel] += 1
                raise Killed

        return receive

    @rule(key=st.sampled_from("abc"), severity=st.sampled_from(list(Severity)))
    def raise_one(self, key: str, severity: Severity) -> None:
        found = self.alerts.raise_alert(alert(key, severity), "dagster")
        last = self.told.get(key)
        is_repeat = (
            last is not None and RANKS[severity] <= RANKS[last[1]] and self.clock.at - last[2] < COOL_DOWN[last[1]]
        )
        assert found.is_new == (not is_repeat)
        if is_repeat:
            self.raised[found.id] += 1
        else:
            self.told[key] = (found.id, severity, self.clock.at)
            self.raised[found.id] = 1
        assert found.occurrences == self.raised[found.id]

    @rule(channel=st.sampled_from(CHANNELS), mood=st.sampled_from(["well", "well", "down", "refuses", "kills"]))
    def change(self, channel: str, mood: str) -> None:
        self.moods[channel] = mood

    @rule(minutes=st.sampled_from([0, 1, 3, 30, 61, 300, 1500]))
    def wait(self, minutes: int) -> None:
        self.clock.move(timedelta(minutes=minutes))

    @rule()
    def deliver(self) -> None:
        try:
            self.alerts.deliver_due(by="dagster")
        except Killed:
            return

    @rule()
    def retry(self) -> None:
        for known in self.alerts.dead():
            self.alerts.retry(known.id, by="ann")

    @invariant()
    def nothing_arrives_twice_but_after_a_crash(self) -> None:
        for delivered, times in getattr(self, "received", {}).items():
            assert times <= self.crashed[delivered] + 1

    @invariant()
    def delivered_means_received(self) -> None:
        if not hasattr(self, "alerts"):
            return
        for known in self.alerts.list():
            for one in known.deliveries:
                assert one.attempts <= MAX_ATTEMPTS
                if one.state is State.DELIVERED:
                    assert self.received[known.id, one.channel] >= 1
                elif one.state is not State.SENDING and not self.crashed[known.id, one.channel]:
                    assert self.received[known.id, one.channel] == 0

    def teardown(self) -> None:
        """In the end every alert is delivered or a dead letter on each channel, and the ledger tells it."""
        if not hasattr(self, "alerts"):
            return
        for channel, mood in self.moods.items():
            self.moods[channel] = "well" if mood == "kills" else mood
        for _ in range(MAX_ATTEMPTS * (len(self.raised) + 1)):
            self.clock.move(LONGEST_PAUSE)
            while self.alerts.deliver_due(by="dagster"):
                pass
        known = self.alerts.list()
        assert {one.id for one in known} == set(self.raised)
        ends = Counter(one.state for each in known for one in each.deliveries)
        assert ends.keys() <= {State.DELIVERED, State.DEAD}
        assert ends.total() == len(known) * len(CHANNELS)
        actions = Counter(entry.action for entry in self.ledger.entries())
        assert (actions["alert.raise"], actions["alert.deliver"]) == (len(known), ends[State.DELIVERED])
        assert actions["alert.dead_letter"] == ends[State.DEAD] + actions["alert.retry"]
        assert self.ledger.verify().is_intact
        self.database.dispose()
        shutil.rmtree(self.folder)


_made: list[Path] = []


def _empty_database() -> Path:
    """A migrated database, made once."""
    if not _made:
        path = Path(tempfile.mkdtemp()) / "empty.db"
        database = Database(f"sqlite:///{path}")
        database.migrate()
        with database.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        database.dispose()
        _made.append(path)
    return _made[0]


TestOutbox = Outbox.TestCase
TestOutbox.settings = settings(max_examples=25, stateful_step_count=25)
