"""The first schema: manifest, ledger, registry, approvals, reports, drift, prompts."""

import sqlalchemy as sa
from alembic import op

from mlops_assets.storage.sql.tables import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


_APPEND_ONLY = ("ledger_entry", "approval_decision")


def upgrade() -> None:
    op.create_table(
        "approval",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=400), nullable=False),
        sa.Column("evidence_fingerprint", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("quorum", sa.Integer(), nullable=False),
        sa.Column("author", sa.String(length=200), nullable=False),
        sa.Column("submitted_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval")),
        sa.UniqueConstraint("subject", "evidence_fingerprint", "round", name=op.f("uq_approval_subject")),
    )
    op.create_index(op.f("ix_approval_subject"), "approval", ["subject"], unique=False)
    op.create_table(
        "dataset_head",
        sa.Column("dataset", sa.String(length=200), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("dataset", name=op.f("pk_dataset_head")),
    )
    op.create_table(
        "deployment",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("environment", sa.String(length=20), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("evidence_fingerprint", sa.String(length=64), nullable=False),
        sa.Column("checklist", sa.JSON(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployment")),
    )
    op.create_index(op.f("ix_deployment_model"), "deployment", ["model"], unique=False)
    op.create_table(
        "drift_event",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("metric_name", sa.String(length=100), nullable=False),
        sa.Column("metric_value", sa.Float(), nullable=True),
        sa.Column("threshold", sa.Float(), nullable=True),
        sa.Column("severity", sa.String(length=20), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("snapshot_fingerprint", sa.String(length=64), nullable=False),
        sa.Column("detected_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drift_event")),
    )
    op.create_index(op.f("ix_drift_event_subject"), "drift_event", ["subject"], unique=False)
    op.create_table(
        "ledger_entry",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=100), nullable=False),
        sa.Column("subject", sa.String(length=400), nullable=False),
        sa.Column("before", sa.String(length=64), nullable=True),
        sa.Column("after", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("previous_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_ledger_entry")),
        sa.UniqueConstraint("hash", name=op.f("uq_ledger_entry_hash")),
    )
    op.create_index(op.f("ix_ledger_entry_subject"), "ledger_entry", ["subject"], unique=False)
    op.create_table(
        "model_version",
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("artifact_sha256", sa.String(length=64), nullable=False),
        sa.Column("training_set_fingerprint", sa.String(length=64), nullable=False),
        sa.Column("code_version", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("stage", sa.String(length=20), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("model", "version", name=op.f("pk_model_version")),
        sa.UniqueConstraint("model", "fingerprint", name=op.f("uq_model_version_model")),
    )
    op.create_table(
        "prompt_evaluation",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("prompt_id", sa.String(length=100), nullable=False),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("prompt_fingerprint", sa.String(length=64), nullable=False),
        sa.Column("outputs_fingerprint", sa.String(length=64), nullable=False),
        sa.Column("is_passed", sa.Boolean(), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompt_evaluation")),
    )
    op.create_index(op.f("ix_prompt_evaluation_prompt_id"), "prompt_evaluation", ["prompt_id"], unique=False)
    op.create_table(
        "replay",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("scenario", sa.String(length=100), nullable=False),
        sa.Column("candidate", sa.String(length=100), nullable=False),
        sa.Column("result_fingerprint", sa.String(length=64), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("checks", sa.JSON(), nullable=False),
        sa.Column("inputs", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replay")),
    )
    op.create_index(op.f("ix_replay_scenario"), "replay", ["scenario"], unique=False)
    op.create_table(
        "report",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("html_sha256", sa.String(length=64), nullable=False),
        sa.Column("inputs", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_report")),
    )
    op.create_index(op.f("ix_report_name"), "report", ["name"], unique=False)
    op.create_table(
        "tracked_run",
        sa.Column("asset", sa.String(length=200), nullable=False),
        sa.Column("partition", sa.String(length=200), nullable=False),
        sa.Column("root_run_id", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("asset", "partition", "root_run_id", name=op.f("pk_tracked_run")),
    )
    op.create_table(
        "approval_decision",
        sa.Column("approval_id", sa.String(length=64), nullable=False),
        sa.Column("approver", sa.String(length=200), nullable=False),
        sa.Column("decision", sa.String(length=20), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["approval_id"], ["approval.id"], name=op.f("fk_approval_decision_approval_id_approval")
        ),
        sa.PrimaryKeyConstraint("approval_id", "approver", name=op.f("pk_approval_decision")),
    )
    op.create_table(
        "report_kpi",
        sa.Column("report_sha256", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("unit", sa.String(length=20), nullable=False),
        sa.ForeignKeyConstraint(["report_sha256"], ["report.sha256"], name=op.f("fk_report_kpi_report_sha256_report")),
        sa.PrimaryKeyConstraint("report_sha256", "key", name=op.f("pk_report_kpi")),
    )
    op.create_table(
        "snapshot",
        sa.Column("dataset", sa.String(length=200), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("parent", sa.Integer(), nullable=True),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("schema_hash", sa.String(length=64), nullable=False),
        sa.Column("schema", sa.JSON(), nullable=False),
        sa.Column("code_version", sa.String(length=64), nullable=False),
        sa.Column("inputs", sa.JSON(), nullable=False),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column("byte_count", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("ledger_seq", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["ledger_seq"], ["ledger_entry.seq"], name=op.f("fk_snapshot_ledger_seq_ledger_entry")),
        sa.PrimaryKeyConstraint("dataset", "version", name=op.f("pk_snapshot")),
    )
    op.create_table(
        "snapshot_file",
        sa.Column("dataset", sa.String(length=200), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("path", sa.String(length=400), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("byte_count", sa.Integer(), nullable=False),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset", "version"],
            ["snapshot.dataset", "snapshot.version"],
            name=op.f("fk_snapshot_file_dataset_snapshot"),
        ),
        sa.PrimaryKeyConstraint("dataset", "version", "path", name=op.f("pk_snapshot_file")),
    )
    for table in _APPEND_ONLY:
        for operation in ("UPDATE", "DELETE"):
            _refuse(table, operation)


def downgrade() -> None:
    op.drop_table("snapshot_file")
    op.drop_table("snapshot")
    op.drop_table("report_kpi")
    op.drop_table("approval_decision")
    op.drop_table("tracked_run")
    op.drop_index(op.f("ix_report_name"), table_name="report")
    op.drop_table("report")
    op.drop_index(op.f("ix_replay_scenario"), table_name="replay")
    op.drop_table("replay")
    op.drop_index(op.f("ix_prompt_evaluation_prompt_id"), table_name="prompt_evaluation")
    op.drop_table("prompt_evaluation")
    op.drop_table("model_version")
    op.drop_index(op.f("ix_ledger_entry_subject"), table_name="ledger_entry")
    op.drop_table("ledger_entry")
    op.drop_index(op.f("ix_drift_event_subject"), table_name="drift_event")
    op.drop_table("drift_event")
    op.drop_index(op.f("ix_deployment_model"), table_name="deployment")
    op.drop_table("deployment")
    op.drop_table("dataset_head")
    op.drop_index(op.f("ix_approval_subject"), table_name="approval")
    op.drop_table("approval")


def _refuse(table: str, operation: str) -> None:
    """Let the database itself abort a change of what must only ever be appended to."""
    name = f"{table}_refuses_{operation.lower()}"
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger AS "
            f"$$ BEGIN RAISE EXCEPTION '{table} is append-only'; END $$ LANGUAGE plpgsql"
        )
        op.execute(f"CREATE TRIGGER {name} BEFORE {operation} ON {table} EXECUTE FUNCTION {name}()")
    else:
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {operation} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )
