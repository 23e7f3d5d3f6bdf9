"""The ledger over HTTP: filtered, paged, verified and signed."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import FixedClock
from mlops_assets.ledger.store import Ledger
from mlops_assets.ledger.verification import Verification
from tests.rest.client import Api, MovingClock, Services, api_over, services_in, with_people

AUDIT = "/api/v1/audit"


def write(services: Services, subject: str, actor: str = "mo") -> None:
    with services.database.begin() as connection:
        services.ledger.append(connection, Change(actor=actor, action="thing.do", subject=subject))


def walk(api: Api, **filters: Any) -> list[int]:
    seen, cursor = [], {}
    while True:
        page = api.get(AUDIT, params={"limit": 3, **filters, **cursor}).json()
        seen += [entry["seq"] for entry in page["entries"]]
        if page["next_cursor"] is None:
            return seen
        cursor = {"cursor": page["next_cursor"]}


def test_pages_show_every_entry_once_in_either_order(api: Api, services: Services):
    everything = [entry.seq for entry in services.ledger.entries()]
    assert walk(api) == everything
    assert walk(api, newest_first=True) == everything[::-1]


def test_pages_stay_as_they_are_while_entries_come(api: Api, services: Services):
    first = api.get(AUDIT, params={"limit": 3, "newest_first": True}).json()
    write(services, "models/late")
    second = api.get(AUDIT, params={"limit": 3, "newest_first": True, "cursor": first["next_cursor"]}).json()
    numbers = [entry["seq"] for page in (first, second) for entry in page["entries"]]
    assert numbers == list(range(numbers[0], numbers[0] - 6, -1))


def test_entries_are_found_by_who_what_and_about_what(api: Api, services: Services):
    for subject in ("models/a@1", "models/a@2", "models/ab@1", "models/A@1", "reports/a"):
        write(services, subject)
    write(services, "models/a@1", actor="max")

    def subjects(**filters: str) -> list[str]:
        return [entry["subject"] for entry in api.get(AUDIT, params=filters).json()["entries"]]

    assert subjects(action="thing.*", actor="mo", subject="models/a@*") == ["models/a@1", "models/a@2"]
    assert subjects(subject="models/a@1") == ["models/a@1", "models/a@1"]
    assert subjects(actor="max", action="thing.do") == ["models/a@1"]
    assert subjects(subject="models/_@1") == []
    assert subjects(subject="models/%") == []
    assert subjects(actor="mo' OR '1'='1") == []


def test_entries_are_found_by_time(tmp_path: Path, clock: FixedClock):
    moving = MovingClock(clock.at)
    services = with_people(services_in(tmp_path, moving))
    api = api_over(services)
    for number in range(3):
        moving.at = clock.at + timedelta(days=number + 1)
        write(services, f"day-{number + 1}")
    day = (clock.at + timedelta(days=2)).isoformat()
    assert [one["subject"] for one in api.get(AUDIT, params={"since": day}).json()["entries"]] == ["day-2", "day-3"]
    until = api.get(AUDIT, params={"since": clock.at.replace(day=6).isoformat(), "until": day}).json()
    assert [one["subject"] for one in until["entries"]] == ["day-1"]
    shifted = (clock.at + timedelta(days=2)).strftime("%Y-%m-%dT21:00:00+09:00")
    assert len(api.get(AUDIT, params={"since": shifted}).json()["entries"]) == 2


@pytest.mark.parametrize(
    ("query", "remedy"),
    [
        ("since=2024-05-02T21:30:00", "add the time zone, as in 2024-05-02T21:30:00Z"),
        ("until=2024-05-02", "add the time zone"),
        ("since=2024-05-02T21:30:00+00:00", "write a date and a time"),
        ("since=1714685400", "write a date and a time"),
        ("since=0001-01-01T00:00:00%2B23:59", "no time of the calendar"),
        ("limit=0", "greater than or equal to 1"),
        ("limit=1000000000", "less than or equal to 1000"),
        ("cursor=abc", "Leave it away"),
        ("newest_first=perhaps", "boolean"),
    ],
)
def test_a_wrong_filter_is_422_with_a_remedy(api: Api, query: str, remedy: str):
    answer = api.get(f"{AUDIT}?{query}")
    assert answer.status_code == 422
    assert remedy in answer.text


def test_the_ledger_is_verified_against_its_checkpoints(api: Api, services: Services):
    assert api.as_("vi").ask("POST", f"{AUDIT}/checkpoints").status_code == 403
    signed = api.as_("carol").ask("POST", f"{AUDIT}/checkpoints")
    assert signed.status_code == 200
    head = list(services.ledger.entries())[-1]
    assert (signed.json()["seq"], signed.json()["head_hash"]) == (head.seq, head.hash)
    assert api.as_("carol").ask("POST", f"{AUDIT}/checkpoints").json() == signed.json()
    assert api.get(f"{AUDIT}/checkpoints").json() == {"checkpoints": [signed.json()], "next_cursor": None}
    found = api.get(f"{AUDIT}/verify").json()
    assert (found["status"], found["vouched"], found["checkpoints"]) == ("intact", head.seq, 1)


def test_checkpoints_are_paged(api: Api, services: Services):
    numbers: list[int] = []
    for number in range(3):
        write(services, f"models/{number}")
        numbers.append(api.as_("carol").ask("POST", f"{AUDIT}/checkpoints").json()["seq"])
    first = api.get(f"{AUDIT}/checkpoints?limit=2").json()
    second = api.get(f"{AUDIT}/checkpoints", params={"cursor": first["next_cursor"]}).json()
    assert [one["seq"] for one in (*first["checkpoints"], *second["checkpoints"])] == numbers
    assert second["next_cursor"] is None


def test_a_ledger_that_was_cut_is_broken_and_nobody_signs_it(api: Api, services: Services):
    api.as_("carol").ask("POST", f"{AUDIT}/checkpoints")
    with services.database.begin() as connection:
        triggers = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").scalars().all()
        for trigger in triggers:
            connection.exec_driver_sql(f"DROP TRIGGER {trigger}")
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        connection.exec_driver_sql("UPDATE ledger_entry SET actor = 'somebody' WHERE seq = 3")
    found = api.get(f"{AUDIT}/verify").json()
    assert (found["status"], found["first_bad"]) == ("broken", 3)
    assert "3" in found["problem"]


class SlowLedger(Ledger):
    """A ledger that is so long that a walk along it lasts until a test says so."""

    def __init__(self, services: Services) -> None:
        super().__init__(services.database, services.clock)
        self.is_walking, self.may_end = threading.Event(), threading.Event()

    def verify(self, **options: Any) -> Verification:
        self.is_walking.set()
        self.may_end.wait(timeout=30)
        return super().verify(**options)


def test_one_walk_at_a_time(services: Services):
    slow = SlowLedger(services)
    services.__dict__["ledger"] = slow
    api = api_over(services)
    first = threading.Thread(target=lambda: api.get(f"{AUDIT}/verify"))
    first.start()
    slow.is_walking.wait(timeout=30)
    refused = api.get(f"{AUDIT}/verify")
    slow.may_end.set()
    first.join()
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
    assert api.get(f"{AUDIT}/verify").status_code == 200
