"""Identities, approvals by parts and parties, alerts, idempotency; the database itself keeps chain and duties."""

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from mlops_assets.storage.sql import tables
from mlops_assets.storage.sql.migrations.triggers import Guard, create, refuse_truncation, refuses_another

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ENDED = "asked for before an approval was bound part by part; ask again"

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
"""The moves that the database lets through: those of governance/approvals.py, which a test compares."""

_NEVER_EMPTIED = (
    *("ledger_entry", "feature_release", "look_ahead_certificate", "principal", "api_token", "alert"),
    *("approval", "approval_party", "approval_decision", "approval_override"),
)

_FIXED = (
    *("id", "subject", "tier", "evidence_fingerprint", "round", "quorum", "created_by", "created_at", "valid_days"),
    "required_role",
)
_IS_PARTY = (
    "EXISTS (SELECT 1 FROM approval_party p WHERE p.approval_id = NEW.approval_id AND p.principal = NEW.{column})"
)
_OF_APPROVAL = "(SELECT a.{column} FROM approval a WHERE a.id = NEW.approval_id)"
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
                "AND d.approver = NEW.principal)",
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
                "OLD.revoked_at IS NOT NULL OR NEW.sha256 <> OLD.sha256 OR NEW.principal <> OLD.principal "
                "OR NEW.expires_at <> OLD.expires_at OR CAST(NEW.scopes AS TEXT) <> CAST(OLD.scopes AS TEXT)",
                "a token can only be revoked, once",
            ),
        ),
    ),
)


def upgrade() -> None:
    connection = op.get_bind()
    requests, decisions = _earlier(connection)
    op.drop_table("approval_decision")
    op.drop_index(op.f("ix_approval_subject"), table_name="approval")
    op.drop_table("approval")
    _make_tables()
    for column in ("actor", "action", "at"):
        op.create_index(op.f(f"ix_ledger_entry_{column}"), "ledger_entry", [column], unique=False)
    if requests:
        connection.execute(sa.insert(tables.approval), requests)
    if decisions:
        connection.execute(sa.insert(tables.approval_decision), decisions)
    for guard in GUARDS:
        create(guard)
    refuse_truncation(*_NEVER_EMPTIED)


