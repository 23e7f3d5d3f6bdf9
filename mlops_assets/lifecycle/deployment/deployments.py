"""How versions come to serve: asked for with evidence, approved by people, promoted, rolled back and retired.

Every verb is one transaction: the move in the serving log, the states of the deployments it concerns, the ledger entry
and the copies for the mirrors stand together or not at all. Who serves is said by the log alone; that MLflow's alias
follows is tried after the commit, and made good by the reconciler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import sqlalchemy as sa

from mlops_assets.governance.approvals import plain_words
from mlops_assets.governance.evidence import Evidence, Part, PartKind
from mlops_assets.governance.rules import ROLLBACK_REVIEW
from mlops_assets.governance.spec import Approval
from mlops_assets.governance.store import ApprovalStore
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import Conflict, Forbidden, IntegrityViolation, PlatformError
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.kernel.identity import Principal
from mlops_assets.lifecycle.deployment import rows, serving_moves
from mlops_assets.lifecycle.deployment.approval_evidence import approval_evidence
from mlops_assets.lifecycle.deployment.evidence import Gathered
from mlops_assets.lifecycle.deployment.journal import DeploymentJournal, Outbox
from mlops_assets.lifecycle.deployment.reading import DeploymentReader
from mlops_assets.lifecycle.deployment.record import STEPS, Deployment
from mlops_assets.lifecycle.deployment.requests import FOLLOWING, Requested, Requests
from mlops_assets.lifecycle.deployment.serving_moves import Action, Mode, Move, Serving
from mlops_assets.lifecycle.deployment.serving_store import head, moves
from mlops_assets.lifecycle.deployment.states import State, Verb
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.storage.failpoints import failpoint
from mlops_assets.storage.journal import Journal
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import deployment, model_version

REQUEST, PROMOTE, ROLL_BACK, RETIRE = (f"deployment.{verb}" for verb in ("request", "promote", "rollback", "retire"))
_PROMOTABLE = frozenset({State.APPROVED, *STEPS})


class Access(Protocol):
    """Which roles may do what."""

    def require(self, principal: Principal, action: str) -> Principal: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What deployments ask of the rest of the platform.

    Args:
        gather: judges a version for an environment anew.
        sessions_since: how many sessions of the exchange closed since an instant.
        breaches: which limits a running deployment passes now, in words.
        project: lets MLflow's alias follow who serves; its failure leaves the move standing.
    """

    gather: Callable[[str, int, str], Gathered]
    sessions_since: Callable[[datetime], int]
    breaches: Callable[[Deployment], Sequence[str]] = lambda _: ()
    project: Callable[[Serving], object] = lambda _: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What a verb did: the deployment it was about, who serves now, and the review that it opened.

    `unprojected` says why MLflow's alias does not follow yet.
    """

    deployment: Deployment
    serving: Serving
    review: Approval | None = None
    unprojected: str | None = None


class Deployments(DeploymentReader):
    """Keeps deployments in SQL and moves them. Reading who serves is the work of `ServingStore`."""

    def __init__(
        self,
        database: Database,
        journal: Journal,
        approvals: ApprovalStore,
        clock: Clock,
        *,
        access: Access,
        around: Surroundings,
        outbox: Outbox | None = None,
    ) -> None:
        super().__init__(database)
        self._approvals, self._clock = approvals, clock
        self._access, self._around = access, around
        self._journal = DeploymentJournal(journal=journal, clock=clock, outbox=outbox)
        self._requests = Requests(approvals=approvals, journal=self._journal, clock=clock)

    def request(self, asked: Gathered, *, by: Principal, must_be_complete: bool = False) -> Requested:
        """Ask to deploy a version. Asking again with the same evidence is asking once.

        A complete checklist asks people for their approval, and ends every other request of the model for that
        environment that does not run yet. An incomplete one is remembered as it is. A version that runs already is
        returned as it is; one that people rejected, rolled back or retired is asked for again by people only.

        Args:
            must_be_complete: whether somebody asks for it now, and nothing else will do.

        Raises:
            Forbidden: if they may not.
            ChecklistIncomplete: naming what is missing.
            Conflict: if it was rejected with exactly this evidence.
        """
        self._access.require(by, REQUEST)
        with self._database.begin() as connection:
            return self._requests.request(connection, asked, by=by, must_be_complete=must_be_complete)

    def follow_approvals(self, *, by: Principal) -> list[Deployment]:
        """Move every deployment whose approval was decided, ended or taken back since; return those."""
        return self._follow(by)

    def promote(self, deployment_id: str, *, to: State, by: Principal, reason: str, epoch: int | None = None) -> Moved:
        """Let an approved version run as shadow or canary beside the champion, or in its place.

        The evidence is gathered again, and the approval has to stand for exactly that in the moment of the move. If
        it moved, the deployment goes back to its beginning, and a challenger stops.

        Args:
            epoch: the move that the caller has seen last; by default the last one when this call began.

        Raises:
            Forbidden: if they may not, or are no person.
            Conflict: naming what moved, what is missing, or who was faster.
            IntegrityViolation: if the version is not the one that was registered.
        """
        self._access.require(by, PROMOTE)
        if by.is_service:
            raise Forbidden(f"{by.name} is a service; only people promote. A candidate never promotes itself.")
        said = plain_words(reason, what="reason", is_needed=True)
        self._follow(by, deployment.c.id == deployment_id)
        wanted = self.get(deployment_id)
        start = self._now(wanted.model, wanted.environment)
        self._require_time_served(wanted, to)
        asked = self._around.gather(wanted.model, wanted.model_version, wanted.environment)
        with self._database.begin() as connection:
            done = self._promote(connection, wanted, asked, to=to, by=by, reason=said, epoch=_seen(epoch, start))
        if isinstance(done, Conflict):
            if wanted.state in STEPS:
                self._project(self._now(wanted.model, wanted.environment))
            raise done
        return self._finished(*done)

    def rollback(self, model: str, environment: str, *, by: Principal, reason: str, epoch: int | None = None) -> Moved:
        """Let the champion of before serve again, at once and without an approval; a challenger goes on beside it.

        One that was itself rolled back or retired is passed over. A review is opened.

        Raises:
            Forbidden: if they may not.
            Conflict: if nobody serves, nobody served before, or somebody was faster.
        """
        return self._take_back(self._revert, model, environment, by=by, reason=reason, epoch=epoch)

    def stop(self, model: str, environment: str, *, by: Principal, reason: str, epoch: int | None = None) -> Moved:
        """End the challenger, at once and without an approval: the champion serves alone.

        If it answered for a slice, a review is opened.

        Raises:
            Forbidden: if they may not.
            Conflict: if no challenger runs, or somebody was faster.
        """
        return self._take_back(self._stop, model, environment, by=by, reason=reason, epoch=epoch)

    def retire(self, model: str, environment: str, *, by: Principal, reason: str, epoch: int | None = None) -> Moved:
        """End the champion with nothing in its place, and the challenger beside it.

        Raises:
            Forbidden: if they may not.
            Conflict: if nobody serves, or somebody was faster.
        """
        self._access.require(by, RETIRE)
        said = plain_words(reason, what="reason", is_needed=True)
        start = self._now(model, environment)
        with self._database.begin() as connection:
            now = self._head(connection, model, environment, _seen(epoch, start))
            after, at = serving_moves.retire(now), self._clock.now()
            assert now.champion is not None  # retire refuses where nobody serves
            one = rows.get(connection, now.champion.deployment_id).after(Verb.RETIRE, State.RETIRED, at=at)
            beside = [] if now.challenger is None else [rows.get(connection, now.challenger.deployment_id)]
            also = [other.after(Verb.STOP, State.ROLLED_BACK, at=at) for other in beside]
            self._journal.move(
                connection, Action.RETIRE, one, after, also=also, ledger_action=RETIRE, by=by, reason=said
            )
            subjects = [ended.subject for ended in (one, *also)]
            self._approvals.withdraw_within(connection, subjects, by=by, reason=f"retired: {said}"[:2000])
        return self._finished(one, after)

    def _follow(self, by: Principal, *which: sa.ColumnElement[bool]) -> list[Deployment]:
        following = (deployment.c.state.in_(FOLLOWING), *which)
        with self._database.read() as connection:
            due = [one.id for one in rows.select(connection, *following) if self._requests.due(connection, one)]
        if not due:
            return []
        with self._database.begin() as connection:
            found = rows.select(connection, *following, deployment.c.id.in_(due))
            after = [self._requests.followed(connection, one, by) for one in found]
        for one in (one for one, now in zip(found, after, strict=True) if one.state in STEPS and one != now):
            self._project(self._now(one.model, one.environment))
        return after

    def _promote(
        self,
        connection: sa.Connection,
        wanted: Deployment,
        asked: Gathered,
        *,
        to: State,
        by: Principal,
        reason: str,
        epoch: int,
    ) -> tuple[Deployment, Serving] | Conflict:
        """Return what was done, or a refusal that itself left something to keep."""
        one = rows.get(connection, wanted.id)
        now = self._head(connection, one.model, one.environment, epoch)
        if one.epoch != wanted.epoch:
            raise Conflict(f"{one.subject} became {one.state} meanwhile. Look at it and decide again.")
        if one.state not in _PROMOTABLE:
            return Conflict(
                f"{one.subject} is {one.state} and can't be promoted. {_REMEDIES.get(one.state, '')}".strip()
            )
        after = serving_moves.promote(now, one, to=to)
        promoted = one.after(Verb.PROMOTE, to, at=self._clock.now())
        _require_registered(connection, asked.version)
        if refused := self._unapproved(connection, one, asked, by):
            return refused
        _require_approved_plan(one, asked)
        also = []
        if to is State.CHAMPION and now.champion is not None:
            older = rows.get(connection, now.champion.deployment_id)
            also.append(older.after(Verb.SUPERSEDE, State.SUPERSEDED, at=promoted.updated_at))
        self._journal.move(
            connection, Action(to), promoted, after, also=also, ledger_action=PROMOTE, by=by, reason=reason
        )
        return promoted, after

    def _unapproved(
        self, connection: sa.Connection, one: Deployment, asked: Gathered, by: Principal
    ) -> Conflict | None:
        """Return why it is not approved as it is now; what moved sends it back to its beginning."""
        if not asked.checklist.is_complete:
            moved = "; ".join(f"{item.name}: {item.note}" for item in asked.checklist.open_items)
        else:
            evidence = approval_evidence(asked.checklist, self._approvals.rules.of(asked.tier), deployment_id=one.id)
            found = self._approvals.judge_within(connection, one.subject, evidence, by=by)
            if found.is_approved:
                return None
            if not found.moved:
                return Conflict(f"{one.subject} is not approved: {found.words}. {found.remedy}")
            moved = "; ".join(found.moved)
        self._requests.reopen(connection, one, asked, by=by, why=f"its evidence moved: {moved}"[:2000])
        return Conflict(
            f"{one.subject} was approved for other evidence: {moved}. It is registered again; ask for the approval of "
            f"what is there now: `mlops deployments request {one.model} --version {one.model_version} "
            f"--environment {one.environment}`."
        )

    def _require_time_served(self, one: Deployment, to: State) -> None:
        """Refuse to leave shadow or canary before the planned sessions are over, or while a limit is passed."""
        if one.state not in STEPS:
            return
        with self._database.read() as connection:
            log = moves(connection, one.model, one.environment)
        own = [move for move in log if (move.deployment_id, move.action) == (one.id, Action(one.state))]
        passed, planned = self._around.sessions_since(own[-1].at), one.planned_sessions(one.state)
        if passed < planned:
            raise Conflict(
                f"{one.subject} runs as {one.state} for {passed} of {planned} planned sessions; it can be promoted to "
                f"{to} after {planned - passed} more."
            )
        if found := self._around.breaches(one):
            raise Conflict(f"{one.subject} does not keep its limits as {one.state}: {'; '.join(found)}.")

    def _take_back(
        self,
        act: Callable[..., tuple[Deployment, Move]],
        model: str,
        environment: str,
        *,
        by: Principal,
        reason: str,
        epoch: int | None,
    ) -> Moved:
        self._access.require(by, ROLL_BACK)
        said = plain_words(reason, what="reason", is_needed=True)
        start = self._now(model, environment)
        with self._database.begin() as connection:
            now = self._head(connection, model, environment, _seen(epoch, start))
            one, move = act(connection, now, by=by, reason=said)
            answers_change = move.action is Action.ROLL_BACK or now.mode is Mode.CANARY
            review = self._review(connection, move, by) if answers_change else None
            self._approvals.withdraw_within(connection, [one.subject], by=by, reason=f"rolled back: {said}"[:2000])
        return self._finished(one, move.after, review)

    def _stop(self, connection: sa.Connection, now: Serving, *, by: Principal, reason: str) -> tuple[Deployment, Move]:
        after = serving_moves.stop(now)
        assert now.challenger is not None  # stop refuses where none runs
        one = rows.get(connection, now.challenger.deployment_id)
        ended = one.after(Verb.STOP, State.ROLLED_BACK, at=self._clock.now())
        move = self._journal.move(connection, Action.STOP, ended, after, ledger_action=ROLL_BACK, by=by, reason=reason)
        return ended, move

    def _revert(
        self, connection: sa.Connection, now: Serving, *, by: Principal, reason: str
    ) -> tuple[Deployment, Move]:
        superseded = rows.select(
            connection,
            deployment.c.model == now.model,
            deployment.c.environment == now.environment,
            deployment.c.state == State.SUPERSEDED,
        )
        before = {one.id: one for one in superseded}
        after = serving_moves.roll_back(now, moves(connection, now.model, now.environment), restorable=list(before))
        assert now.champion is not None  # roll_back refuses where nobody serves,
        assert after.champion is not None  # and leaves somebody
        at = self._clock.now()
        ended = rows.get(connection, now.champion.deployment_id).after(Verb.ROLL_BACK, State.ROLLED_BACK, at=at)
        restored = before[after.champion.deployment_id].after(Verb.RESTORE, State.CHAMPION, at=at)
        move = self._journal.move(
            connection, Action.ROLL_BACK, ended, after, also=[restored], ledger_action=ROLL_BACK, by=by, reason=reason
        )
        return ended, move

    def _review(self, connection: sa.Connection, move: Move, by: Principal) -> Approval:
        """Open the review of a rollback: it stands already, and somebody else says whether it was right."""
        after = move.after
        note = f"{move.action} of {move.deployment_id[:12]}: {after.words}. {move.reason}"
        part = Part(name="move", kind=PartKind.SUBJECT, fingerprint=after.fingerprint, note=note)
        rule = self._approvals.rules.of(ROLLBACK_REVIEW)
        return self._approvals.request_within(
            connection,
            subject=f"rollbacks/{after.model}/{after.environment}/{after.epoch}",
            tier=ROLLBACK_REVIEW,
            evidence=Evidence(parts=(part, rule.as_part())),
            authors=(),
            by=by,
        )

    def _finished(self, one: Deployment, after: Serving, review: Approval | None = None) -> Moved:
        failpoint("serving.move.committed")
        return Moved(deployment=one, serving=after, review=review, unprojected=self._project(after))

    def _project(self, serving: Serving) -> str | None:
        """Let MLflow's alias follow; return why it does not."""
        try:
            self._around.project(serving)
        except PlatformError as error:
            return str(error)
        return None

    def _now(self, model: str, environment: str) -> Serving:
        with self._database.read() as connection:
            return head(connection, model, environment)

    def _head(self, connection: sa.Connection, model: str, environment: str, epoch: int) -> Serving:
        now = head(connection, model, environment)
        if now.epoch != epoch:
            raise Conflict(
                f"{model} in {environment}: this was asked for at epoch {epoch}, and by now it is {now.epoch}: "
                f"{now.words}. Look at it (`mlops deployments serving {model}`) and decide again."
            )
        return now


