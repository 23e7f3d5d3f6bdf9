"""A process of its own that decides on every request, so that a test can race and kill it: `... <home> <name>`.

It prints the ids of the requests on which its verdict was counted; the others were closed before it came.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mlops_assets.governance.spec import Verdict
from mlops_assets.governance.store import ApprovalStore
from mlops_assets.kernel.errors import Conflict
from mlops_assets.kernel.identity import Role
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.sql.database import Database
from tests.governance.worlds import ACCESS, RULES, Hands, People, evidence

APPROVERS = ("ana", "ben", "cho", "dee")


def open_store(home: Path) -> tuple[ApprovalStore, Ledger, People]:
    database, clock, people = Database(f"sqlite:///{home / 'platform.db'}"), Hands(), People()
    ledger = Ledger(database, clock)
    for name in APPROVERS:
        people.named(name, Role.COMPLIANCE)
    people.named("dagster", Role.SERVICE)
    return (
        ApprovalStore(database, ledger, clock, rules=RULES, access=ACCESS, directory=people, seal=lambda: None),
        ledger,
        people,
    )


def ask(home: Path, count: int) -> None:
    store, _, people = open_store(home)
    for number in range(count):
        store.request(
            subject=f"reports/r{number}",
            tier=2,
            evidence=evidence(),
            authors=["aron"],
            by=people.principal("dagster"),
        )


def decide(home: Path, name: str) -> list[str]:
    """Approve what is there, and return the requests on which the verdict counted."""
    store, _, people = open_store(home)
    counted: list[str] = []
    for request in store.list():
        try:
            store.decide(request.id, by=people.principal(name), verdict=Verdict.APPROVE, note="read it")
            counted.append(request.id)
        except Conflict:
            continue
    return counted


if __name__ == "__main__":
    print("\n".join(decide(Path(sys.argv[1]), sys.argv[2])))  # noqa: T201
