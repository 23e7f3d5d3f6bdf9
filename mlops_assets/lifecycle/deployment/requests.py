"""How a version asks to be deployed, and how its request follows what is decided on its approval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import sqlalchemy as sa

from mlops_assets.governance import transitions as approval
from mlops_assets.governance.spec import Approval
from mlops_assets.governance.store import ApprovalStore
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import Conflict
from mlops_assets.kernel.identity import Principal
from mlops_assets.lifecycle.deployment import rows, serving_moves
from mlops_assets.lifecycle.deployment.approval_evidence import approval_evidence
from mlops_assets.lifecycle.deployment.checklist import ChecklistIncomplete
from mlops_assets.lifecycle.deployment.evidence import Gathered
from mlops_assets.lifecycle.deployment.journal import DeploymentJournal
from mlops_assets.lifecycle.deployment.record import STEPS, Deployment, identity
from mlops_assets.lifecycle.deployment.serving_moves import Action
from mlops_assets.lifecycle.deployment.serving_store import head
from mlops_assets.lifecycle.deployment.states import RUNNING, WAITING, State, Verb
from mlops_assets.storage.sql.tables import deployment

FOLLOWING = frozenset({State.IN_REVIEW, State.APPROVED, *STEPS})
"""States that end when the approval does. A champion goes on serving: ending it is a decision of its own."""

_ENDED_BY_PEOPLE = frozenset({State.ROLLED_BACK, State.RETIRED, State.REJECTED})
_FOLLOWS: Mapping[approval.State, tuple[Verb, State]] = {
    approval.State.APPROVED: (Verb.APPROVE, State.APPROVED),
    approval.State.REJECTED: (Verb.REJECT, State.REJECTED),
    approval.State.EXPIRED: (Verb.EXPIRE, State.EXPIRED),
    approval.State.REVOKED: (Verb.REOPEN, State.REGISTERED),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """A deployment, and the approval that it waits for or has; None while its checklist is incomplete."""

    deployment: Deployment
    approval: Approval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """The part of a deployment's life before it runs, each step in the caller's transaction."""

    approvals: ApprovalStore
    journal: DeploymentJournal
    clock: Clock

    def request(
        self, connection: sa.Connection, asked: Gathered, *, by: Principal, must_be_complete: bool
    ) -> Requested:
        """Ask to deploy a version, or say what became of its last request. See `Deployments.request`."""
        known = _of_version(connection, asked)
        newest = self.followed(connection, known[-1], by) if known else None
        if newest is not None and newest.state in RUNNING:
            return self._with_approval(connection, newest)
        if newest is not None and newest.state in _ENDED_BY_PEOPLE:
            if not must_be_complete:
                return self._with_approval(connection, newest)
            self._refuse_the_rejected(newest, asked)
        is_waiting = newest is not None and newest.state in WAITING
        current = newest if is_waiting and newest is not None else self._new(asked, round_number=len(known) + 1, by=by)
        before = current if is_waiting else None
        if not asked.checklist.is_complete:
            if must_be_complete:
                raise ChecklistIncomplete(asked.checklist)
            return self._register(connection, before, current, asked, by)
        return self._submit(connection, before, current, asked, by)

    def followed(self, connection: sa.Connection, one: Deployment, by: Principal) -> Deployment:
        """Return a deployment after what was decided on its approval; a challenger that lost it stops at once."""
        step = self.due(connection, one)
        if step is None:
            return one
        verb, target, reason = step
        after = one.after(verb, target, at=self.clock.now())
        if verb is Verb.REOPEN:
            after = replace(after, evidence_fingerprint=None)
        self._leave(connection, one, after, verb, by=by, reason=reason)
        return after

    def due(self, connection: sa.Connection, one: Deployment) -> tuple[Verb, State, str] | None:
        """Say which move the approval asks for, and why."""
        if one.state not in FOLLOWING or one.evidence_fingerprint is None:
            return None
        found = self.approvals.newest_within(connection, one.subject, one.evidence_fingerprint)
        if found is None:
            return None
        state = approval.State.EXPIRED if self.approvals.is_over(found) else found.state
        if state not in _FOLLOWS or (state is approval.State.APPROVED and one.state is not State.IN_REVIEW):
            return None
        verb, target = _FOLLOWS[state]
        return verb, target, found.closed_reason or f"its approval is {state}"

    def reopen(self, connection: sa.Connection, one: Deployment, asked: Gathered, *, by: Principal, why: str) -> None:
        """Send a deployment back to its beginning because what was approved is not what is there now."""
        at = self.clock.now()
        after = replace(one.after(Verb.REOPEN, State.REGISTERED, at=at), evidence_fingerprint=None, **_judged_by(asked))
        self._leave(connection, one, after, Verb.REOPEN, by=by, reason=why)
        self.approvals.withdraw_within(connection, [one.subject], by=by, reason=why)

    def _leave(
        self, connection: sa.Connection, one: Deployment, after: Deployment, verb: Verb, *, by: Principal, reason: str
    ) -> None:
        """Write what became of a deployment that lost its approval; one that ran beside the champion stops."""
        action = f"deployment.{verb}"
        if one.state in STEPS:
            stopped = serving_moves.stop(head(connection, one.model, one.environment))
            self.journal.move(connection, Action.STOP, after, stopped, ledger_action=action, by=by, reason=reason)
        else:
            self.journal.change(connection, one, after, action=action, by=by, reason=reason)

    def _register(
        self, connection: sa.Connection, before: Deployment | None, current: Deployment, asked: Gathered, by: Principal
    ) -> Requested:
        """Remember what is there and what is missing; other requests that are complete stay as they are."""
        if before is not None and before.state is not State.REGISTERED:
            missing = ", ".join(item.name for item in asked.checklist.open_items)
            self.reopen(connection, before, asked, by=by, why=f"no longer shown: {missing}")
            return Requested(deployment=rows.get(connection, before.id), approval=None)
        after = replace(current, **_judged_by(asked))
        if before is None:
            self.journal.change(connection, None, after, action="deployment.request", by=by)
            self._supersede(connection, after, by, states=frozenset({State.REGISTERED}))
        elif after != before:
            after = replace(after, epoch=before.epoch + 1, updated_at=self.clock.now())
            self.journal.change(connection, before, after, action="deployment.gather", by=by)
        return Requested(deployment=after, approval=None)

    def _submit(
        self, connection: sa.Connection, before: Deployment | None, current: Deployment, asked: Gathered, by: Principal
    ) -> Requested:
        """Ask people; from now on no other request of the model for that environment waits."""
        evidence = approval_evidence(asked.checklist, self.approvals.rules.of(asked.tier), deployment_id=current.id)
        after = current
        if current.evidence_fingerprint != evidence.fingerprint or current.state not in FOLLOWING:
            steps = self._steps(before, replace(current, **_judged_by(asked)), evidence.fingerprint)
            after = steps[-1]
            details = {"model_version": asked.version.fingerprint}
            self.journal.change(connection, before, *steps, action="deployment.request", by=by, details=details)
            self._supersede(connection, after, by, states=WAITING)
        approved = self.approvals.request_within(
            connection,
            subject=after.subject,
            tier=asked.tier,
            evidence=evidence,
            authors={asked.version.created_by, *asked.makers},
            by=by,
        )
        return Requested(deployment=after, approval=approved)

    def _steps(self, before: Deployment | None, current: Deployment, bound: str) -> list[Deployment]:
        """Return a request on its way into review: what waited already begins anew."""
        at = self.clock.now()
        is_open = current.state is State.REGISTERED
        opened = current if is_open else current.after(Verb.REOPEN, State.REGISTERED, at=at)
        complete = replace(opened.after(Verb.COMPLETE, State.EVIDENCE_COMPLETE, at=at), evidence_fingerprint=bound)
        asking = complete.after(Verb.SUBMIT, State.IN_REVIEW, at=at)
        return [*([] if before is not None and is_open else [opened]), complete, asking]

    def _supersede(
        self, connection: sa.Connection, current: Deployment, by: Principal, *, states: frozenset[State]
    ) -> None:
        beside = rows.select(
            connection,
            deployment.c.model == current.model,
            deployment.c.environment == current.environment,
            deployment.c.state.in_(states),
            deployment.c.id != current.id,
        )
        why = f"superseded by deployment {current.id}"
        for older in beside:
            ended = older.after(Verb.SUPERSEDE, State.SUPERSEDED, at=self.clock.now())
            details = {"superseded_by": current.id}
            self.journal.change(
                connection, older, ended, action="deployment.supersede", by=by, reason=why, details=details
            )
        subjects = {one.subject for one in beside} - {current.subject}
        self.approvals.withdraw_within(connection, subjects, by=by, reason=why)

    def _new(self, asked: Gathered, *, round_number: int, by: Principal) -> Deployment:
        at = self.clock.now()
        version = asked.version
        return Deployment(
            id=_identity(asked, round_number),
            model=version.model,
            model_version=version.version,
            environment=asked.environment,
            tier=asked.tier,
            state=State.REGISTERED,
            evidence_fingerprint=None,
            checklist=[],
            plan=asked.plan,
            epoch=0,
            created_at=at,
            updated_at=at,
            created_by=by.name,
        )

    def _refuse_the_rejected(self, newest: Deployment, asked: Gathered) -> None:
        """Refuse to ask again for what was rejected, as long as nothing about it is new."""
        if newest.state is not State.REJECTED or not asked.checklist.is_complete:
            return
        rule = self.approvals.rules.of(asked.tier)
        if approval_evidence(asked.checklist, rule, deployment_id=newest.id).fingerprint == newest.evidence_fingerprint:
            raise Conflict(
                f"{newest.subject} was rejected with exactly this evidence. Ask again when something about it is new: "
                "another report, other limits, another attestation, another version."
            )

    def _with_approval(self, connection: sa.Connection, one: Deployment) -> Requested:
        bound = one.evidence_fingerprint
        found = None if bound is None else self.approvals.newest_within(connection, one.subject, bound)
        return Requested(deployment=one, approval=found)


def _of_version(connection: sa.Connection, asked: Gathered) -> list[Deployment]:
    """Return every request to deploy that version to that environment, by round: two may be of the same instant."""
    found = rows.select(
        connection,
        deployment.c.model == asked.version.model,
        deployment.c.model_version == asked.version.version,
        deployment.c.environment == asked.environment,
    )
    rounds = {_identity(asked, number): number for number in range(1, len(found) + 1)}
    return sorted(found, key=lambda one: rounds.get(one.id, 0))


def _identity(asked: Gathered, round_number: int) -> str:
    return identity(
        version_fingerprint=asked.version.fingerprint, environment=asked.environment, round_number=round_number
    )


def _judged_by(asked: Gathered) -> dict[str, object]:
    return {
        "checklist": [item.as_json() for item in asked.checklist.items],
        "plan": asked.plan,
        "tier": asked.tier,
    }
