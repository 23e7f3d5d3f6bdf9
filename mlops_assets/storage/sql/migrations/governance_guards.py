"""What the database refuses of ledger, approvals, tokens and principals: the guards that migration 0004 makes."""

from mlops_assets.storage.sql.migrations.triggers import Guard, refuses_another

MOVES = (
    ("draft", "submitted"),
    ("draft", "revoked"),
    ("submitted", "in_review"),
    ("submitted", "expired"),
    ("submitted", "revoked"),
    ("in_review", "approved"),
    ("in_review", "rejected"),
    ("in_review", "expired"),
    ("in_review", "revoked"),
    ("approved", "expired"),
    ("approved", "revoked"),
)
"""The moves that the database lets through: those of governance/transitions.py, which a test compares."""

_FIXED = (
    *("id", "subject", "tier", "evidence_fingerprint", "round", "quorum", "created_by", "created_at", "valid_days"),
    "required_role",
)
_IS_PARTY = (
    "EXISTS (SELECT 1 FROM approval_party p WHERE p.approval_id = NEW.approval_id AND p.principal = NEW.{column})"
)
_OF_APPROVAL = "coalesce((SELECT a.{column} FROM approval a WHERE a.id = NEW.approval_id), '')"
_NULL_SAFE = "(NEW.{0} <> OLD.{0} OR (NEW.{0} IS NULL) <> (OLD.{0} IS NULL))"
_YEAS = (
    "(SELECT count(*) FROM approval_decision d WHERE d.approval_id = NEW.id AND d.verdict = 'approve' "
    "AND d.evidence_fingerprint = NEW.evidence_fingerprint{more})"
)
_OVERRIDES = (
    "(SELECT count(*) FROM approval_override o WHERE o.approval_id = NEW.id "
    "AND o.evidence_fingerprint = NEW.evidence_fingerprint)"
)
_BY_A_MOVE = (
    *("is_override", "closed_reason", "submitted_by", "submitted_at", "review_started_at", "decided_at", "due_at"),
    "expires_at",
)
_ISSUED = (
    *("id", "principal", "sha256", "label", "issued_at", "issued_by", "issued_with", "is_session", "expires_at"),
)
_AS_TEXT = "CAST(NEW.{0} AS TEXT) <> CAST(OLD.{0} AS TEXT)"
_ALLOWED = " OR ".join(f"(OLD.state = '{old}' AND NEW.state = '{new}')" for old, new in MOVES)

