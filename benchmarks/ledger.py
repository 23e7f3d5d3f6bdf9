"""What the audit ledger costs: durable appends, verifying a million entries, and 1,000 forgeries found and located.

`python -m benchmarks.ledger` prints a page and writes it to `docs/benchmarks/ledger.md`. Appends are counted on the
clock, because they wait for the disk; verification in CPU seconds of a process of its own. Each stands beside a floor
that does the least such a thing can do, in turns, so that a machine whose speed drifts drifts for all.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import platform
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median

from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import FixedClock, SystemClock
from mlops_assets.ledger.checkpoint import Checkpoint
from mlops_assets.ledger.checkpoints import Checkpoints
from mlops_assets.ledger.export import export_ledger, verify_export
from mlops_assets.ledger.seal import links_of_lines
from mlops_assets.ledger.store import Ledger
from mlops_assets.ledger.verification import verify_links
from mlops_assets.storage.keys import KeyFolder
from mlops_assets.storage.sql.database import Database
from tests.ledger.forger import FORGERIES, is_located

TARGET = Path(__file__).resolve().parent.parent / "docs" / "benchmarks" / "ledger.md"
LIMITS = {"export": 3.0, "database": 5.0}
"""How many times the cost of the floor a verification may cost."""
SLOWEST_APPEND = 0.3
"""The share of the floor's appends a second that the ledger must reach."""
AT = datetime(2026, 1, 5, 12, tzinfo=UTC)


def a_change(number: int) -> Change:
    """Return a change as a publication makes it."""
    return Change(
        actor="dagster",
        action="snapshot.publish",
        subject=f"features/momentum@{number}",
        after=hashlib.sha256(str(number).encode()).hexdigest(),
        details={"code_version": "c" * 64, "rows": number, "inputs": {"market/bars": "b" * 64}},
    )


# Durable appends: each commits on its own and waits for the disk.


def append_to_ledger(folder: Path) -> Callable[[int], None]:
    database = Database(f"sqlite:///{folder / 'ledger.db'}")
    ledger = Ledger(database, SystemClock())

    def append(number: int) -> None:
        with database.begin() as connection:
            ledger.append(connection, a_change(number))

    return append


def insert_plainly(folder: Path) -> Callable[[int], None]:
    """The floor: a row of the same size and the same indexes, without chain, guards or SQLAlchemy."""
    connection = sqlite3.connect(folder / "plain.db", isolation_level=None, timeout=60)
    connection.execute("PRAGMA synchronous = FULL")
    names = ("at", "actor", "action", "subject", "details", "previous_hash", "hash")
    statement = f"INSERT INTO entry ({', '.join(names)}) VALUES ({', '.join('?' for _ in names)})"

    def append(number: int) -> None:
        change = a_change(number)
        own = hashlib.sha256(f"{os.getpid()} {number}".encode()).hexdigest()
        row = (str(AT), change.actor, change.action, change.subject, json.dumps(change.details), own, own)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(statement, row)
        connection.execute("COMMIT")

    return append


def sync_lines(folder: Path) -> Callable[[int], None]:
    """What the disk alone takes: a line, and a wait until it is there."""
    stream = (folder / f"lines-{os.getpid()}").open("ab")

    def append(number: int) -> None:
        stream.write(json.dumps(dict(a_change(number).details)).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())

    return append


APPENDERS: Mapping[str, Callable[[Path], Callable[[int], None]]] = {
    "ledger": append_to_ledger,
    "plain insert": insert_plainly,
    "fsync of a line": sync_lines,
}


