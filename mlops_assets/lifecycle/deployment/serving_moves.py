"""Who serves a model in an environment, and the moves that change it: each returns the whole state after it.

The moves are decided here and nowhere else. Keeping them is the store's work, asking who may is the desk's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any

from mlops_assets.kernel.errors import Conflict
from mlops_assets.kernel.fingerprint import Json, fingerprint
from mlops_assets.lifecycle.deployment.record import STEPS, Deployment
from mlops_assets.lifecycle.deployment.states import State


class Mode(StrEnum):
    """How a challenger runs beside the champion: unseen, or answering for a slice."""

    SHADOW = "shadow"
    CANARY = "canary"


class Action(StrEnum):
    """What a move did."""

    SHADOW = "shadow"
    CANARY = "canary"
    CHAMPION = "champion"
    STOP = "stop"
    ROLL_BACK = "roll_back"
    RETIRE = "retire"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A deployment that runs, and the version of the model that it is of."""

    deployment_id: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Who serves. `epoch` counts the moves; 0 is before the first. `slice` is what a canary answers for."""

    model: str
    environment: str
    epoch: int = 0
    champion: Slot | None = None
    challenger: Slot | None = None
    mode: Mode | None = None
    slice: Mapping[str, Any] | None = None

    @property
    def words(self) -> str:
        champion = "nobody serves" if self.champion is None else f"version {self.champion.version} serves"
        if self.challenger is None:
            return champion
        return f"{champion}, version {self.challenger.version} runs as {self.mode}"

    def as_json(self) -> dict[str, Json]:
        """Return it for copies in other systems."""
        return {
            "model_name": self.model,
            "environment": self.environment,
            "epoch": self.epoch,
            "champion": _slot(self.champion),
            "challenger": _slot(self.challenger),
            "mode": None if self.mode is None else self.mode.value,
            "slice": None if self.slice is None else dict(self.slice),
        }

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.as_json())


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One entry of the log: what was done to which deployment, and who serves since then."""

    action: Action
    deployment_id: str
    after: Serving
    at: datetime
    actor: str
    reason: str
    ledger_seq: int

    def runs(self, deployment_id: str) -> bool:
        """Tell whether a deployment runs since this move, as champion or as challenger."""
        challenger = self.after.challenger
        is_beside = challenger is not None and challenger.deployment_id == deployment_id
        return is_beside or self.has_champion(deployment_id)

    def has_champion(self, deployment_id: str) -> bool:
        """Tell whether a deployment serves since this move."""
        return self.after.champion is not None and self.after.champion.deployment_id == deployment_id


def promote(now: Serving, candidate: Deployment, *, to: State) -> Serving:
    """Let an approved version run as shadow or canary beside the champion, or in its place.

    Raises:
        Conflict: if another challenger runs, a planned step is missing, or there is nobody to run beside.
    """
    own = Slot(deployment_id=candidate.id, version=candidate.model_version)
    if now.challenger is not None and now.challenger != own:
        raise Conflict(
            f"{now.model} in {now.environment}: version {now.challenger.version} runs as {now.mode}. One challenger at "
            f"a time: promote it, or stop it with `mlops deployments stop {now.model}`."
        )
    if to in STEPS:
        if now.champion is None:
            raise Conflict(
                f"{now.model} in {now.environment}: nobody serves, so there is nothing to compare a {to} with. "
                "Promote it to champion."
            )
        _require_steps(candidate, to)
        part = candidate.slice if to is State.CANARY else None
        return replace(_next(now), challenger=own, mode=Mode(to), slice=part)
    if to is not State.CHAMPION:
        raise Conflict(f"a version is promoted to shadow, canary or champion, not to {to}.")
    if now.champion is not None:
        _require_steps(candidate, to)
    return replace(_next(now), champion=own, challenger=None, mode=None, slice=None)


def stop(now: Serving) -> Serving:
    """End the challenger; the champion serves alone.

    Raises:
        Conflict: if there is no challenger.
    """
    if now.challenger is None:
        raise Conflict(f"{now.model} in {now.environment}: no challenger runs, so there is none to stop.")
    return replace(_next(now), challenger=None, mode=None, slice=None)


def roll_back(now: Serving, log: Sequence[Move], *, restorable: Sequence[str]) -> Serving:
    """Let the champion of before serve again; a challenger goes on beside it.

    Args:
        log: every move, oldest first.
        restorable: deployments that served and were superseded: neither rolled back nor retired.

    A version that was rolled back or retired is passed over in its earlier deployments too, unless it served again
    since: what failed as version 2 does not come back as version 2.

    Raises:
        Conflict: if nobody serves, or there is nobody to go back to.
    """
    champion = _champion(now)
    ended = {champion.version}
    for before, move in reversed(list(pairwise(log))):
        earlier = before.after.champion
        if earlier is None:
            continue
        if move.action in (Action.ROLL_BACK, Action.RETIRE):
            ended.add(earlier.version)
        elif earlier.version not in ended and earlier.deployment_id in restorable:
            return replace(_next(now), champion=earlier)
    raise Conflict(
        f"{now.model} in {now.environment}: no version served before version {champion.version} that was not itself "
        f"rolled back or retired. To end it with nothing in its place: `mlops deployments retire {now.model}`."
    )


def retire(now: Serving) -> Serving:
    """End the champion with nothing in its place, and the challenger that was compared with it.

    Raises:
        Conflict: if nobody serves.
    """
    _champion(now)
    return replace(_next(now), champion=None, challenger=None, mode=None, slice=None)


def _require_steps(candidate: Deployment, to: State) -> None:
    order = (State.APPROVED, *STEPS, State.CHAMPION)
    if candidate.state not in order:
        return  # the table of states says what is wrong with it
    between = order[order.index(candidate.state) + 1 : order.index(to)]
    missing = [one for one in between if candidate.planned_sessions(one) > 0]
    if missing:
        said = ", then ".join(f"{one} for {candidate.planned_sessions(one)} sessions" for one in missing)
        raise Conflict(f"{candidate.subject}: its plan asks for {said} before {to}. Promote it to {missing[0]} first.")


def _champion(now: Serving) -> Slot:
    if now.champion is None:
        raise Conflict(f"{now.model} in {now.environment}: nobody serves. Promote an approved version to champion.")
    return now.champion


def _next(now: Serving) -> Serving:
    return replace(now, epoch=now.epoch + 1)


def _slot(slot: Slot | None) -> dict[str, Json] | None:
    return None if slot is None else {"deployment_id": slot.deployment_id, "version": slot.version}
