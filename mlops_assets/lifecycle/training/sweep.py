"""Which parameters a model would do better with: a seeded search by Optuna that sees the train and valid folds alone.

A sweep is the same each time: its suggestions depend on its study, which is the declaration, the training set, the
search and the seed. Each trial draws from its own seed, so a sweep that was killed goes on as if nothing had happened.
Nothing is adopted by itself: somebody writes better values into the declaration.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pyarrow as pa
from pydantic import TypeAdapter

from mlops_assets.features.spec import Fold
from mlops_assets.kernel.errors import PlatformError
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.lifecycle.kinds.known import kind_of
from mlops_assets.lifecycle.plans import Range, Search
from mlops_assets.lifecycle.spec import ModelSpec, fields_of
from mlops_assets.lifecycle.tracking.tracking import FAILURE_TAG, RunKey, Tracking
from mlops_assets.lifecycle.training.folds import fold_rows
from mlops_assets.lifecycle.training.trials import Trial, TrialLedger, TrialState, Values, best_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

    from mlops_assets.lifecycle.tracking.tracked_run import TrackedRun
    from mlops_assets.storage.parquet.snapshots import Snapshot

Objective = Callable[[Values], float]
"""Returns the loss of parameters."""

_EXPECTED = (PlatformError, ValueError, ArithmeticError)
"""What parameters that do not work raise; the sweep goes on after them."""


class NothingToSearch(PlatformError):
    """A model has no `search` block."""

    code: ClassVar[str] = "nothing_to_search"


class SweepFailed(PlatformError):
    """No trial of a sweep gave a value."""

    code: ClassVar[str] = "sweep_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What is searched, over which training set."""

    spec: ModelSpec
    search: Search
    training_set: Snapshot

    @property
    def dataset(self) -> str:
        return f"sweeps/{self.spec.name}"

    @property
    def study(self) -> str:
        """Identity of the sweep. How many trials it has is no part of it: more trials continue it."""
        return fingerprint(
            {
                "declaration": self.spec.fingerprint,
                "training_set": self.training_set.fingerprint,
                "space": {name: asdict(one) for name, one in sorted(self.search.space.items())},
                "seed": self.spec.seed,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """What a sweep found: all trials of its study, the best of them, and its MLflow run."""

    study: str
    trials: Sequence[Trial]
    best: Trial
    run_id: str


def sweep_of(spec: ModelSpec, training_set: Snapshot) -> Sweep:
    """Return the declared sweep of a model over a training set.

    Raises:
        NothingToSearch: if the declaration has no `search`.
    """
    if spec.search is None:
        raise NothingToSearch(
            f"{spec.declared_in}: field 'search': {spec.name} declares nothing to search. Add a block like "
            f"`search: {{trials: 20, space: {{NAME: {{low: 0.01, high: 0.1, log: true}}}}}}`, where NAME is one of "
            f"{', '.join(fields_of(spec.learner.params))}."
        )
    return Sweep(spec=spec, search=spec.search, training_set=training_set)


def valid_loss(table: pa.Table, spec: ModelSpec) -> Objective:
    """Return the loss on the valid fold of a fit to the train fold. The test fold is never looked at.

    Raises:
        EmptyFold: if a fold has no complete rows.
    """
    kind = kind_of(spec.kind)
    train, valid = (fold_rows(table, spec.features, fold) for fold in (Fold.TRAIN, Fold.VALID))

    def loss(parameters: Values) -> float:
        tried = with_parameters(spec, parameters)
        fitted = kind.fit(train, valid, tried)
        found = kind.scores(valid, kind.predict(valid, fitted.content, tried), tried)[kind.loss_name]
        return math.nan if found is None else found

    return loss


def with_parameters(spec: ModelSpec, parameters: Values) -> ModelSpec:
    """Return the model as it would be with other values of `learner.params`.

    Raises:
        ValidationError: if a declaration may not have such a value.
    """
    params = spec.learner.params
    changed = TypeAdapter(type(params)).validate_python({**asdict(params), **parameters})
    return replace(spec, learner=cast("Any", replace)(spec.learner, params=changed))


def run_sweep(
    sweep: Sweep,
    objective: Objective,
    *,
    ledger: TrialLedger,
    tracking: Tracking,
    by: str,
    trials: int | None = None,
    tags: Mapping[str, str] | None = None,
    on_trial: Callable[[Trial], None] = lambda _: None,
) -> SweepResult:
    """Try parameters until the study has as many trials as declared, or as asked for; finished ones are not repeated.

    Args:
        tags: of every MLflow run; each trial's is nested in the sweep's.
        on_trial: is told every trial, those that were finished before too.

    Raises:
        SweepFailed: if no trial gave a value.
        Conflict: if another process runs the same sweep.
    """
    wanted, shared = trials or sweep.search.trials, tags or {}
    with tracking.run(_key(sweep), experiment=sweep.dataset, tags=shared) as run:
        run.log_training_set(sweep.training_set)
        done = ledger.of_study(sweep.study)
        _close_last(sweep, done, tracking, parent=run, tags=shared)
        study = _study_of(done, sweep.search)
        for one in done:
            on_trial(one)
        for number in range(len(done), wanted):
            tried = _one_trial(sweep, study, number, objective, ledger, tracking, parent=run, tags=shared, by=by)
            done.append(tried)
            on_trial(tried)
        best = best_of(done)
        ledger.finish(study=sweep.study, model=sweep.spec.name, best=best, by=by)
        _summarise(run, sweep, done, best)
        if best is None:
            raise SweepFailed(
                f"None of the {len(done)} trials of {sweep.dataset} gave a value. `mlops models trials "
                f"{sweep.spec.name}` lists them; narrow search.space in {sweep.spec.declared_in}."
            )
        return SweepResult(study=sweep.study, trials=tuple(done), best=best, run_id=run.id)


def _one_trial(
    sweep: Sweep,
    study: Study,
    number: int,
    objective: Objective,
    ledger: TrialLedger,
    tracking: Tracking,
    *,
    parent: TrackedRun,
    tags: Mapping[str, str],
    by: str,
) -> Trial:
    """Ask for parameters, try them and keep what came of it. An error that nobody expects ends the sweep afterwards."""
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState as OptunaState

    study.sampler = TPESampler(seed=_seed(sweep.study, number))
    asked = study.ask(_distributions(sweep.search))
    parameters: Values = asked.params

    def keep(value: float | None) -> Trial:
        return ledger.record(
            study=sweep.study,
            number=number,
            model=sweep.spec.name,
            parameters=parameters,
            value=value,
            training_set_fingerprint=sweep.training_set.fingerprint,
            run_id=run.id,
            by=by,
        )

    with _trial_run(sweep, tracking, number, parent=parent, tags=tags) as run:
        try:
            value, failure = objective(parameters), "no finite value"
        except _EXPECTED as error:
            value, failure = math.nan, f"{type(error).__name__}: {error}"
        except Exception:
            keep(None)
            raise
        tried = keep(value if math.isfinite(value) else None)
        _log_trial(run, tried)
        if tried.value is None:
            run.log_tags({FAILURE_TAG: failure})
    if tried.value is None:
        study.tell(asked, state=OptunaState.FAIL)
    else:
        study.tell(asked, tried.value)
    return tried


def _trial_run(
    sweep: Sweep, tracking: Tracking, number: int, *, parent: TrackedRun, tags: Mapping[str, str]
) -> AbstractContextManager[TrackedRun]:
    key, title = _key(sweep, f"trial-{number}"), f"{sweep.dataset} trial {number}"
    return tracking.run(key, experiment=sweep.dataset, tags=tags, parent=parent.id, name=title)


def _log_trial(run: TrackedRun, tried: Trial) -> None:
    run.log_parameters(tried.parameters)
    run.log_metrics({"valid/loss": tried.value})
    run.is_failed = tried.value is None


def _close_last(
    sweep: Sweep, done: Sequence[Trial], tracking: Tracking, *, parent: TrackedRun, tags: Mapping[str, str]
) -> None:
    """Finish the MLflow run of the last trial if the process was killed after it had kept the trial."""
    if done and parent.client.get_run(done[-1].run_id).info.end_time is None:
        with _trial_run(sweep, tracking, done[-1].number, parent=parent, tags=tags) as run:
            _log_trial(run, done[-1])


def _study_of(done: Sequence[Trial], search: Search) -> Study:
    """Return Optuna's study with the finished trials in it, in memory: what lasts is in our ledger."""
    import optuna
    from optuna.trial import TrialState as OptunaState
    from optuna.trial import create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.RandomSampler(seed=0))
    for one in done:
        state = OptunaState.COMPLETE if one.state is TrialState.COMPLETE else OptunaState.FAIL
        study.add_trial(
            create_trial(
                state=state, value=one.value, params=dict(one.parameters), distributions=_distributions(search)
            )
        )
    return study


def _distributions(search: Search) -> dict[str, BaseDistribution]:
    return {name: _distribution(one) for name, one in sorted(search.space.items())}


def _distribution(one: Range) -> BaseDistribution:
    from optuna.distributions import FloatDistribution, IntDistribution

    if isinstance(one.low, int) and isinstance(one.high, int):
        return IntDistribution(one.low, one.high, log=one.log)
    return FloatDistribution(one.low, one.high, log=one.log)


def _seed(study: str, number: int) -> int:
    """Return the seed of one trial. One seed for all would have to be wound forward after a kill."""
    return int(fingerprint({"study": study, "trial": number})[:8], 16)


def _key(sweep: Sweep, partition: str = "") -> RunKey:
    return RunKey(asset=sweep.dataset, root_run_id=sweep.study, partition=partition)


def _summarise(run: TrackedRun, sweep: Sweep, done: Sequence[Trial], best: Trial | None) -> None:
    run.log_tags({"mlops.study": sweep.study, "mlops.trials": str(len(done))})
    for one in done:
        run.log_metrics({"valid/loss": one.value}, step=one.number)
    if best is not None:
        run.log_metrics({"best/loss": best.value, "best/trial": float(best.number)})
        run.log_tags({f"best/{name}": str(value) for name, value in best.parameters.items()})
