"""What the point-in-time join costs: beside Feast, the obvious SQL, polars, pandas, and one scan of the same columns.

`python -m benchmarks.point_in_time` measures 1,000,000 rows joined to 10,000,000 and writes
`docs/benchmarks/point_in_time.md`; `--feature-rows`, `--entity-rows` and `--scales` make it smaller, `--page` writes
elsewhere. Every figure is that of a process of its own, in CPU seconds (user and system, after imports and with the
store opened). Each method's rows are compared with ours, value by value; a difference or a broken limit ends the run
with an error.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl

from benchmarks.point_in_time_data import COLUMN_NAMES, COLUMNS, RESTATED_SHARE, SYMBOLS, TTL, VIEW, YEARS, store_in
from benchmarks.point_in_time_methods import paths
from tests.peers.environment import run_feast

TARGET = Path(__file__).resolve().parent.parent / "docs" / "benchmarks" / "point_in_time.md"
ROUNDS = 3
LIMIT_MB = 1024
MOST_TO_FLOOR, LEAST_TO_FEAST, MOST_GROWTH = 2.5, 20.0, 1.25
ONLINE_MILLISECONDS = 10.0

LABELS = {
    "floor": "one scan of the same columns (the floor)",
    "ours": "ours, each file's SHA-256 checked first",
    "ours_unchecked": "ours, without that check",
    "ours_as_known": "ours, as known at each row's time (the default)",
    "duckdb_sql": "DuckDB: window de-duplication and ASOF",
    "polars_join_asof": "polars `join_asof`",
    "pandas_merge_asof": "pandas `merge_asof`",
    "feast": "Feast, DuckDB store",
    "feast_as_known": "Feast, `filter_by_created_timestamp`",
}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """CPU seconds of the work and peak memory of its process."""

    cpu: float
    peak_bytes: int

    @property
    def peak(self) -> str:
        return f"{self.peak_bytes / 1e9:.2f}"


@dataclass(frozen=True, kw_only=True)
class Options:
    feature_rows: int
    entity_rows: int
    scales: Sequence[int]
    rounds: int
    has_feast: bool


def measure(work: Path, options: Options) -> str:
    """Measure everything and return the page.

    Raises:
        SystemExit: if answers differ or a limit is broken; the message has the page.
    """
    data = _made(work, options.feature_rows, options.entity_rows)
    costs = _in_turns(data, ["floor", "ours", "ours_unchecked", "ours_as_known"], options.rounds)
    for method in ("duckdb_sql", "polars_join_asof", "pandas_merge_asof"):
        costs[method] = _run(data, method)
    if options.has_feast:
        costs["feast"] = _feast(data, "feast", filter_by_created=False)
        costs["feast_as_known"] = _feast(data, "feast_as_known", filter_by_created=True)
    differing = [
        method
        for method in costs
        if method not in ("floor", "ours", "ours_as_known")
        and not _rows(data, method).equals(_rows(data, "ours_as_known" if method == "feast_as_known" else "ours"))
    ]
    limited = _run(data, "ours", limit_mb=LIMIT_MB)
    year, timeless = _run(data, "one_year"), _run(data, "one_year_timeless")
    if not _rows(data, "one_year").equals(_rows(data, "one_year_timeless")):
        differing.append("one_year")
    served_peak = _run(data, "online")
    served = json.loads((data / "out" / "online").read_text(encoding="utf-8"))
    scaled = {rows: _scale(work, rows, options) for rows in options.scales}
    broken = [*(f"{one} differs" for one in differing), *_broken(costs, served, scaled)]
    page = _page(costs, limited, year, timeless, served, served_peak, scaled, options, data)
    if broken:
        raise SystemExit(f"{page}\n{'; '.join(broken)}")
    return page


def _broken(costs: dict[str, Cost], served: list[dict[str, Any]], scaled: dict[int, dict[str, Cost]]) -> list[str]:
    broken = list[str]()
    for one, peer in (("ours", "feast"), ("ours_as_known", "feast_as_known")):
        if costs[one].cpu / costs["floor"].cpu > MOST_TO_FLOOR:
            broken.append(f"{LABELS[one]}: more than {MOST_TO_FLOOR} times the floor")
        if peer in costs and costs[peer].cpu / costs[one].cpu < LEAST_TO_FEAST:
            broken.append(f"{LABELS[one]}: less than {LEAST_TO_FEAST} times cheaper than {LABELS[peer]}")
    if any(one["p50"] > ONLINE_MILLISECONDS for one in served):
        broken.append(f"a serving read takes more than {ONLINE_MILLISECONDS} ms")
    ordered = sorted(scaled)
    for smaller, larger in pairwise(ordered):
        if scaled[larger]["ours"].cpu / scaled[smaller]["ours"].cpu > MOST_GROWTH * larger / smaller:
            broken.append(f"from {smaller} to {larger} rows it grows faster than the rows")
    return broken


def _made(work: Path, feature_rows: int, entity_rows: int) -> Path:
    folder = work / str(feature_rows)
    if not folder.exists():
        _say(f"making {feature_rows:,} rows")
        arguments = [str(folder), str(feature_rows), str(entity_rows)]
        subprocess.run([sys.executable, "-m", "benchmarks.point_in_time_data", *arguments], check=True)
        (folder / "out").mkdir()
    return folder


def _in_turns(folder: Path, methods: Sequence[str], rounds: int) -> dict[str, Cost]:
    """Return the medians of methods that take turns, so that a machine whose speed drifts drifts for all."""
    found: dict[str, list[Cost]] = {method: [] for method in methods}
    for _ in range(rounds):
        for method in methods:
            found[method].append(_run(folder, method))
    return {
        method: Cost(cpu=median(one.cpu for one in costs), peak_bytes=max(one.peak_bytes for one in costs))
        for method, costs in found.items()
    }


def _run(folder: Path, method: str, *, limit_mb: int = 0) -> Cost:
    _say(f"{method}{f' in {limit_mb} MB' if limit_mb else ''}, {folder.name} rows")
    command = [sys.executable, "-m", "benchmarks.point_in_time_methods", method, str(folder)]
    command += [str(folder / "out" / method), str(limit_mb)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def _feast(folder: Path, name: str, *, filter_by_created: bool) -> Cost:
    _say(name)
    asked = folder / "feast.parquet"
    pl.read_parquet(folder / "entities.parquet").rename({"at": "event_timestamp"}).write_parquet(asked)
    job = {
        "folder": str(folder / name),
        "views": [
            {
                "name": VIEW.name,
                "path": f"{paths(store_in(folder))[0].parent}/*.parquet",
                "columns": COLUMN_NAMES,
                "ttl_seconds": TTL.total_seconds(),
            }
        ],
        "entities": str(asked),
        "features": [f"{VIEW.name}:{column}" for column in COLUMN_NAMES],
        "filter_by_created": filter_by_created,
        "output": str(folder / "out" / name),
    }
    (said,) = run_feast([job], folder)
    return Cost(cpu=said["cpu"], peak_bytes=said["peak_bytes"])


def _rows(folder: Path, method: str) -> pl.DataFrame:
    return pl.read_parquet(folder / "out" / method).sort("row").select("row", *COLUMN_NAMES)


def _scale(work: Path, rows: int, options: Options) -> dict[str, Cost]:
    return _in_turns(_made(work, rows, options.entity_rows), ["floor", "ours"], options.rounds)


def _page(
    costs: dict[str, Cost],
    limited: Cost,
    year: Cost,
    timeless: Cost,
    served: list[dict[str, Any]],
    served_peak: Cost,
    scaled: dict[int, dict[str, Cost]],
    options: Options,
    data: Path,
) -> str:
    ours, floor = costs["ours"].cpu, costs["floor"].cpu
    byte_count = sum(path.stat().st_size for path in paths(store_in(data)))
    main = [
        (LABELS[method], f"{cost.cpu:.2f}", f"{cost.cpu / floor:.1f}", f"{cost.cpu / ours:.1f}", cost.peak)
        for method, cost in costs.items()
    ]
    scales = [
        (f"{rows:,}", f"{one['ours'].cpu:.2f}", f"{one['floor'].cpu:.2f}", one["ours"].peak)
        for rows, one in sorted(scaled.items())
    ]
    reads = [
        (one["way"], str(one["symbols"]), f"{one['p50']:.1f}", f"{one['p99']:.1f}", f"{one['first']:.0f}")
        for one in served
    ]
    return "\n".join(
        [
            "# Point-in-time join",
            "",
            f"{options.entity_rows:,} rows joined to {options.feature_rows:,} rows of {COLUMNS} columns: {SYMBOLS} "
            f"symbols, {YEARS} years in",
            f"{YEARS} files ({byte_count / 1e9:.2f} GB), {RESTATED_SHARE:.0%} of the events restated later, TTL "
            f"{TTL.days} days. On {os.cpu_count()} cores, Python",
            f"{platform.python_version()}; each figure from a process of its own, in CPU seconds without imports. "
            "Measure again with",
            "`python -m benchmarks.point_in_time`.",
            "",
            *_table(("method", "CPU seconds", "to the floor", "to ours", "peak memory, GB"), main),
            "",
            f"Limits of both questions: ours at most {MOST_TO_FLOOR} times the floor, and at least "
            f"{LEAST_TO_FEAST:.0f} times cheaper than Feast. Each method's rows equal ours,",
            "value by value; the peers know no time of knowledge, so the question is Feast's default (the last known "
            "row of an",
            "event wins, whenever it was known). The rows as known then are compared with Feast's own cut-off. The "
            f"first {len(('floor', 'ours', 'ours_unchecked', 'ours_as_known'))}",
            f"are medians of {options.rounds} processes in turns, the others single runs. The floor keeps nothing of "
            "what it reads.",
            "",
            "## Little memory, much data, one year",
            "",
            f"Under a limit of {LIMIT_MB} MB of private memory (RLIMIT_DATA: heap, anonymous mappings, stacks; not "
            "libraries' code) it",
            f"finishes with {limited.cpu:.2f} CPU seconds and a peak of {limited.peak} GB.",
            "",
            *_table(("feature rows", "CPU seconds", "floor", "peak memory, GB"), scales),
            "",
            f"A training set of one year, {options.entity_rows // YEARS:,} rows, opens the files of [min t - TTL, "
            f"max t] only: {year.cpu:.2f} CPU seconds",
            f"and {year.peak} GB, against {timeless.cpu:.2f} and {timeless.peak} GB when the files' times are "
            "ignored. Both give the same rows.",
            "",
            "## Serving reads",
            "",
            f"Milliseconds of one call for all {COLUMNS} columns, the head looked up in SQL each time. The first "
            "call of a process, and the",
            "first that needs a new file, reads and checks it: a service asks once before it takes requests. Later "
            "calls find the",
            f"files in memory (peak of the process: {served_peak.peak} GB).",
            "",
            *_table(("question", "symbols", "p50", "p99", "first call"), reads),
            "",
        ]
    )


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (heading, ["---"] * len(heading), *rows)]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--feature-rows", type=int, default=10_000_000)
    parser.add_argument("--entity-rows", type=int, default=1_000_000)
    parser.add_argument("--scales", default="1000000,4000000,10000000,40000000")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--without-feast", action="store_true")
    parser.add_argument("--page", type=Path, default=TARGET)
    given = parser.parse_args()
    options = Options(
        feature_rows=given.feature_rows,
        entity_rows=given.entity_rows,
        scales=[int(rows) for rows in given.scales.split(",")],
        rounds=given.rounds,
        has_feast=not given.without_feast,
    )
    with tempfile.TemporaryDirectory() as folder:
        page = measure(Path(folder), options)
    given.page.parent.mkdir(parents=True, exist_ok=True)
    given.page.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
