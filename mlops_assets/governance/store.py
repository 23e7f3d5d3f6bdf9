"""Which approvals are asked for and decided: kept in SQL, every move one transaction with its ledger entry."""

from __future__ import annotations

from collections.abc import Callable, Collection

import sqlalchemy as sa

from mlops_assets.governance import approvals as moves
from mlops_assets.governance import rows
from mlops_assets.governance.approvals import DutiesNotApart
from mlops_assets.governance.evidence import Evidence, moved
from mlops_assets.governance.reading import DECIDE, OVERRIDE, Access, ApprovalReader, People, found_in
from mlops_assets.governance.rules import ApprovalRules
from mlops_assets.governance.spec import Approval, Party, Verdict
from mlops_assets.governance.standing import Standing
from mlops_assets.governance.transitions import LIVE, WAITING, State, Verb
from mlops_assets.kernel.change import Change
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import Conflict, Forbidden
from mlops_assets.kernel.fingerprint import Json
from mlops_assets.kernel.identity import Principal
from mlops_assets.storage.failpoints import failpoint
from mlops_assets.storage.journal import Journal
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import approval

SUBMIT, REVOKE = "approval.submit", "approval.revoke"
_EXPIRED_AT_ONCE = 500
_SUPERSEDED = "other evidence was found for it"