def _make_tables() -> None:
    op.create_table(
        "approval",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=400), nullable=False),
        sa.Column("tier", sa.Integer(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("evidence_fingerprint", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("quorum", sa.Integer(), nullable=False),
        sa.Column("required_role", sa.String(length=20), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("is_override", sa.Boolean(), nullable=False),
        sa.Column("closed_reason", sa.Text(), nullable=False),
        sa.Column("moved", sa.JSON(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("created_at", tables.UtcDateTime(), nullable=False),
        sa.Column("submitted_by", sa.String(length=200), nullable=True),
        sa.Column("submitted_at", tables.UtcDateTime(), nullable=True),
        sa.Column("review_started_at", tables.UtcDateTime(), nullable=True),
        sa.Column("decided_at", tables.UtcDateTime(), nullable=True),
        sa.Column("due_at", tables.UtcDateTime(), nullable=True),
        sa.Column("expires_at", tables.UtcDateTime(), nullable=True),
        sa.Column("valid_days", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval")),
        sa.UniqueConstraint("subject", "evidence_fingerprint", "round", name=op.f("uq_approval_subject")),
    )
    op.create_index(op.f("ix_approval_state"), "approval", ["state"], unique=False)
    op.create_index(op.f("ix_approval_subject"), "approval", ["subject"], unique=False)
    op.create_table(
        "idempotency_key",
        sa.Column("principal", sa.String(length=200), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("request_sha256", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("media_type", sa.String(length=100), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", tables.UtcDateTime(), nullable=False),
        sa.Column("expires_at", tables.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("principal", "key", name=op.f("pk_idempotency_key")),
    )
    op.create_index(op.f("ix_idempotency_key_expires_at"), "idempotency_key", ["expires_at"], unique=False)
    op.create_table(
        "alert",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=400), nullable=False),
        sa.Column("kind", sa.String(length=100), nullable=False),
        sa.Column("severity", sa.String(length=20), nullable=False),
        sa.Column("subject", sa.String(length=400), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("occurrences", sa.Integer(), nullable=False),
        sa.Column("raised_at", tables.UtcDateTime(), nullable=False),
        sa.Column("last_seen_at", tables.UtcDateTime(), nullable=False),
        sa.Column("ledger_seq", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["ledger_seq"], ["ledger_entry.seq"], name=op.f("fk_alert_ledger_seq_ledger_entry")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert")),
    )
    op.create_index(op.f("ix_alert_key"), "alert", ["key"], unique=False)
    op.create_index(op.f("ix_alert_subject"), "alert", ["subject"], unique=False)
    op.create_table(
        "approval_decision",
        sa.Column("approval_id", sa.String(length=64), nullable=False),
        sa.Column("approver", sa.String(length=200), nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=False),
        sa.Column("capacity", sa.String(length=20), nullable=False),
        sa.Column("evidence_fingerprint", sa.String(length=64), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("credential", sa.String(length=200), nullable=False),
        sa.Column("at", tables.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["approval_id"], ["approval.id"], name=op.f("fk_approval_decision_approval_id_approval")
        ),
        sa.PrimaryKeyConstraint("approval_id", "approver", name=op.f("pk_approval_decision")),
    )
    op.create_table(
        "approval_override",
        sa.Column("approval_id", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=200), nullable=False),
        sa.Column("evidence_fingerprint", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("credential", sa.String(length=200), nullable=False),
        sa.Column("at", tables.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["approval_id"], ["approval.id"], name=op.f("fk_approval_override_approval_id_approval")
        ),
        sa.PrimaryKeyConstraint("approval_id", "principal", name=op.f("pk_approval_override")),
    )
    op.create_table(
        "approval_party",
        sa.Column("approval_id", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=200), nullable=False),
        sa.Column("part", sa.String(length=20), nullable=False),
        sa.ForeignKeyConstraint(["approval_id"], ["approval.id"], name=op.f("fk_approval_party_approval_id_approval")),
        sa.PrimaryKeyConstraint("approval_id", "principal", "part", name=op.f("pk_approval_party")),
    )
    op.create_table(
        "principal",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("display_name", sa.String(length=200), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("oidc_subject", sa.String(length=255), nullable=True),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("managed_by", sa.String(length=20), nullable=False),
        sa.Column("created_at", tables.UtcDateTime(), nullable=False),
        sa.Column("updated_at", tables.UtcDateTime(), nullable=False),
        sa.Column("ledger_seq", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ledger_seq"], ["ledger_entry.seq"], name=op.f("fk_principal_ledger_seq_ledger_entry")
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_principal")),
        sa.UniqueConstraint("oidc_subject", name=op.f("uq_principal_oidc_subject")),
    )
    op.create_table(
        "alert_delivery",
        sa.Column("alert_id", sa.String(length=64), nullable=False),
        sa.Column("channel", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", tables.UtcDateTime(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("delivered_at", tables.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["alert_id"], ["alert.id"], name=op.f("fk_alert_delivery_alert_id_alert")),
        sa.PrimaryKeyConstraint("alert_id", "channel", name=op.f("pk_alert_delivery")),
    )
    op.create_index(op.f("ix_alert_delivery_state"), "alert_delivery", ["state"], unique=False)
    op.create_table(
        "api_token",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("principal", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.Column("issued_at", tables.UtcDateTime(), nullable=False),
        sa.Column("issued_by", sa.String(length=200), nullable=False),
        sa.Column("expires_at", tables.UtcDateTime(), nullable=False),
        sa.Column("revoked_at", tables.UtcDateTime(), nullable=True),
        sa.Column("ledger_seq", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ledger_seq"], ["ledger_entry.seq"], name=op.f("fk_api_token_ledger_seq_ledger_entry")
        ),
        sa.ForeignKeyConstraint(["principal"], ["principal.name"], name=op.f("fk_api_token_principal_principal")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_token")),
        sa.UniqueConstraint("sha256", name=op.f("uq_api_token_sha256")),
    )
    op.create_index(op.f("ix_api_token_principal"), "api_token", ["principal"], unique=False)


def downgrade() -> None:
    raise NotImplementedError("approvals by parts can't be told in the tables of 0003; restore a backup instead")


def _earlier(connection: sa.Connection) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the requests and decisions of the first schema; what was open or approved has to be asked for again."""
    requests = [
        {
            "id": row.id,
            "subject": row.subject,
            "tier": 1,
            "evidence": _in_parts(row.evidence if isinstance(row.evidence, dict) else json.loads(row.evidence)),
            "evidence_fingerprint": row.evidence_fingerprint,
            "round": row.round,
            "quorum": row.quorum,
            "required_role": None,
            "state": "revoked" if row.state in {"in_review", "approved"} else row.state,
            "is_override": False,
            "closed_reason": _ENDED if row.state in {"in_review", "approved"} else "",
            "moved": [],
            "created_by": row.author,
            "created_at": _instant(row.submitted_at),
            "submitted_by": row.author,
            "submitted_at": _instant(row.submitted_at),
            "review_started_at": None,
            "decided_at": None,
            "due_at": None,
            "expires_at": _instant(row.expires_at),
            "valid_days": 1,
        }
        for row in connection.execute(sa.text("SELECT * FROM approval")).all()
    ]
    digests = {one["id"]: one["evidence_fingerprint"] for one in requests}
    decisions = [
        {
            "approval_id": row.approval_id,
            "approver": row.approver,
            "verdict": row.decision,
            "capacity": "",
            "evidence_fingerprint": digests[row.approval_id],
            "note": row.note,
            "credential": "",
            "at": _instant(row.at),
        }
        for row in connection.execute(sa.text("SELECT * FROM approval_decision")).all()
    ]
    return requests, decisions


def _in_parts(evidence: dict[str, Any]) -> dict[str, Any]:
    return {
        "parts": [
            {"name": item["name"], "kind": "subject", "fingerprint": item["evidence"] or "", "note": item["note"]}
            for item in evidence.get("items", [])
        ]
    }


def _instant(stored: str | datetime) -> datetime:
    """Return an aware time: SQLite hands out text, PostgreSQL a naive datetime."""
    found = stored if isinstance(stored, datetime) else datetime.fromisoformat(stored)
    return found.replace(tzinfo=UTC)