GUARDS = (
    Guard(
        table="ledger_entry",
        operation="INSERT",
        name="continues",
        refuses=(
            (
                "NEW.seq <> (SELECT coalesce(max(e.seq), 0) + 1 FROM ledger_entry e)",
                "an entry of the ledger follows the last one",
            ),
            (
                "NEW.previous_hash <> coalesce((SELECT e.hash FROM ledger_entry e ORDER BY e.seq DESC LIMIT 1), "
                f"'{'0' * 64}')",
                "an entry of the ledger names the hash of the last one",
            ),
        ),
    ),
    refuses_another("ledger_entry", ["seq"], ["hash"]),
    refuses_another("feature_release", ["view", "version"]),
    refuses_another("look_ahead_certificate", ["ledger_seq"]),
    refuses_another("approval", ["id"], ["subject", "evidence_fingerprint", "round"]),
    refuses_another("approval_decision", ["approval_id", "approver"]),
    refuses_another("approval_override", ["approval_id", "principal"]),
    refuses_another("api_token", ["id"], ["sha256"]),
    refuses_another("principal", ["name"], ["oidc_subject"]),
    refuses_another("alert", ["id"]),
    Guard(
        table="approval",
        operation="INSERT",
        name="begins_as_draft",
        refuses=(("NEW.state <> 'draft' OR NEW.quorum < 1", "an approval begins as a draft with a quorum"),),
    ),
    Guard(
        table="approval",
        operation="UPDATE",
        name="moves",
        refuses=(
            (
                " OR ".join((*(_NULL_SAFE.format(name) for name in _FIXED), _AS_TEXT.format("evidence"))),
                "what an approval is bound to never changes",
            ),
            (
                "NEW.state = OLD.state AND ("
                + " OR ".join((*(_NULL_SAFE.format(name) for name in _BY_A_MOVE), _AS_TEXT.format("moved")))
                + ")",
                "an approval changes only by a move",
            ),
            ("OLD.is_override AND NOT NEW.is_override", "an emergency override stays one"),
            (f"NEW.state <> OLD.state AND NOT ({_ALLOWED})", "an approval does not move that way"),
            (
                "NEW.state = 'approved' AND OLD.state <> 'approved' AND NOT NEW.is_override AND ("
                f"{_YEAS.format(more='')} < NEW.quorum OR EXISTS (SELECT 1 FROM approval_decision d "
                "WHERE d.approval_id = NEW.id AND d.verdict = 'reject') OR (NEW.required_role IS NOT NULL AND "
                f"{_YEAS.format(more=' AND d.capacity = NEW.required_role')} = 0))",
                "an approval needs its quorum, its required role and no rejection",
            ),
            (
                f"NEW.is_override AND NOT OLD.is_override AND (NEW.state <> 'approved' OR {_OVERRIDES} < 2)",
                "an emergency override needs two people",
            ),
        ),
    ),
    Guard(
        table="approval_party",
        operation="INSERT",
        name="has_not_decided",
        refuses=(
            (
                "EXISTS (SELECT 1 FROM approval_decision d WHERE d.approval_id = NEW.approval_id "
                "AND d.approver = NEW.principal) OR EXISTS (SELECT 1 FROM approval_override o "
                "WHERE o.approval_id = NEW.approval_id AND o.principal = NEW.principal)",
                "somebody who decided can't become an author",
            ),
        ),
    ),
    Guard(
        table="approval_decision",
        operation="INSERT",
        name="keeps_duties_apart",
        refuses=(
            (
                _IS_PARTY.format(column="approver"),
                "nobody approves what they authored, launched or submitted",
            ),
            (_OF_APPROVAL.format(column="state") + " <> 'in_review'", "the approval is not in review"),
            (
                _OF_APPROVAL.format(column="evidence_fingerprint") + " <> NEW.evidence_fingerprint",
                "the decision is about other evidence",
            ),
        ),
    ),
    Guard(
        table="approval_override",
        operation="INSERT",
        name="keeps_duties_apart",
        refuses=(
            (
                _IS_PARTY.format(column="principal"),
                "nobody overrides for what they authored, launched or submitted",
            ),
            (
                _OF_APPROVAL.format(column="state") + " NOT IN ('submitted', 'in_review')",
                "the approval waits for no decision",
            ),
            (
                _OF_APPROVAL.format(column="evidence_fingerprint") + " <> NEW.evidence_fingerprint",
                "the override is about other evidence",
            ),
        ),
    ),
    *(
        Guard(table=table, operation=operation, name=f"refuses_{operation.lower()}", refuses=())
        for table in ("approval_party", "approval_decision", "approval_override")
        for operation in ("UPDATE", "DELETE")
    ),
    Guard(table="approval", operation="DELETE", name="refuses_delete", refuses=()),
    Guard(table="principal", operation="DELETE", name="refuses_delete", refuses=()),
    Guard(table="api_token", operation="DELETE", name="refuses_delete", refuses=()),
    Guard(table="alert", operation="DELETE", name="refuses_delete", refuses=()),
    Guard(
        table="api_token",
        operation="UPDATE",
        name="is_only_revoked",
        refuses=(
            (
                "OLD.revoked_at IS NOT NULL OR NEW.revoked_at IS NULL OR "
                + " OR ".join((*(_NULL_SAFE.format(name) for name in _ISSUED), _AS_TEXT.format("scopes"))),
                "a token can only be revoked, once",
            ),
        ),
    ),
    Guard(
        table="principal",
        operation="UPDATE",
        name="stays_one",
        refuses=(
            ("NEW.name <> OLD.name", "a principal keeps its name: the ledger names it"),
            (
                "EXISTS (SELECT 1 FROM principal o WHERE o.oidc_subject = NEW.oidc_subject AND o.name <> NEW.name)",
                "an oidc_subject means one principal",
            ),
        ),
    ),
    Guard(
        table="alert",
        operation="UPDATE",
        name="stays_one",
        refuses=(("NEW.id <> OLD.id", "an alert keeps its id: its deliveries name it"),),
    ),
)
