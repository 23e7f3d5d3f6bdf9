"""How much starting costs: importing and loading the definitions beside a bare `import dagster`, and the whole graph.

`python -m benchmarks.start_up` prints a table and writes it to `docs/benchmarks/start_up.md`. Every figure is that of a
process of its own, in the CPU seconds that the operating system accounted to it; peers take turns, so that a machine
whose speed drifts drifts for both.
"""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROUNDS = 7
WHOLE_GRAPH_LIMIT_SECONDS = 180
IMPORT_LIMIT_RATIO = 1.5
TARGET = Path(__file__).resolve().parent.parent / "docs" / "benchmarks" / "start_up.md"

BARE = "import dagster"
IMPORTED = "import mlops_assets.definitions"
LOADED = "from mlops_assets.definitions import defs; defs().get_repository_def()"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one process took, in seconds."""

    cpu: float
    wall: float


def cost_of(command: Sequence[str], environment: dict[str, str]) -> Cost:
    """Run a command to its end and return its cost; its output goes nowhere."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(cpu=cpu, wall=time.monotonic() - started)


def measure(home: Path) -> str:
    """Measure everything and return the page."""
    environment = {**os.environ, "MLOPS_HOME": str(home), "PYTHONWARNINGS": "ignore"}
    # Compiled modules are kept, as in any installation, but in a place of this run.
    environment |= {"PYTHONPYCACHEPREFIX": str(home / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
    programs = {"bare": BARE, "imported": IMPORTED, "loaded": LOADED}
    costs: dict[str, list[Cost]] = {name: [] for name in programs}
    for round_number in range(ROUNDS + 1):
        for name, program in programs.items():
            cost = cost_of([sys.executable, "-c", program], environment)
            if round_number:  # the first round fills the caches
                costs[name].append(cost)
        print(f"imports: round {round_number} of {ROUNDS}", file=sys.stderr)
    bare, imported, loaded = (median(cost.cpu for cost in costs[name]) for name in programs)
    print("the whole graph, from nothing", file=sys.stderr)
    graph = cost_of([sys.executable, "-m", "tests.journeys.run_graph", str(home / "graph")], environment)
    rows = [
        ("bare `import dagster` (the floor)", f"{bare:.2f}", "1.00", ""),
        ("`import mlops_assets.definitions`", f"{imported:.2f}", f"{imported / bare:.2f}", f"<= {IMPORT_LIMIT_RATIO}"),
        ("loading every definition", f"{loaded:.2f}", f"{loaded / bare:.2f}", ""),
        ("the whole graph on the sample", f"{graph.cpu:.1f}", f"{graph.wall:.1f} s wall", "<= 180 s wall"),
    ]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    page = [
        "# Start-up",
        "",
        f"Medians of {ROUNDS} processes in turns, on {os.cpu_count()} cores, Python {platform.python_version()}.",
        "Measure again with `python -m benchmarks.start_up`.",
        "",
        "| what | CPU seconds | to the floor | limit |",
        "| --- | --- | --- | --- |",
        *lines,
        "",
        "The entry point imports the graph when a process asks for it, so a command that only needs the module pays",
        "nothing. A code location pays the third row once. The graph runs in one process with every check, from empty",
        "stores, after installation.",
        "",
    ]
    text = "\n".join(page)
    if imported / bare > IMPORT_LIMIT_RATIO or graph.wall > WHOLE_GRAPH_LIMIT_SECONDS:
        raise SystemExit(f"{text}\na limit is broken")
    return text


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(found, encoding="utf-8")
    print(found)