_REMEDIES = {
    State.REGISTERED: "Its checklist names what is missing: `mlops deployments show`.",
    State.IN_REVIEW: "It waits for its approval: `mlops approvals queue`.",
    State.CHAMPION: "It serves already.",
    State.EXPIRED: "Ask for it again: `mlops deployments request`.",
    State.SUPERSEDED: "Ask for it again: `mlops deployments request`.",
    State.ROLLED_BACK: "Ask for it again: `mlops deployments request`.",
    State.RETIRED: "Ask for it again: `mlops deployments request`.",
}


def _seen(epoch: int | None, start: Serving) -> int:
    return start.epoch if epoch is None else epoch


def _require_approved_plan(one: Deployment, asked: Gathered) -> None:
    """Refuse a deployment whose row holds another plan than the one that the approval is bound to."""
    approved, found = fingerprint(asked.plan), fingerprint(one.plan)
    if approved != found:
        raise IntegrityViolation(
            what=f"plan of deployment {one.id[:12]} of {one.subject}",
            expected=approved,
            found=found,
            remedy="Run `mlops audit verify` and find out who changed the database.",
        )


def _require_registered(connection: sa.Connection, version: ModelVersion) -> None:
    """Refuse a version whose row is no longer the one whose evidence was gathered."""
    statement = sa.select(model_version.c.fingerprint, model_version.c.artifact_sha256).where(
        model_version.c.model == version.model, model_version.c.version == version.version
    )
    row = connection.execute(statement).one_or_none()
    if row is None or (row.fingerprint, row.artifact_sha256) != (version.fingerprint, version.artifact_sha256):
        raise IntegrityViolation(
            what=f"registered version {version.id}",
            expected=version.artifact_sha256,
            found="none" if row is None else row.artifact_sha256,
            remedy="Run `mlops audit verify` and find out who changed the database.",
        )
