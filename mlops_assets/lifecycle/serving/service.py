"""What does the model that serves say of this symbol? The one door to predictions, for REST, command line and drills.

Who answers is read from the log of moves for every prediction, so a rollback takes effect at the next one. Features are
read as known at the asked time, by the rule of training sets, and scored as the version was trained.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, get_args

import polars as pl

from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import NotFound, UnknownReference, near_misses
from mlops_assets.kernel.identity import Principal
from mlops_assets.lifecycle.deployment.serving_moves import Mode, Move, Serving, Slot
from mlops_assets.lifecycle.operations.slices import who_answers
from mlops_assets.lifecycle.plans import Environment
from mlops_assets.lifecycle.serving.answer import (
    Answer,
    AsOfInFuture,
    FeatureValue,
    NoChampion,
    Prediction,
    Role,
    Value,
    WrongQuestion,
)
from mlops_assets.lifecycle.serving.loaded_models import LoadedModel, LoadedModels
from mlops_assets.lifecycle.serving.request_recorder import RequestRecorder
from mlops_assets.lifecycle.serving.served_features import Served, ServedFeatures
from mlops_assets.lifecycle.spec import ModelSpec

PREDICT = "model.predict"
CHAMPIONS_KEPT_WARM = 2
"""How many champions of before are loaded ahead: the last one may have been rolled back itself."""

MOST_SHADOWS_WAITING = 100
"""Requests that a shadow has yet to answer; beyond them it is not asked, so that it can't fill the memory."""

_POLICY = "policy"
_MS = 1_000.0


class ServingLog(Protocol):
    """Who serves, and every move that led there."""

    def now(self, model: str, environment: str) -> Serving: ...

    def heads(self) -> list[Serving]: ...

    def history(self, model: str, environment: str) -> list[Move]: ...


class Access(Protocol):
    """Who may do what."""

    def require(self, principal: Principal, action: str) -> Principal: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    symbol: str
    as_of: datetime
    held_weight: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    slot: Slot
    role: Role
    share: float


