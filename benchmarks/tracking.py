"""What tracking costs a run: ours against MLflow's own client by hand, with the same things logged.

`python -m benchmarks.tracking` prints a page and writes it to `docs/benchmarks/tracking.md`. All take their turns in
one process, so that a machine whose speed drifts drifts for all; what counts is the ratio within a turn.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from mlops_assets.lifecycle.tracking.tracking import RunKey, Tracking
from mlops_assets.storage.sql.database import Database

if TYPE_CHECKING:
    from mlflow import MlflowClient

TARGET = Path(__file__).resolve().parent.parent / "docs" / "benchmarks" / "tracking.md"
LIMIT = 1.5
"""How many times the cost of the floor a run of ours may cost."""
SLOWEST_SHARE = 0.9
"""Of the naive way's cost, at most which share a run of ours may cost."""
EXPERIMENT = "models/signal_classifier"
PARAMETERS = {f"parameter_{number}": number / 3 for number in range(18)}
METRICS = {f"test/metric_{number}": number / 7 for number in range(25)}
INPUTS = {"datasets/signal_daily": "a" * 64, "market/bars": "b" * 64, "features/momentum": "c" * 64}
TAGS = {f"dagster.tag_{number}": "d" * 40 for number in range(12)}
MODEL = b"tree\n" * 80_000
METADATA = {"features": list(PARAMETERS), "skill": METRICS}
STORE_CALLS = (
    *("create_run", "get_run", "search_runs", "update_run_info", "log_batch", "log_metric", "log_param", "log_inputs"),
    *("set_tag", "get_experiment_by_name"),
)

Way = Callable[[int], None]


def ours(tracking: Tracking) -> Way:
    """The platform's way: elected in its database, noted, written in one batch."""

    def track(number: int) -> None:
        key = RunKey(asset=EXPERIMENT, root_run_id=f"run-{number}")
        with tracking.run(key, experiment=EXPERIMENT, tags=TAGS) as run:
            run.log_parameters(PARAMETERS)
            run.log_metrics(METRICS)
            for name, fingerprint in INPUTS.items():
                run.log_dataset(name, fingerprint)
            run.log_model(MODEL, "model.lgb")
            run.log_json(METADATA, "metadata.json")

    return track


def batched(client: MlflowClient, experiment: str) -> Way:
    """The floor: what the same takes at least, by somebody who knows which calls take several things at once."""
    from mlflow.entities import Metric, Param

    def track(_: int) -> None:
        run = client.create_run(experiment, tags=TAGS).info.run_id
        parameters = [Param(name, str(value)) for name, value in PARAMETERS.items()]
        now = int(time.time() * 1000)
        client.log_batch(run, params=parameters, metrics=[Metric(name, one, now, 0) for name, one in METRICS.items()])
        client.log_inputs(run, datasets=_inputs())
        _keep_artifacts(client, run)
        client.set_terminated(run)

    return track


def one_by_one(client: MlflowClient, experiment: str) -> Way:
    """How MLflow's first pages show it: a call for each parameter and metric."""

    def track(_: int) -> None:
        run = client.create_run(experiment, tags=TAGS).info.run_id
        for name, value in PARAMETERS.items():
            client.log_param(run, name, value)
        for name, value in METRICS.items():
            client.log_metric(run, name, value)
        client.log_inputs(run, datasets=_inputs())
        _keep_artifacts(client, run)
        client.set_terminated(run)

    return track


def _inputs():  # noqa: ANN202 - MLflow's own
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return [
        DatasetInput(
            Dataset(name=name, digest=one[:36], source_type="snapshot", source=json.dumps(one)),
            [InputTag("mlflow.data.context", "training")],
        )
        for name, one in INPUTS.items()
    ]


