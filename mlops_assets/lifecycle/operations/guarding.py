"""What ends by itself: every deployment that runs is held against its limits, and one that passes them is ended.

A challenger that passes a limit is stopped. A champion that does is rolled back to the one before it; where there is
none it goes on serving, because nobody would answer otherwise, and people are told. What could not be measured ends
nothing and is named. The alert is raised first: a process that dies in between acts at its next look, and the alert of
the same cause is not told twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from mlops_assets.alerts.alert import Alert, Severity
from mlops_assets.alerts.service import Alerts
from mlops_assets.kernel.errors import Conflict
from mlops_assets.kernel.identity import Principal
from mlops_assets.lifecycle.deployment.deployments import Deployments
from mlops_assets.lifecycle.deployment.serving_moves import Serving, Slot
from mlops_assets.lifecycle.deployment.serving_store import ServingStore
from mlops_assets.lifecycle.operations.limit_watch import LimitWatch
from mlops_assets.lifecycle.operations.limits import Finding, NoLimits, breaches_in, not_measured


class Outcome(StrEnum):
    """What a look at a deployment led to."""

    NOT_ENDED = "not_ended"
    STOPPED = "stopped"
    ROLLED_BACK = "rolled_back"
    KEEPS_SERVING = "keeps_serving"
    SOMEBODY_WAS_FASTER = "somebody_was_faster"
    NO_LIMITS = "no_limits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """One deployment that runs, where it stands towards each limit, and what became of it."""

    model: str
    environment: str
    version: int
    deployment_id: str
    is_champion: bool
    findings: Sequence[Finding]
    outcome: Outcome

    def __str__(self) -> str:
        role = "champion" if self.is_champion else "challenger"
        broken, unseen = ", ".join(map(str, breaches_in(self.findings))), ", ".join(not_measured(self.findings))
        said = [self.outcome.replace("_", " "), broken, f"not measured: {unseen}" if unseen else ""]
        return f"{self.model}@{self.version} in {self.environment} ({role}): {'; '.join(filter(None, said))}"


class Guard:
    """Looks at everything that runs."""

    def __init__(self, serving: ServingStore, deployments: Deployments, watch: LimitWatch, alerts: Alerts) -> None:
        self._serving, self._deployments = serving, deployments
        self._watch, self._alerts = watch, alerts

    def guard_once(self, *, by: Principal) -> list[Guarded]:
        """Hold every deployment that runs against its limits, end what passes them, and return all that was seen.

        Two looks at once act once: ending names the move that was seen last.

        Raises:
            Forbidden: if `by` may not roll back.
        """
        seen: list[Guarded] = []
        for head in self._serving.heads():
            if head.challenger is not None:
                seen.append(self._look(head, head.challenger, by, is_champion=False))
            now = self._serving.now(head.model, head.environment)
            if now.champion is not None:
                seen.append(self._look(now, now.champion, by, is_champion=True))
        return seen

    def _look(self, head: Serving, slot: Slot, by: Principal, *, is_champion: bool) -> Guarded:
        try:
            found = self._watch.findings(head, self._deployments.get(slot.deployment_id))
        except NoLimits:
            found, outcome = [], Outcome.NO_LIMITS
        else:
            reason = "; ".join(f"limit passed: {one}" for one in breaches_in(found))
            outcome = self._end(head, slot, reason, by, is_champion=is_champion) if reason else Outcome.NOT_ENDED
        return Guarded(
            model=head.model,
            environment=head.environment,
            version=slot.version,
            deployment_id=slot.deployment_id,
            is_champion=is_champion,
            findings=found,
            outcome=outcome,
        )

    def _end(self, head: Serving, slot: Slot, reason: str, by: Principal, *, is_champion: bool) -> Outcome:
        self._alerts.raise_alert(_alert(head, slot, reason, is_champion=is_champion), by.name)
        try:
            take_back = self._deployments.rollback if is_champion else self._deployments.stop
            take_back(head.model, head.environment, by=by, reason=reason, epoch=head.epoch)
        except Conflict:
            if self._serving.now(head.model, head.environment).epoch != head.epoch:
                return Outcome.SOMEBODY_WAS_FASTER
            return Outcome.KEEPS_SERVING
        return Outcome.ROLLED_BACK if is_champion else Outcome.STOPPED


def _alert(head: Serving, slot: Slot, reason: str, *, is_champion: bool) -> Alert:
    follows = "is rolled back; if none served before it, it goes on serving" if is_champion else "is stopped"
    return Alert(
        key=f"limits:{slot.deployment_id}:{head.epoch}",
        kind="deployment_limits",
        severity=Severity.CRITICAL,
        subject=f"deployments/{head.model}@{slot.version}/{head.environment}",
        summary=f"{head.model} version {slot.version} in {head.environment} {follows}: {reason}",
        details={
            "deployment": slot.deployment_id,
            "epoch": head.epoch,
            "role": "champion" if is_champion else "challenger",
            "reason": reason,
        },
    )
