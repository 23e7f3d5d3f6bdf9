"""Identities, approvals by parts and parties, alerts, idempotency; the database itself keeps chain and duties."""

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.storage.sql import tables
from mlops_assets.storage.sql.migrations.governance_guards import GUARDS
from mlops_assets.storage.sql.migrations.triggers import create, refuse_truncation

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_WHOLE = "everything, as it was bound before parts"
_ENDED = "asked for before an approval was bound part by part; ask again"

_NEVER_EMPTIED = (
    *("ledger_entry", "feature_release", "look_ahead_certificate", "principal", "api_token", "alert"),
    *("approval", "approval_party", "approval_decision", "approval_override"),
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
        sa.Column("issued_with", sa.String(length=200), nullable=False),
        sa.Column("is_session", sa.Boolean(), nullable=False),
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
    found = connection.execute(sa.text("SELECT * FROM approval")).all()
    evidence = {row.id: _in_parts(row) for row in found}
    requests = [
        {
            "id": row.id,
            "subject": row.subject,
            "tier": 1,
            "evidence": evidence[row.id],
            "evidence_fingerprint": fingerprint(evidence[row.id]),
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
        for row in found
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


def _in_parts(row: sa.Row[Any]) -> dict[str, Any]:
    """Return the evidence as parts by name; what it was bound to as a whole stays in sight as one of them."""
    evidence = row.evidence if isinstance(row.evidence, dict) else json.loads(row.evidence)
    whole = {"name": _WHOLE, "kind": "subject", "fingerprint": row.evidence_fingerprint, "note": ""}
    items = [
        {"name": item["name"], "kind": "subject", "fingerprint": item["evidence"] or "none", "note": item["note"]}
        for item in evidence.get("items", [])
    ]
    return {"parts": sorted([whole, *items], key=lambda part: part["name"])}


def _instant(stored: str | datetime) -> datetime:
    """Return an aware time: SQLite hands out text, PostgreSQL a naive datetime."""
    found = stored if isinstance(stored, datetime) else datetime.fromisoformat(stored)
    return found.replace(tzinfo=UTC)