def appends_a_second(name: str, processes: int, count: int) -> float:
    """Let processes append `count` entries together, each its share, and return how many a second that were."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _prepare(folder)
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(processes + 1)
        share = count // processes
        workers = [context.Process(target=_append, args=(name, folder, share, barrier)) for _ in range(processes)]
        for worker in workers:
            worker.start()
        barrier.wait()
        started = time.perf_counter()
        for worker in workers:
            worker.join()
        taken = time.perf_counter() - started
        if any(worker.exitcode for worker in workers):
            raise SystemExit(f"an appender of {name} failed")
        return share * processes / taken


def _prepare(folder: Path) -> None:
    Database(f"sqlite:///{folder / 'ledger.db'}").migrate()
    with sqlite3.connect(folder / "plain.db") as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(
            "CREATE TABLE entry (seq INTEGER PRIMARY KEY, at TEXT, actor TEXT, action TEXT, subject TEXT, "
            "details TEXT, previous_hash TEXT, hash TEXT UNIQUE)"
        )
        for column in ("at", "actor", "action", "subject"):
            connection.execute(f"CREATE INDEX ix_{column} ON entry ({column})")
    connection.close()


def _append(name: str, folder: Path, count: int, barrier: Barrier) -> None:
    append = APPENDERS[name](folder)
    append(-1)  # what the first one prepares is not counted
    barrier.wait()
    for number in range(count):
        append(number)


# Verification: a walk along everything, from the database and from an export.


def verify_database(folder: Path) -> None:
    found = Ledger(Database(f"sqlite:///{folder / 'ledger.db'}"), SystemClock()).verify()
    assert found.is_intact, found.problem


def verify_exported(folder: Path) -> None:
    found = verify_export(folder / "ledger.jsonl")
    assert found.is_intact, found.problem
    assert found.vouched == found.entries


def parse_and_hash(folder: Path) -> None:
    """The floor: whoever verifies has to read each line and to hash it."""
    with (folder / "ledger.jsonl").open("rb") as stream:
        for line in stream:
            json.loads(line)
            hashlib.sha256(line).hexdigest()


VERIFIERS: Mapping[str, Callable[[Path], None]] = {
    "floor": parse_and_hash,
    "export": verify_exported,
    "database": verify_database,
}


def cpu_seconds(name: str, folder: Path) -> float:
    """Verify in a process of its own and return what that took, imports not counted."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (name, folder))


def _measured(name: str, folder: Path) -> float:
    started = time.process_time()
    VERIFIERS[name](folder)
    return time.process_time() - started


def fill(folder: Path, count: int) -> Checkpoints:
    """Make a ledger of many entries with its export and its checkpoint."""
    database, keys = Database(f"sqlite:///{folder / 'ledger.db'}"), KeyFolder(folder / "keys")
    database.migrate()
    ledger = Ledger(database, FixedClock(at=AT))
    for start in range(0, count, 1_000):
        with database.begin() as connection:
            for number in range(start, min(start + 1_000, count)):
                ledger.append(connection, a_change(number))
    checkpoints = Checkpoints(ledger, keys, folder / "checkpoints", FixedClock(at=AT))
    export_ledger(ledger, checkpoints, folder / "ledger.jsonl")
    return checkpoints


# Tampering: what somebody does who owns the file of an export.