class ApprovalStore(ApprovalReader):
    """Requests and what was decided on them. The rules refuse first; the database's own guards never need to."""

    def __init__(
        self,
        database: Database,
        journal: Journal,
        clock: Clock,
        *,
        rules: ApprovalRules,
        access: Access,
        directory: People,
        seal: Callable[[], object],
    ) -> None:
        """Keep the parts; `seal` signs a checkpoint of the ledger, after the commit of an approval or an override."""
        super().__init__(database, clock, access=access, directory=directory)
        self._journal, self.rules, self._seal = journal, rules, seal

    def draft(
        self, *, subject: str, tier: int, evidence: Evidence, authors: Collection[str], by: Principal
    ) -> Approval:
        """Bind a request to its evidence without asking anybody yet, and void those with other evidence.

        Drafting again with the same evidence returns the request that is there; who drafts or made it becomes a
        party. One that expired or was revoked is drafted again in a new round; a rejected one stays rejected.
        """
        self._access.require(by, SUBMIT)
        with self._database.begin() as connection:
            return self._draft(connection, subject, tier, evidence, authors, by)

    def submit(self, approval_id: str, *, by: Principal) -> Approval:
        """Ask for verdicts on a draft."""
        self._access.require(by, SUBMIT)
        with self._database.begin() as connection:
            before = found_in(connection, approval_id)
            moves.require_intact(before)
            return self._submit(connection, before, by)

    def request(
        self, *, subject: str, tier: int, evidence: Evidence, authors: Collection[str], by: Principal
    ) -> Approval:
        """Draft and submit in one step. Asking again for the same evidence is asking once."""
        self._access.require(by, SUBMIT)
        with self._database.begin() as connection:
            return self.request_within(
                connection, subject=subject, tier=tier, evidence=evidence, authors=authors, by=by
            )

    def request_within(
        self,
        connection: sa.Connection,
        *,
        subject: str,
        tier: int,
        evidence: Evidence,
        authors: Collection[str],
        by: Principal,
    ) -> Approval:
        """Do the same in the transaction of what needs the approval; its caller has asked whether `by` may."""
        drafted = self._draft(connection, subject, tier, evidence, authors, by)
        return self._submit(connection, drafted, by) if drafted.state is State.DRAFT else drafted

    def start_review(self, approval_id: str, *, by: Principal) -> Approval:
        """Say that somebody who may decide is looking at it."""
        return self._judged(approval_id, by, DECIDE, lambda connection, before: self._review(connection, before, by))

    def decide(self, approval_id: str, *, by: Principal, verdict: Verdict, note: str) -> Approval:
        """Record one verdict and return the request as it stands after it; the first verdict opens the review.

        Raises:
            NotFound: if there is no such request.
            Forbidden: if they may not decide on it; who had a hand in it leaves a ledger entry by trying.
            Conflict: if it waits for no verdict, its time is over, or they have decided already.
        """

        def act(connection: sa.Connection, before: Approval) -> Approval:
            opened = self._review(connection, before, by) if before.state is State.SUBMITTED else before
            after = moves.decide(
                opened,
                by=by,
                verdict=verdict,
                note=note,
                deciding=self.roles_of(DECIDE),
                holds=self.holds.decision,
                at=self._clock.now(),
            )
            own = after.decisions[-1]
            _require_active(by, self.holds.decision(own))
            rows.add_decision(connection, after)
            failpoint("approval.decide.inserted")
            rows.update(connection, after)
            failpoint("approval.decide.moved")
            self._record(connection, Verb(verdict), opened, after, by, reason=own.note, capacity=own.capacity)
            failpoint("approval.decide.before_commit")
            return after

        return self._sealed(self._judged(approval_id, by, DECIDE, act))

    def override(self, approval_id: str, *, by: Principal, reason: str) -> Approval:
        """Take part in an emergency override: the second person's word approves it for a short time."""

        def act(connection: sa.Connection, before: Approval) -> Approval:
            opened = self._review(connection, before, by) if before.state is State.SUBMITTED else before
            after = moves.override(
                opened,
                by=by,
                reason=reason,
                holds=self.holds.override,
                emergency=self.rules.emergency,
                at=self._clock.now(),
            )
            own = after.overrides[-1]
            _require_active(by, self.holds.override(own))
            rows.add_override(connection, after)
            failpoint("approval.override.inserted")
            rows.update(connection, after)
            self._record(connection, Verb.OVERRIDE, opened, after, by, reason=own.reason)
            failpoint("approval.override.before_commit")
            return after

        return self._sealed(self._judged(approval_id, by, OVERRIDE, act))

    def revoke(self, approval_id: str, *, by: Principal, reason: str) -> Approval:
        """Withdraw a request or take an approval back."""
        self._access.require(by, REVOKE)
        with self._database.begin() as connection:
            return self._revoke(connection, found_in(connection, approval_id), by, reason=reason)

    def withdraw(self, subjects: Collection[str], *, by: Principal, reason: str) -> list[Approval]:
        """Revoke what is live for subjects that nobody asks for any more: superseded, or no longer passed."""
        self._access.require(by, SUBMIT)
        if not subjects:
            return []
        with self._database.begin() as connection:
            return self.withdraw_within(connection, subjects, by=by, reason=reason)

    def withdraw_within(
        self, connection: sa.Connection, subjects: Collection[str], *, by: Principal, reason: str
    ) -> list[Approval]:
        """Do the same in the transaction of what ends them; its caller has asked whether `by` may."""
        live = rows.select(connection, approval.c.subject.in_(subjects), approval.c.state.in_(LIVE))
        return [self._revoke(connection, one, by, reason=reason) for one in live]

    def expire_due(self, *, by: Principal) -> list[Approval]:
        """End every request and approval whose time is over. Time decides, not who asks, so anybody may."""
        now = self._clock.now()
        due = (approval.c.state.in_(LIVE), approval.c.expires_at <= now)
        with self._database.read() as connection:
            if not rows.select(connection, *due, limit=1):
                return []
        with self._database.begin() as connection:
            found = rows.select(connection, *due, limit=_EXPIRED_AT_ONCE)
            return [self._expire(connection, one, by) for one in found]

    def require_approved(self, subject: str, evidence: Evidence, *, by: Principal) -> Approval:
        """Return the approval that stands for exactly this evidence; end what does not any more.

        Raises:
            Conflict: naming the parts of the evidence that moved, or what else is missing.
            IntegrityViolation: if the evidence stored with the approval was changed.
        """
        with self._database.begin() as connection:
            found = self.judge_within(connection, subject, evidence, by=by)
        if found.approval is not None and found.is_approved:
            return found.approval
        raise Conflict(f"{subject} is not approved: {found.words}. {found.remedy}")

    def judge_within(self, connection: sa.Connection, subject: str, evidence: Evidence, *, by: Principal) -> Standing:
        """Say whether it is approved in the transaction of what needs that; end what does not stand any more.

        Raises:
            IntegrityViolation: if the evidence stored with the approval was changed.
        """
        found = self.standing_within(connection, subject, evidence)
        if not found.is_approved:
            self._void(connection, subject, evidence, by)
            if found.approval is not None and not found.moved and self.is_over(found.approval):
                self._expire(connection, found.approval, by)
        return found

    def _judged(
        self, approval_id: str, by: Principal, action: str, act: Callable[[sa.Connection, Approval], Approval]
    ) -> Approval:
        """Do what only somebody apart from the work may do, in one transaction; a refusal leaves its own entry."""
        self._access.require(by, action)
        self._expire_on_use(approval_id, by)
        try:
            with self._database.begin() as connection:
                before = found_in(connection, approval_id)
                moves.require_intact(before)
                return act(connection, before)
        except DutiesNotApart as refusal:
            self._refuse(approval_id, by, action, str(refusal))
            raise

    def _sealed(self, after: Approval) -> Approval:
        if after.state is State.APPROVED:
            failpoint("approval.committed")
            self._seal()
        return after

    def _expire_on_use(self, approval_id: str, by: Principal) -> None:
        if not self.is_over(self.get(approval_id)):
            return
        with self._database.begin() as connection:
            if self.is_over(found := found_in(connection, approval_id)):
                self._expire(connection, found, by)

    def _draft(
        self,
        connection: sa.Connection,
        subject: str,
        tier: int,
        evidence: Evidence,
        authors: Collection[str],
        by: Principal,
    ) -> Approval:
        self._void(connection, subject, evidence, by)
        known = rows.select(
            connection,
            approval.c.subject == subject,
            approval.c.evidence_fingerprint == evidence.fingerprint,
            order=(approval.c.round,),
        )
        newest = known[-1] if known else None
        if newest is not None and self.is_over(newest):
            newest = self._expire(connection, newest, by)
        if newest is not None and newest.state not in {State.EXPIRED, State.REVOKED}:
            return self._join(connection, newest, moves.parties_of(authors, launcher=by), by)
        asked = moves.draft(
            subject=subject,
            rule=self.rules.of(tier),
            evidence=evidence,
            authors=authors,
            by=by,
            at=self._clock.now(),
            round_number=1 if newest is None else newest.round + 1,
        )
        rows.insert(connection, asked)
        self._record(connection, Verb.DRAFT, None, asked, by)
        return asked

    def _void(self, connection: sa.Connection, subject: str, evidence: Evidence, by: Principal) -> None:
        others = rows.select(
            connection,
            approval.c.subject == subject,
            approval.c.state.in_(LIVE),
            approval.c.evidence_fingerprint != evidence.fingerprint,
        )
        for one in others:
            parts = moved(one.evidence, evidence) if one.is_intact else ("its stored evidence was changed",)
            self._revoke(connection, one, by, reason=_SUPERSEDED, parts=parts)

    def _join(self, connection: sa.Connection, before: Approval, parties: Collection[Party], by: Principal) -> Approval:
        """Make those who made or launched the same evidence again parties of an open request."""
        spoke = {one.approver for one in before.decisions} | {one.principal for one in before.overrides}
        new = [one for one in parties if one not in before.parties and one.principal not in spoke]
        if not new or before.state not in {State.DRAFT, *WAITING}:
            return before
        rows.add_parties(connection, before.id, new)
        after = found_in(connection, before.id)
        self._record(connection, Verb.DRAFT, before, after, by, reason="the same evidence was made again")
        return after

    def _submit(self, connection: sa.Connection, before: Approval, by: Principal) -> Approval:
        after = moves.submit(before, by=by, rule=self.rules.of(before.tier), at=self._clock.now())
        rows.add_parties(connection, after.id, set(after.parties) - set(before.parties))
        return self._move(connection, Verb.SUBMIT, before, after, by)

    def _review(self, connection: sa.Connection, before: Approval, by: Principal) -> Approval:
        after = moves.start_review(before, by=by, at=self._clock.now())
        return self._move(connection, Verb.REVIEW, before, after, by)

    def _expire(self, connection: sa.Connection, before: Approval, by: Principal) -> Approval:
        return self._move(connection, Verb.EXPIRE, before, moves.expire(before), by)

    def _revoke(
        self,
        connection: sa.Connection,
        before: Approval,
        by: Principal,
        *,
        reason: str,
        parts: tuple[str, ...] = (),
    ) -> Approval:
        after = moves.revoke(before, reason=reason, moved=parts)
        return self._move(connection, Verb.REVOKE, before, after, by)

    def _move(
        self, connection: sa.Connection, verb: Verb, before: Approval, after: Approval, by: Principal
    ) -> Approval:
        rows.update(connection, after)
        self._record(connection, verb, before, after, by, reason=after.closed_reason)
        return after

    def _record(
        self,
        connection: sa.Connection,
        verb: Verb,
        before: Approval | None,
        after: Approval,
        by: Principal,
        *,
        reason: str = "",
        capacity: str | None = None,
    ) -> None:
        details: dict[str, Json] = {
            "approval": after.id,
            "evidence": after.evidence_fingerprint,
            "state_before": None if before is None else before.state,
            "state_after": after.state,
            "moved": list(after.moved),
            "credential": by.credential,
        }
        self._journal.append(
            connection,
            Change(
                actor=by.name,
                action=f"approval.{verb}",
                subject=after.subject,
                before=None if before is None else before.fingerprint,
                after=after.fingerprint,
                reason=reason,
                details=details if capacity is None else {**details, "capacity": capacity},
            ),
        )

    def _refuse(self, approval_id: str, by: Principal, action: str, reason: str) -> None:
        """Record that somebody tried what their own hand in the work forbids."""
        with self._database.begin() as connection:
            found = found_in(connection, approval_id)
            self._journal.append(
                connection,
                Change(
                    actor=by.name,
                    action="approval.refuse",
                    subject=found.subject,
                    before=found.fingerprint,
                    after=found.fingerprint,
                    reason=reason,
                    details={"approval": found.id, "attempted": action, "state": found.state},
                ),
            )


def _require_active(by: Principal, is_active: bool) -> None:
    if not is_active:
        raise Forbidden(f"{by.name} is no longer active in a role that decides. An administrator can say why.")
