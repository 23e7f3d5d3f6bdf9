"""What the platform remembers in SQL: every table in one place, the subject of every migration."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa


class UtcDateTime(sa.TypeDecorator[datetime]):
    """An aware UTC datetime; SQLite would lose the zone."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime {value!r}: stored times are aware")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

ledger_entry = sa.Table(
    "ledger_entry",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", UtcDateTime, nullable=False, index=True),
    sa.Column("actor", sa.String(200), nullable=False, index=True),
    sa.Column("action", sa.String(100), nullable=False, index=True),
    sa.Column("subject", sa.String(400), nullable=False, index=True),
    sa.Column("before", sa.String(64)),
    sa.Column("after", sa.String(64)),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("details", sa.JSON, nullable=False),
    sa.Column("previous_hash", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
)

snapshot = sa.Table(
    "snapshot",
    metadata,
    sa.Column("dataset", sa.String(200), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("parent", sa.Integer),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("schema_hash", sa.String(64), nullable=False),
    sa.Column("schema", sa.JSON, nullable=False),
    sa.Column("code_version", sa.String(64), nullable=False),
    sa.Column("inputs", sa.JSON, nullable=False),
    sa.Column("row_count", sa.Integer, nullable=False),
    sa.Column("byte_count", sa.Integer, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
    sa.Column("ledger_seq", sa.Integer, sa.ForeignKey("ledger_entry.seq"), nullable=False),
    sa.Column("details", sa.JSON, nullable=False, server_default="{}"),
)

snapshot_file = sa.Table(
    "snapshot_file",
    metadata,
    sa.Column("dataset", sa.String(200), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("path", sa.String(400), primary_key=True),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("byte_count", sa.Integer, nullable=False),
    sa.Column("row_count", sa.Integer, nullable=False),
    sa.Column("position", sa.Integer, nullable=False, server_default="0"),
    sa.Column("first_at", UtcDateTime),
    sa.Column("last_at", UtcDateTime),
    sa.ForeignKeyConstraint(["dataset", "version"], ["snapshot.dataset", "snapshot.version"]),
)

dataset_head = sa.Table(
    "dataset_head",
    metadata,
    sa.Column("dataset", sa.String(200), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)

model_version = sa.Table(
    "model_version",
    metadata,
    sa.Column("model", sa.String(100), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("artifact_sha256", sa.String(64), nullable=False),
    sa.Column("training_set_fingerprint", sa.String(64), nullable=False),
    sa.Column("code_version", sa.String(64), nullable=False),
    sa.Column("run_id", sa.String(64), nullable=False),
    sa.Column("stage", sa.String(20), nullable=False),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Column("metrics", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
    sa.UniqueConstraint("model", "fingerprint"),
)

tracked_run = sa.Table(
    "tracked_run",
    metadata,
    sa.Column("asset", sa.String(200), primary_key=True),
    sa.Column("partition", sa.String(200), primary_key=True),
    sa.Column("root_run_id", sa.String(64), primary_key=True),
    sa.Column("run_id", sa.String(64)),
)

replay = sa.Table(
    "replay",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("scenario", sa.String(100), nullable=False, index=True),
    sa.Column("candidate", sa.String(100), nullable=False),
    sa.Column("result_fingerprint", sa.String(64), nullable=False),
    sa.Column("metrics", sa.JSON, nullable=False),
    sa.Column("checks", sa.JSON, nullable=False),
    sa.Column("inputs", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
)

report = sa.Table(
    "report",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(100), nullable=False, index=True),
    sa.Column("html_sha256", sa.String(64), nullable=False),
    sa.Column("inputs", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
)

report_kpi = sa.Table(
    "report_kpi",
    metadata,
    sa.Column("report_sha256", sa.String(64), sa.ForeignKey("report.sha256"), primary_key=True),
    sa.Column("key", sa.String(200), primary_key=True),
    sa.Column("value", sa.Float, nullable=False),
    sa.Column("unit", sa.String(20), nullable=False),
)

deployment = sa.Table(
    "deployment",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("model", sa.String(100), nullable=False, index=True),
    sa.Column("model_version", sa.Integer, nullable=False),
    sa.Column("environment", sa.String(20), nullable=False),
    sa.Column("tier", sa.Integer, nullable=False),
    sa.Column("state", sa.String(20), nullable=False, index=True),
    sa.Column("evidence_fingerprint", sa.String(64)),
    sa.Column("checklist", sa.JSON, nullable=False),
    sa.Column("plan", sa.JSON, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
)

serving_move = sa.Table(
    "serving_move",
    metadata,
    sa.Column("model", sa.String(100), primary_key=True),
    sa.Column("environment", sa.String(20), primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("action", sa.String(20), nullable=False),
    sa.Column("deployment_id", sa.String(64), nullable=False, index=True),
    sa.Column("champion_id", sa.String(64)),
    sa.Column("champion_version", sa.Integer),
    sa.Column("challenger_id", sa.String(64)),
    sa.Column("challenger_version", sa.Integer),
    sa.Column("challenger_mode", sa.String(10)),
    sa.Column("challenger_slice", sa.JSON),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("ledger_seq", sa.Integer, sa.ForeignKey("ledger_entry.seq"), nullable=False),
)

serving_window = sa.Table(
    "serving_window",
    metadata,
    sa.Column("deployment_id", sa.String(64), primary_key=True),
    sa.Column("started_at", UtcDateTime, primary_key=True),
    sa.Column("worker", sa.String(80), primary_key=True),
    sa.Column("request_count", sa.Integer, nullable=False),
    sa.Column("error_count", sa.Integer, nullable=False),
    sa.Column("latencies", sa.LargeBinary, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
)

attestation = sa.Table(
    "attestation",
    metadata,
    sa.Column("model", sa.String(100), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("item", sa.String(60), primary_key=True),
    sa.Column("principal", sa.String(200), primary_key=True),
    sa.Column("version_fingerprint", sa.String(64), nullable=False),
    sa.Column("statement", sa.Text, nullable=False),
    sa.Column("credential", sa.String(200), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("ledger_seq", sa.Integer, sa.ForeignKey("ledger_entry.seq"), nullable=False),
)

trial = sa.Table(
    "trial",
    metadata,
    sa.Column("study", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("model", sa.String(100), nullable=False, index=True),
    sa.Column("parameters", sa.JSON, nullable=False),
    sa.Column("value", sa.Float),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("training_set_fingerprint", sa.String(64), nullable=False),
    sa.Column("run_id", sa.String(64), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("by", sa.String(200), nullable=False),
)

retraining = sa.Table(
    "retraining",
    metadata,
    sa.Column("model", sa.String(100), primary_key=True),
    sa.Column("cause", sa.String(20), primary_key=True),
    sa.Column("cause_id", sa.String(200), primary_key=True),
    sa.Column("requested_at", UtcDateTime, nullable=False),
    sa.Column("requested_by", sa.String(200), nullable=False),
    sa.Column("ledger_seq", sa.Integer, sa.ForeignKey("ledger_entry.seq"), nullable=False),
)

mirror_document = sa.Table(
    "mirror_document",
    metadata,
    sa.Column("kind", sa.String(60), primary_key=True),
    sa.Column("id", sa.String(200), primary_key=True),
    sa.Column("rev", sa.Integer, nullable=False, index=True),
    sa.Column("document", sa.JSON, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
)

mirror_delivery = sa.Table(
    "mirror_delivery",
    metadata,
    sa.Column("target", sa.String(40), primary_key=True),
    sa.Column("kind", sa.String(60), primary_key=True),
    sa.Column("id", sa.String(200), primary_key=True),
    sa.Column("delivered_rev", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_attempt_at", UtcDateTime, nullable=False),
    sa.Column("last_error", sa.Text, nullable=False),
    sa.Column("delivered_at", UtcDateTime),
)

approval = sa.Table(
    "approval",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("subject", sa.String(400), nullable=False, index=True),
    sa.Column("tier", sa.Integer, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
    sa.Column("evidence_fingerprint", sa.String(64), nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("quorum", sa.Integer, nullable=False),
    sa.Column("required_role", sa.String(20)),
    sa.Column("state", sa.String(20), nullable=False, index=True),
    sa.Column("is_override", sa.Boolean, nullable=False),
    sa.Column("closed_reason", sa.Text, nullable=False),
    sa.Column("moved", sa.JSON, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("submitted_by", sa.String(200)),
    sa.Column("submitted_at", UtcDateTime),
    sa.Column("review_started_at", UtcDateTime),
    sa.Column("decided_at", UtcDateTime),
    sa.Column("due_at", UtcDateTime),
    sa.Column("expires_at", UtcDateTime),
    sa.Column("valid_days", sa.Integer, nullable=False),
    sa.UniqueConstraint("subject", "evidence_fingerprint", "round"),
)

approval_party = sa.Table(
    "approval_party",
    metadata,
    sa.Column("approval_id", sa.String(64), sa.ForeignKey("approval.id"), primary_key=True),
    sa.Column("principal", sa.String(200), primary_key=True),
    sa.Column("part", sa.String(20), primary_key=True),
)

approval_decision = sa.Table(
    "approval_decision",
    metadata,
    sa.Column("approval_id", sa.String(64), sa.ForeignKey("approval.id"), primary_key=True),
    sa.Column("approver", sa.String(200), primary_key=True),
    sa.Column("verdict", sa.String(20), nullable=False),
    sa.Column("capacity", sa.String(20), nullable=False),
    sa.Column("evidence_fingerprint", sa.String(64), nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("credential", sa.String(200), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)

approval_override = sa.Table(
    "approval_override",
    metadata,
    sa.Column("approval_id", sa.String(64), sa.ForeignKey("approval.id"), primary_key=True),
    sa.Column("principal", sa.String(200), primary_key=True),
    sa.Column("evidence_fingerprint", sa.String(64), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("credential", sa.String(200), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)

principal = sa.Table(
    "principal",
    metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("display_name", sa.String(200), nullable=False),
    sa.Column("email", sa.String(320), nullable=False),
    sa.Column("oidc_subject", sa.String(255), unique=True),
    sa.Column("roles", sa.JSON, nullable=False),
    sa.Column("is_active", sa.Boolean, nullable=False),
    sa.Column("managed_by", sa.String(20), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Column("ledger_seq", sa.Integer, sa.ForeignKey("ledger_entry.seq"), nullable=False),
)

api_token = sa.Table(
    "api_token",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("principal", sa.String(200), sa.ForeignKey("principal.name"), nullable=False, index=True),
    sa.Column("sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("label", sa.String(200), nullable=False),
    sa.Column("issued_at", UtcDateTime, nullable=False),
    sa.Column("issued_by", sa.String(200), nullable=False),
    sa.Column("issued_with", sa.String(200), nullable=False),
    sa.Column("is_session", sa.Boolean, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Column("revoked_at", UtcDateTime),
    sa.Column("ledger_seq", sa.Integer, sa.ForeignKey("ledger_entry.seq"), nullable=False),
)

idempotency_key = sa.Table(
    "idempotency_key",
    metadata,
    sa.Column("principal", sa.String(200), primary_key=True),
    sa.Column("key", sa.String(200), primary_key=True),
    sa.Column("request_sha256", sa.String(64), nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("media_type", sa.String(100)),
    sa.Column("body", sa.LargeBinary),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False, index=True),
)

alert = sa.Table(
    "alert",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("key", sa.String(400), nullable=False, index=True),
    sa.Column("kind", sa.String(100), nullable=False),
    sa.Column("severity", sa.String(20), nullable=False),
    sa.Column("subject", sa.String(400), nullable=False, index=True),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("details", sa.JSON, nullable=False),
    sa.Column("occurrences", sa.Integer, nullable=False),
    sa.Column("raised_at", UtcDateTime, nullable=False),
    sa.Column("last_seen_at", UtcDateTime, nullable=False),
    sa.Column("ledger_seq", sa.Integer, sa.ForeignKey("ledger_entry.seq"), nullable=False),
)

alert_delivery = sa.Table(
    "alert_delivery",
    metadata,
    sa.Column("alert_id", sa.String(64), sa.ForeignKey("alert.id"), primary_key=True),
    sa.Column("channel", sa.String(40), primary_key=True),
    sa.Column("state", sa.String(20), nullable=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_attempt_at", UtcDateTime, nullable=False),
    sa.Column("last_error", sa.Text, nullable=False),
    sa.Column("delivered_at", UtcDateTime),
)

drift_event = sa.Table(
    "drift_event",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("subject", sa.String(200), nullable=False, index=True),
    sa.Column("metric_name", sa.String(100), nullable=False),
    sa.Column("metric_value", sa.Float),
    sa.Column("threshold", sa.Float),
    sa.Column("severity", sa.String(20), nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("snapshot_fingerprint", sa.String(64), nullable=False),
    sa.Column("detected_at", UtcDateTime, nullable=False),
)

prompt_evaluation = sa.Table(
    "prompt_evaluation",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("prompt_id", sa.String(100), nullable=False, index=True),
    sa.Column("version", sa.String(40), nullable=False),
    sa.Column("prompt_fingerprint", sa.String(64), nullable=False),
    sa.Column("outputs_fingerprint", sa.String(64), nullable=False),
    sa.Column("is_passed", sa.Boolean, nullable=False),
    sa.Column("findings", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
)

feature_view = sa.Table(
    "feature_view",
    metadata,
    sa.Column("view", sa.String(100), primary_key=True),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("active_version", sa.String(40)),
    sa.Column("successor", sa.String(100)),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Column("ledger_seq", sa.Integer, sa.ForeignKey("ledger_entry.seq"), nullable=False),
)

feature_release = sa.Table(
    "feature_release",
    metadata,
    sa.Column("view", sa.String(100), primary_key=True),
    sa.Column("version", sa.String(40), primary_key=True),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("registered_at", UtcDateTime, nullable=False),
    sa.Column("registered_by", sa.String(200), nullable=False),
    sa.Column("ledger_seq", sa.Integer, sa.ForeignKey("ledger_entry.seq"), nullable=False),
)

look_ahead_certificate = sa.Table(
    "look_ahead_certificate",
    metadata,
    sa.Column("ledger_seq", sa.Integer, sa.ForeignKey("ledger_entry.seq"), primary_key=True, autoincrement=False),
    sa.Column("view", sa.String(100), nullable=False, index=True),
    sa.Column("version", sa.String(40), nullable=False),
    sa.Column("snapshot_fingerprint", sa.String(64), nullable=False, index=True),
    sa.Column("bars_fingerprint", sa.String(64), nullable=False),
    sa.Column("cuts", sa.JSON, nullable=False),
    sa.Column("rows_compared", sa.Integer, nullable=False),
    sa.Column("peeks", sa.JSON, nullable=False),
    sa.Column("is_clean", sa.Boolean, nullable=False),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("issued_at", UtcDateTime, nullable=False),
    sa.Column("issued_by", sa.String(200), nullable=False),
)