def forgeries(folder: Path, entries: int, trials: int) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Try each kind of forgery in turn and count by kind: tried, found, located."""
    database, clock = Database(f"sqlite:///{folder / 'ledger.db'}"), FixedClock(at=AT)
    database.migrate()
    ledger = Ledger(database, clock)
    checkpoints = Checkpoints(ledger, KeyFolder(folder / "keys"), folder / "checkpoints", clock)
    for start in range(0, entries, entries // 10):
        with database.begin() as connection:
            for number in range(start, start + entries // 10):
                ledger.append(connection, a_change(number))
        checkpoints.sign()
    lines, signed = list(ledger.lines()), checkpoints.all()
    rng = random.Random(20260105)
    tried, found, located = Counter[str](), Counter[str](), Counter[str]()
    for number in range(trials):
        kind = list(FORGERIES)[number % len(FORGERIES)]
        is_found, is_in_place = _one_forgery(kind, lines, signed, rng)
        tried[kind] += 1
        found[kind] += is_found
        located[kind] += is_in_place
    return tried, found, located


def _one_forgery(
    kind: str, lines: Sequence[bytes], signed: Sequence[Checkpoint], rng: random.Random
) -> tuple[bool, bool]:
    forgery = FORGERIES[kind](lines, rng)
    verification = verify_links(links_of_lines(forgery.lines), signed)
    return not verification.is_intact, is_located(kind, forgery, verification)


def measure(options: argparse.Namespace) -> tuple[str, list[str]]:
    """Measure everything; return the page and what is broken."""
    broken: list[str] = []
    rows = [
        *_append_rows(options, broken),
        "",
        *_verification_rows(options, broken),
        "",
        *_forgery_rows(options, broken),
    ]
    head = [
        "# The audit ledger",
        "",
        f"On {os.cpu_count()} cores, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}; medians of",
        f"{options.rounds} rounds in turns. Measure again with `python -m benchmarks.ledger`.",
        "",
    ]
    return "\n".join([*head, *rows, ""]), broken


def _append_rows(options: argparse.Namespace, broken: list[str]) -> list[str]:
    rates: dict[tuple[str, int], list[float]] = {}
    for number in range(options.rounds):
        for processes in (1, 4):
            for name in APPENDERS:
                rates.setdefault((name, processes), []).append(appends_a_second(name, processes, options.appends))
        print(f"appends: round {number + 1} of {options.rounds}", file=sys.stderr)
    found = {key: median(values) for key, values in rates.items()}
    table = []
    for processes in (1, 4):
        floor = found["plain insert", processes]
        for name in APPENDERS:
            rate = found[name, processes]
            limit = f">= {SLOWEST_APPEND}" if name == "ledger" else ""
            table.append(f"| {name} | {processes} | {rate:,.0f} | {rate / floor:.2f} | {limit} |")
        if found["ledger", processes] < SLOWEST_APPEND * floor:
            broken.append(f"appends by {processes} processes are slower than {SLOWEST_APPEND} of the floor")
    return [
        f"## Appends, {options.appends:,} of them, each committed and on the disk",
        "",
        "| what | processes | a second | to the floor | limit |",
        "| --- | --- | --- | --- | --- |",
        *table,
        "",
        "The floor is a plain insert of such a row into a table with the same indexes, committed with",
        "`synchronous=FULL`. The ledger reads its last entry, hashes, and lets the database check that the chain",
        "continues. Four processes wait for each other: a chain has one end.",
    ]


def _verification_rows(options: argparse.Namespace, broken: list[str]) -> list[str]:
    costs: dict[str, list[float]] = {name: [] for name in VERIFIERS}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        fill(folder, options.entries)
        size = (folder / "ledger.jsonl").stat().st_size
        for number in range(options.rounds):
            for name in VERIFIERS:
                costs[name].append(cpu_seconds(name, folder))
            print(f"verification: round {number + 1} of {options.rounds}", file=sys.stderr)
    found = {name: median(values) for name, values in costs.items()}
    words = {
        "floor": "SHA-256 and `json.loads` of each line (the floor)",
        "export": "the export against its checkpoint",
        "database": "the database",
    }
    table = []
    for name, cost in found.items():
        ratio, limit = cost / found["floor"], LIMITS.get(name)
        table.append(f"| {words[name]} | {cost:.2f} | {ratio:.2f} | {'' if limit is None else f'<= {limit}'} |")
        if limit is not None and ratio > limit:
            broken.append(f"verifying {words[name]} costs {ratio:.2f} times the floor")
    return [
        f"## Verification of {options.entries:,} entries ({size / 1e6:,.0f} MB as an export)",
        "",
        "| what | CPU seconds | to the floor | limit |",
        "| --- | --- | --- | --- |",
        *table,
    ]


def _forgery_rows(options: argparse.Namespace, broken: list[str]) -> list[str]:
    with tempfile.TemporaryDirectory() as scratch:
        tried, found, located = forgeries(Path(scratch), options.forged_entries, options.forgeries)
    broken += [f"{kind}: not every one was found and located" for kind in tried if located[kind] < tried[kind]]
    table = [f"| {kind} | {tried[kind]} | {found[kind]} | {located[kind]} |" for kind in tried]
    total = f"| all | {tried.total()} | {found.total()} | {located.total()} |"
    return [
        f"## {tried.total():,} forgeries of an export of {options.forged_entries:,} entries with ten checkpoints",
        "",
        "| kind | tried | found | located |",
        "| --- | --- | --- | --- |",
        *table,
        total,
        "",
        "Located: the first bad entry that is reported is the one tampered with (for an insertion, the line). Of a",
        "chain that was written anew from some entry on, with sound hashes, only checkpoints tell: the entry lies",
        "between the last one that holds and the first that does not, and located means that.",
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--appends", type=int, default=4_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--forgeries", type=int, default=1_000)
    parser.add_argument("--forged-entries", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--to", type=Path, default=TARGET)
    given = parser.parse_args()
    page, faults = measure(given)
    print(page)
    if faults:
        raise SystemExit("\n".join(faults))
    given.to.parent.mkdir(parents=True, exist_ok=True)
    given.to.write_text(page, encoding="utf-8")
