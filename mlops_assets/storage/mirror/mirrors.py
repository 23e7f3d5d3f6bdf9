"""Bringing the mirrors up to date: each one apart from the others, as far as it takes documents now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import UnknownReference
from mlops_assets.storage.mirror.outbox import MirrorOutbox, Standing
from mlops_assets.storage.mirror.target import MirrorTarget, MirrorUnavailable

LONGEST_CALL = timedelta(minutes=2)
"""As long as a claim; somebody who delivers by hand waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one call did for one mirror; `problem` says why it takes nothing for now."""

    target: str
    delivered: int
    refused: int
    problem: str = ""


class Mirrors:
    """The mirrors that the settings switch on."""

    def __init__(self, outbox: MirrorOutbox, targets: Sequence[MirrorTarget], clock: Clock) -> None:
        self._outbox, self._clock = outbox, clock
        self._targets = {target.name: target for target in targets}

    @property
    def names(self) -> list[str]:
        return [*self._targets]

    def chosen(self, name: str | None, *, asked_by: str) -> list[MirrorTarget]:
        """Return one mirror, or all of them.

        Raises:
            UnknownReference: if it is not switched on.
        """
        if name is None:
            return [*self._targets.values()]
        if name not in self._targets:
            raise UnknownReference(
                kind="mirror that is on", name=name, known=self.names, asked_by=asked_by, field="--target"
            )
        return [self._targets[name]]

    def deliver_due(self, *, within: timedelta) -> list[Turn]:
        """Deliver what is due, one mirror after the other, each `within` that time."""
        return [self._turn(target, within) for target in self._targets.values()]

    def deliver_now(self, target: MirrorTarget) -> Turn:
        """Deliver everything to one mirror, also what waits after a failure."""
        self._outbox.hurry(target.name)
        return self._turn(target, None)

    def standings(self) -> list[Standing]:
        """Tell how far each mirror is."""
        return [self._outbox.standing(one.name, kinds=one.kinds) for one in self._targets.values()]

    def _turn(self, target: MirrorTarget, within: timedelta | None) -> Turn:
        """Deliver until nothing is due. With a time, no call begins in its second half, and each ends with it."""
        began, delivered, refusals = self._clock.now(), 0, 0
        while within is None or self._clock.now() < began + within / 2:
            claims = self._outbox.claim(target.name, kinds=target.kinds, limit=target.at_once)
            if not claims:
                break
            documents = [one.document for one in claims]
            left = LONGEST_CALL if within is None else began + within - self._clock.now()
            try:
                refused = target.take(documents, within=left)
            except MirrorUnavailable as failure:
                self._outbox.conclude(claims, {one.key: str(failure) for one in documents})
                return Turn(target=target.name, delivered=delivered, refused=refusals, problem=str(failure))
            self._outbox.conclude(claims, refused)
            delivered, refusals = delivered + len(claims) - len(refused), refusals + len(refused)
        return Turn(target=target.name, delivered=delivered, refused=refusals)
