"""What a prediction, a promotion, a rollback and a training cost, on the sample and beside what they can't do without.

`python -m benchmarks.lifecycle` makes the sample's graph in a home of its own (or takes `--home`), prints a page and
writes it to `docs/benchmarks/lifecycle.md`.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl

from mlops_assets.governance.spec import Verdict
from mlops_assets.governance.transitions import State as ApprovalState
from mlops_assets.identity.principals import Declared, Kind
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.lifecycle.deployment.states import State
from mlops_assets.lifecycle.kinds.known import kind_of
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.lifecycle.training.candidate import train_candidate
from mlops_assets.lifecycle.training.folds import complete_rows, fold_rows, matrix
from mlops_assets.services import ServiceFactory
from mlops_assets.settings import load_settings

TARGET = Path(__file__).resolve().parent.parent / "docs" / "benchmarks" / "lifecycle.md"
MODEL = "signal_classifier"
PREDICTIONS, DRILLS, FITS = 2_000, 20, 3
P99_LIMIT_MS = 50.0
ROLLBACK_LIMIT_MS = 500.0


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Milliseconds of something done many times."""

    p50: float
    p99: float
    worst: float

    def __str__(self) -> str:
        return f"{self.p50:.2f} | {self.p99:.2f} | {self.worst:.2f}"


def spread(seconds: Sequence[float]) -> Spread:
    """Summarise durations."""
    p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1000
    return Spread(p50=float(p50), p99=float(p99), worst=max(seconds) * 1000)


def timed(act: Callable[[], object]) -> float:
    """Return how many seconds something takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def people(services: ServiceFactory) -> list[Principal]:
    """Add who asks, promotes and decides."""
    directory, operator = services.directory, services.operator
    for name, role in (("maria", Role.MLOPS), ("chris", Role.COMPLIANCE), ("quinn", Role.QUANT)):
        if directory.find(name) is None:
            directory.add(Declared(name=name, kind=Kind.PERSON, roles=frozenset({role})), by=operator)
    return [directory.principal(name) for name in ("maria", "chris", "quinn")]


def make_champion(services: ServiceFactory, model: str) -> float:
    """Have the model's request approved and promoted; return the seconds of the promotion."""
    maria, chris, quinn = people(services)
    (asked,) = [one for one in services.deployments.list(model=model) if one.state is State.IN_REVIEW]
    (approval,) = [one for one in services.approvals.list() if one.subject == asked.subject and one.decided_at is None]
    for decider in (chris, quinn):
        if approval.state is not ApprovalState.APPROVED:
            approval = services.approvals.decide(approval.id, by=decider, verdict=Verdict.APPROVE, note="benchmark")
    return timed(lambda: services.deployments.promote(asked.id, to=State.CHAMPION, by=maria, reason="benchmark"))


def questions(services: ServiceFactory, model: ModelSpec) -> list[tuple[str, datetime]]:
    """Draw symbols and instants at which every feature was known."""
    rows = services.snapshots.frame(services.snapshots.head(model.predictions), ["symbol", "known_at", "fold"])
    known = rows.filter(pl.col("fold") == "test").sample(PREDICTIONS, seed=7)
    return [(symbol, at.astimezone(UTC)) for symbol, at in known.select("symbol", "known_at").iter_rows()]


def prediction_rows(services: ServiceFactory, spec: ModelSpec) -> list[str]:
    """Measure predictions through the service beside the model alone."""
    (_maria, _chris, quinn), asked = people(services), questions(services, spec)
    service, environment = services.predictions, spec.deployment.environment
    warming = timed(lambda: service.warm(spec.name, environment))
    first = timed(lambda: service.predict(spec.name, asked[0][0], as_of=asked[0][1], by=quinn))
    whole = [
        timed(lambda one=one: service.predict(spec.name, one[0], as_of=one[1], environment=environment, by=quinn))
        for one in asked
    ]
    table = services.snapshots.read(services.snapshots.head(spec.training_set.dataset))
    rows = complete_rows(table, spec.features).head(PREDICTIONS)
    content, kind = services.models.load(services.models.latest(spec.name)), kind_of(spec.kind)
    alone = [
        timed(lambda number=number: kind.predict(rows.slice(number, 1), content, spec)) for number in range(rows.height)
    ]
    ratio = median(whole) / median(alone)
    return [
        f"| {spec.name}: a prediction | {spread(whole)} |",
        f"| {spec.name}: the model alone, its features at hand | {spread(alone)} |",
        f"| {spec.name}: getting ready, before any question: imports and artifacts | {warming * 1000:.0f} | | |",
        f"| {spec.name}: the first prediction of a process | {first * 1000:.0f} | | |",
        f"| {spec.name}: prediction over model alone, medians | {ratio:.1f} times | | |",
    ]