def _keep_artifacts(client: MlflowClient, run: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.lgb"
        file.write_bytes(MODEL)
        client.log_artifact(run, str(file), "model")
    client.log_text(run, json.dumps(METADATA), "metadata.json")


@contextmanager
def counted_calls() -> Iterator[Counter[str]]:
    """Count what is asked of MLflow's store: each would be a round trip to a server."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    calls, originals = Counter[str](), {name: getattr(SqlAlchemyStore, name) for name in STORE_CALLS}
    depth = 0

    def counting(name: str) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            nonlocal depth
            calls[name] += depth == 0  # what the store asks of itself is no round trip
            depth += 1
            try:
                return originals[name](*arguments, **options)
            finally:
                depth -= 1

        return call

    for name in STORE_CALLS:
        setattr(SqlAlchemyStore, name, counting(name))
    try:
        yield calls
    finally:
        for name, original in originals.items():
            setattr(SqlAlchemyStore, name, original)


def measure(options: argparse.Namespace) -> tuple[str, list[str]]:
    """Measure everything; return the page and what is broken."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        database = Database(f"sqlite:///{home / 'platform.db'}")
        database.migrate()
        tracking = Tracking(database, uri=f"sqlite:///{home / 'mlflow.db'}", artifacts=home / "artifacts")
        client = tracking.client()
        by_hand = client.create_experiment("by hand", artifact_location=(home / "by_hand").as_uri())
        ways: Mapping[str, Way] = {
            "floor": batched(client, by_hand),
            "ours": ours(tracking),
            "one by one": one_by_one(client, by_hand),
        }
        calls = {name: _calls(way) for name, way in ways.items()}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(options.runs):
            for name, way in ways.items():
                started = time.perf_counter()
                way(number)
                seconds[name].append(time.perf_counter() - started)
        print(f"{options.runs} runs of each", file=sys.stderr)
        database.dispose()
    return _page(options, calls, seconds)


def _calls(way: Way) -> int:
    """Track once, which also warms up what the first one pays for, then count the second."""
    way(-1)
    with counted_calls() as calls:
        way(-2)
    return calls.total()


def _page(
    options: argparse.Namespace, calls: Mapping[str, int], seconds: Mapping[str, list[float]]
) -> tuple[str, list[str]]:
    to_floor = {
        name: median(mine / floor for mine, floor in zip(taken, seconds["floor"], strict=True))
        for name, taken in seconds.items()
    }
    words = {
        "floor": "MLflow's client by hand, batched (the floor)",
        "ours": "the platform's tracking",
        "one by one": "MLflow's client by hand, a call for each value",
    }
    limits = {"ours": f"<= {LIMIT}"}
    table = [
        f"| {words[name]} | {calls[name]} | {median(seconds[name]) * 1000:.1f} | {ratio:.2f} | {limits.get(name, '')} |"
        for name, ratio in to_floor.items()
    ]
    broken: list[str] = []
    if to_floor["ours"] > LIMIT:
        broken.append(f"a run costs {to_floor['ours']:.2f} times the floor")
    if to_floor["ours"] > SLOWEST_SHARE * to_floor["one by one"]:
        broken.append("a run costs about as much as a call for each value")
    page = [
        "# Tracking a run",
        "",
        f"On {os.cpu_count()} cores, Python {platform.python_version()}, MLflow {version('mlflow')} over SQLite;",
        f"medians of {options.runs} runs of each way in turns. Measure again with `python -m benchmarks.tracking`.",
        "",
        f"Each run has {len(TAGS)} tags, {len(PARAMETERS)} parameters, {len(METRICS)} metrics, {len(INPUTS)} input",
        f"datasets, a model of {len(MODEL) / 1e6:.1f} MB and a JSON document.",
        "",
        "| what | calls of the store | ms a run | to the floor | limit |",
        "| --- | --- | --- | --- | --- |",
        *table,
        "",
        "Ours also elects the run: it asks the platform's database who has the key, looks for the key among MLflow's",
        "tags, and commits the election to the disk. A call of the store is a round trip where MLflow is a server.",
        "",
    ]
    return "\n".join(page), broken


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--to", type=Path, default=TARGET)
    given = parser.parse_args()
    page, faults = measure(given)
    print(page)
    if faults:
        raise SystemExit("\n".join(faults))
    given.to.parent.mkdir(parents=True, exist_ok=True)
    given.to.write_text(page, encoding="utf-8")