class PredictionService:
    """Answers by the champion, by a canary for its slice, and asks a shadow without waiting for it."""

    def __init__(
        self,
        serving: ServingLog,
        loaded: LoadedModels,
        features: ServedFeatures,
        recorder: RequestRecorder,
        access: Access,
        clock: Clock,
        declared: Mapping[str, ModelSpec],
        *,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Keep the parts; `declared` says where a model serves if the question does not."""
        self._serving, self._loaded, self._features, self._recorder = serving, loaded, features, recorder
        self._access, self._clock, self._declared, self._timer = access, clock, declared, timer
        self._beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="serving")
        self._may_wait = threading.BoundedSemaphore(MOST_SHADOWS_WAITING)
        self._warmed: dict[tuple[str, str], int] = {}

    def predict(
        self,
        model: str,
        symbol: str,
        *,
        as_of: datetime | None = None,
        environment: str | None = None,
        held_weight: float | None = None,
        by: Principal,
    ) -> Prediction:
        """Return what the serving version says of a symbol as of a time; by default now, where the model is declared.

        Args:
            held_weight: for a policy, the weight of the symbol that is held; by default none.

        Raises:
            Forbidden: if `by` may not ask.
            NotFound: if no such model is declared; UnknownReference if there is no such environment.
            NoAnswer: saying why nothing can be said: nobody serves, a feature view is served in another version than
                the model learned from, features are missing or stale.
            UnknownSymbol, AsOfInFuture, AsOfBeforeFirst, WrongQuestion: if the question is wrong.
            IntegrityViolation: if the version's artifact is not what was registered.
        """
        self._access.require(by, PREDICT)
        began = self._timer()
        serving = self._serving.now(model, self._environment(model, environment))
        if serving.champion is None:
            raise NoChampion(model=model, environment=serving.environment)
        question = self._question(symbol, as_of, held_weight)
        shared = self._timer() - began
        timed = [self._timed_answer(model, one, question) for one in _asked(serving, symbol)]
        seconds = self._timer() - began
        for one, own in timed:
            self._recorder.answered(one.deployment_id, shared + own)
        self._ask_shadow(serving, question)
        self._warm_once(serving)
        return Prediction(
            model=model,
            environment=serving.environment,
            epoch=serving.epoch,
            symbol=symbol,
            as_of=question.as_of,
            answers=tuple(one for one, _ in timed),
            latency_ms=seconds * _MS,
        )

    def warm(self, model: str, environment: str | None = None) -> None:
        """Make ready whoever may have to answer next: champion, challenger and the champions of before.

        Each is loaded and asked a made-up row, so that no question waits for imports and parsing. Who fails at it is
        passed over: a real question finds it out, and there it is counted.

        Raises:
            NotFound: if no such model is declared; UnknownReference if there is no such environment.
        """
        serving = self._serving.now(model, self._environment(model, environment))
        wait(self._begin_to_warm(serving))

    def warm_all(self) -> None:
        """Begin to make ready whoever serves anywhere, beside the answers: nobody waits for it, or fails by it."""
        self._beside.submit(lambda: [self._warm_once(one) for one in self._serving.heads()])

    def flush(self) -> None:
        """Write what was counted so far."""
        self._recorder.flush()

    def close(self) -> None:
        """Wait for what runs beside the answers, and write what was counted."""
        self._beside.shutdown(wait=True)
        self._recorder.close()

    def _environment(self, model: str, environment: str | None) -> str:
        if environment is not None and environment not in (known := get_args(Environment)):
            raise UnknownReference(kind="environment", name=environment, known=known, asked_by="predict")
        if model not in self._declared:
            near = near_misses(model, self._declared)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"Declared: {', '.join(sorted(self._declared))}."
            raise NotFound(kind="model", name=model, remedy=hint)
        return environment or self._declared[model].deployment.environment

    def _question(self, symbol: str, as_of: datetime | None, held_weight: float | None) -> _Question:
        now = self._clock.now()
        at = now if as_of is None else _in_utc(as_of)
        if at > now:
            raise AsOfInFuture(as_of=at, now=now)
        if held_weight is not None and not 0 <= held_weight <= 1:
            raise WrongQuestion(f"held_weight: {held_weight} is no share of the equity; give 0 to 1.")
        return _Question(symbol=symbol, as_of=at, held_weight=held_weight)

    def _timed_answer(self, model: str, asked: _Asked, question: _Question) -> tuple[Answer, float]:
        """Let one version answer, and say how many seconds it took: a slow canary makes no champion slow."""
        began = self._timer()
        return self._answer(model, asked, question), self._timer() - began

    def _answer(self, model: str, asked: _Asked, question: _Question) -> Answer:
        """Let one version answer. What fails is counted, as an error where the version itself is at fault.

        Features that are missing, old or served in another version are no error of it: a rollback would not mend them.
        """
        deployment_id = asked.slot.deployment_id
        try:
            loaded = self._loaded.get(model, asked.slot.version)
        except Exception:
            self._recorder.failed(deployment_id)
            raise
        try:
            _check_held_weight(loaded, question)
            found = self._features.read(loaded, question.symbol, question.as_of)
        except Exception:
            self._recorder.refused(deployment_id)
            raise
        try:
            said = loaded.score(_row(loaded, found.features, question)).row(0, named=True)
        except Exception:
            self._recorder.failed(deployment_id)
            raise
        return _answer_of(loaded, asked, said, found)

    def _ask_shadow(self, serving: Serving, question: _Question) -> None:
        """Let a shadow answer too, after the answer and beside it: what it says or fails at is its own health alone."""
        shadow = serving.challenger
        if shadow is None or serving.mode is not Mode.SHADOW or not self._may_wait.acquire(blocking=False):
            return

        def ask() -> None:
            try:
                asked = _Asked(slot=shadow, role="challenger", share=0.0)
                _, seconds = self._timed_answer(serving.model, asked, question)
                self._recorder.answered(shadow.deployment_id, seconds)
            finally:
                self._may_wait.release()

        self._beside.submit(ask)

    def _warm_once(self, serving: Serving) -> None:
        """Warm after each move, beside the answers."""
        where = (serving.model, serving.environment)
        if self._warmed.get(where) != serving.epoch:
            self._warmed[where] = serving.epoch
            self._beside.submit(self._begin_to_warm, serving)

    def _begin_to_warm(self, serving: Serving) -> list[Future[None]]:
        """Make each version ready apart: one that can't be loaded keeps none of the others from being ready."""
        self._warmed[serving.model, serving.environment] = serving.epoch
        log = self._serving.history(serving.model, serving.environment)
        return [self._beside.submit(self._rehearse, serving.model, one) for one in _may_answer_next(serving, log)]

    def _rehearse(self, model: str, version: int) -> None:
        loaded, now = self._loaded.get(model, version), self._clock.now()
        features = tuple(
            FeatureValue(view=one.view, column=one.column, value=0.0, event_at=now, known_at=now)
            for one in loaded.spec.training_set.features
        )
        loaded.score(_row(loaded, features, _Question(symbol="", as_of=now, held_weight=None)))


def _asked(serving: Serving, symbol: str) -> list[_Asked]:
    """Return who answers for the symbol with what share, the largest first."""
    answering = who_answers(serving, symbol)
    found: list[_Asked] = []
    if serving.champion is not None and answering.champion_share > 0:
        found.append(_Asked(slot=serving.champion, role="champion", share=answering.champion_share))
    if serving.challenger is not None and answering.challenger_share > 0:
        found.append(_Asked(slot=serving.challenger, role="challenger", share=answering.challenger_share))
    return sorted(found, key=lambda one: -one.share)


def _may_answer_next(serving: Serving, log: Sequence[Move]) -> list[int]:
    running = [slot.version for slot in (serving.champion, serving.challenger) if slot is not None]
    before = [one.after.champion.version for one in reversed(log) if one.after.champion is not None]
    others = [version for version in dict.fromkeys(before) if version not in running]
    return [*running, *others[:CHAMPIONS_KEPT_WARM]]


def _check_held_weight(loaded: LoadedModel, question: _Question) -> None:
    if question.held_weight is not None and loaded.spec.kind != _POLICY:
        raise WrongQuestion(
            f"held_weight: {loaded.spec.name} is a {loaded.spec.kind}, and a policy alone asks what is held. Omit it."
        )


def _row(loaded: LoadedModel, features: tuple[FeatureValue, ...], question: _Question) -> pl.DataFrame:
    """Return the one row that is scored, with the columns of a training set's row that are known by then."""
    event_at = max(one.event_at for one in features)
    state = {"held_weight": [question.held_weight or 0.0]} if loaded.spec.kind == _POLICY else {}
    return pl.DataFrame(
        {
            "symbol": [question.symbol],
            "date": [event_at.date()],
            "event_at": [event_at],
            "known_at": [max(one.known_at for one in features)],
            **{one.column: [one.value] for one in features},
            **state,
        }
    )


def _answer_of(loaded: LoadedModel, asked: _Asked, said: Mapping[str, Value], found: Served) -> Answer:
    return Answer(
        role=asked.role,
        share=asked.share,
        deployment_id=asked.slot.deployment_id,
        version=asked.slot.version,
        kind=loaded.spec.kind,
        fingerprint=loaded.version.fingerprint,
        outputs={name: _told(value) for name, value in said.items()},
        features=found.features,
        views=found.views,
    )


def _in_utc(as_of: datetime) -> datetime:
    if as_of.tzinfo is None:
        raise WrongQuestion(f"as_of: {as_of.isoformat()} has no time zone; write it like {as_of.isoformat()}Z.")
    try:
        return as_of.astimezone(UTC)
    except OverflowError:
        raise WrongQuestion(f"as_of: {as_of.isoformat()} is no time that a market knew.") from None


def _told(value: Value) -> Value:
    """Return a value that JSON can carry: what is undefined is null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