def training_rows(services: ServiceFactory) -> list[str]:
    """Measure each model's training, and the classifier's fit beside LightGBM alone."""
    lines: list[str] = []
    for spec in services.catalogue.models.values():
        table = services.snapshots.read(services.snapshots.head(spec.training_set.dataset))
        whole = [timed(partial(train_candidate, table, spec)) for _ in range(FITS)]
        train, valid = (fold_rows(table, spec.features, fold) for fold in ("train", "valid"))
        fits = [timed(partial(kind_of(spec.kind).fit, train, valid, spec)) for _ in range(FITS)]
        lines.append(f"| {spec.name} | {train.height:,} | {median(fits):.2f} | {median(whole):.2f} |")
    return lines


def floor_of_training(services: ServiceFactory) -> float:
    """Return how many times plain LightGBM's time the classifier's fit takes, on the same numbers."""
    import lightgbm

    spec = services.catalogue.models[MODEL]
    table = services.snapshots.read(services.snapshots.head(spec.training_set.dataset))
    train, valid = (fold_rows(table, spec.features, fold) for fold in ("train", "valid"))
    fitted = kind_of(spec.kind).fit(train, valid, spec)
    x, y = matrix(train, spec.features), train["label"].to_numpy()
    vx, vy = matrix(valid, spec.features), valid["label"].to_numpy()

    def plain() -> None:
        data = lightgbm.Dataset(x, label=y, params=dict(fitted.parameters))
        lightgbm.train(
            dict(fitted.parameters),
            data,
            num_boost_round=spec.learner.params.rounds,
            valid_sets=[lightgbm.Dataset(vx, label=vy, reference=data)],
            callbacks=[lightgbm.early_stopping(spec.learner.params.early_stopping_rounds, verbose=False)],
        )

    ratios = [timed(lambda: kind_of(spec.kind).fit(train, valid, spec)) / timed(plain) for _ in range(FITS)]
    return median(ratios)


def measure(home: Path) -> tuple[str, list[str]]:
    """Measure everything; return the page and what is beyond its limit."""
    services = ServiceFactory(load_settings(home=home))
    spec = services.catalogue.models[MODEL]
    promotion = make_champion(services, MODEL)
    predicted = prediction_rows(services, spec)
    drills = [services.drill.run(spec) for _ in range(DRILLS)]
    rolled_back = spread([one.rollback_seconds for one in drills])
    answered = spread([one.total_seconds for one in drills])
    trained, ratio = training_rows(services), floor_of_training(services)
    p99 = float(predicted[0].split("|")[3])
    broken = [f"p99 of a prediction is {p99} ms, more than {P99_LIMIT_MS:g}"] if p99 > P99_LIMIT_MS else []
    if answered.worst > ROLLBACK_LIMIT_MS:
        broken.append(f"a rollback took {answered.worst:.0f} ms, more than {ROLLBACK_LIMIT_MS:g}")
    return (
        "\n".join(
            [
                "<!-- Written by `python -m benchmarks.lifecycle`: do not edit. -->",
                "",
                "# Predictions, rollbacks and trainings",
                "",
                f"{os.cpu_count()} processors, Python {platform.python_version()}, the bundled sample.",
                f"{PREDICTIONS:,} predictions of random symbols at random times of the test fold, each with its",
                "features read point in time and who serves read from the database; "
                f"{DRILLS} rollbacks, each with the next prediction.",
                "",
                "| milliseconds | p50 | p99 | worst |",
                "| --- | --- | --- | --- |",
                *predicted,
                f"| rollback, until it holds | {rolled_back} |",
                f"| rollback, until the version of before has answered | {answered} |",
                f"| a promotion, its evidence gathered and its approval checked again | {promotion * 1000:.0f} | | |",
                "",
                "| training, seconds | rows of the train fold | the fit | with scores and walk-forward |",
                "| --- | --- | --- | --- |",
                *trained,
                "",
                f"The fit of {MODEL} takes {ratio:.2f} times what LightGBM alone takes on the same numbers.",
                "",
            ]
        ),
        broken,
    )


def main() -> int:
    """Measure, print and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="a home made by `mlops up`, in which nobody serves yet")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = options.home or Path(scratch)
        if options.home is None:
            environment = {**os.environ, "MLOPS_HOME": str(home), "MLOPS_ENVIRONMENT": "current"}
            subprocess.run([sys.executable, "-m", "mlops_assets", "up", "--no-serve"], env=environment, check=True)
        page, broken = measure(home)
    print(page)
    TARGET.write_text(page, encoding="utf-8")
    for one in broken:
        print(f"beyond its limit: {one}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
