"""The model lifecycle: deployments by state, who serves since when, attestations, trials, retraining, mirrors."""

import sqlalchemy as sa
from alembic import op

from mlops_assets.storage.sql.migrations.lifecycle_guards import GUARDS
from mlops_assets.storage.sql.migrations.triggers import create, refuse_truncation
from mlops_assets.storage.sql.tables import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_STATES = {"pending": "in_review", "terminated": "superseded"}
"""What the statuses of before are called now; a deployment never had another one."""

_NEVER_EMPTIED = ("deployment", "serving_move", "attestation", "trial", "retraining")


def upgrade() -> None:
    _deployments_have_states()
    _make_tables()
    for guard in GUARDS:
        create(guard)
    refuse_truncation(*_NEVER_EMPTIED)


def _deployments_have_states() -> None:
    with op.batch_alter_table("deployment") as table:
        table.alter_column("status", new_column_name="state", existing_type=sa.String(length=20))
        table.alter_column("evidence_fingerprint", existing_type=sa.String(length=64), nullable=True)
        table.add_column(sa.Column("tier", sa.Integer(), nullable=False, server_default="2"))
        table.add_column(sa.Column("plan", sa.JSON(), nullable=False, server_default="{}"))
    with op.batch_alter_table("deployment") as table:
        table.alter_column("tier", existing_type=sa.Integer(), server_default=None)
        table.alter_column("plan", existing_type=sa.JSON(), server_default=None)
    op.create_index(op.f("ix_deployment_state"), "deployment", ["state"], unique=False)
    deployment = sa.table("deployment", sa.column("state", sa.String))
    for before, now in _STATES.items():
        op.execute(sa.update(deployment).where(deployment.c.state == before).values(state=now))


def _make_tables() -> None:
    op.create_table(
        "serving_move",
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("environment", sa.String(length=20), nullable=False),
        sa.Column("epoch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("action", sa.String(length=20), nullable=False),
        sa.Column("deployment_id", sa.String(length=64), nullable=False),
        sa.Column("champion_id", sa.String(length=64), nullable=True),
        sa.Column("champion_version", sa.Integer(), nullable=True),
        sa.Column("challenger_id", sa.String(length=64), nullable=True),
        sa.Column("challenger_version", sa.Integer(), nullable=True),
        sa.Column("challenger_mode", sa.String(length=10), nullable=True),
        sa.Column("challenger_slice", sa.JSON(), nullable=True),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("ledger_seq", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ledger_seq"], ["ledger_entry.seq"], name=op.f("fk_serving_move_ledger_seq_ledger_entry")
        ),
        sa.PrimaryKeyConstraint("model", "environment", "epoch", name=op.f("pk_serving_move")),
    )
    op.create_index(op.f("ix_serving_move_deployment_id"), "serving_move", ["deployment_id"], unique=False)
    op.create_table(
        "serving_window",
        sa.Column("deployment_id", sa.String(length=64), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("worker", sa.String(length=80), nullable=False),
        sa.Column("request_count", sa.Integer(), nullable=False),
        sa.Column("error_count", sa.Integer(), nullable=False),
        sa.Column("latencies", sa.LargeBinary(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("deployment_id", "started_at", "worker", name=op.f("pk_serving_window")),
    )
    op.create_table(
        "attestation",
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("item", sa.String(length=60), nullable=False),
        sa.Column("principal", sa.String(length=200), nullable=False),
        sa.Column("version_fingerprint", sa.String(length=64), nullable=False),
        sa.Column("statement", sa.Text(), nullable=False),
        sa.Column("credential", sa.String(length=200), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("ledger_seq", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ledger_seq"], ["ledger_entry.seq"], name=op.f("fk_attestation_ledger_seq_ledger_entry")
        ),
        sa.PrimaryKeyConstraint("model", "version", "item", "principal", name=op.f("pk_attestation")),
    )
    op.create_table(
        "trial",
        sa.Column("study", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("training_set_fingerprint", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("study", "number", name=op.f("pk_trial")),
    )
    op.create_index(op.f("ix_trial_model"), "trial", ["model"], unique=False)
    op.create_table(
        "retraining",
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("cause", sa.String(length=20), nullable=False),
        sa.Column("cause_id", sa.String(length=200), nullable=False),
        sa.Column("requested_at", UtcDateTime(), nullable=False),
        sa.Column("requested_by", sa.String(length=200), nullable=False),
        sa.Column("ledger_seq", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ledger_seq"], ["ledger_entry.seq"], name=op.f("fk_retraining_ledger_seq_ledger_entry")
        ),
        sa.PrimaryKeyConstraint("model", "cause", "cause_id", name=op.f("pk_retraining")),
    )
    op.create_table(
        "mirror_document",
        sa.Column("kind", sa.String(length=60), nullable=False),
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("rev", sa.Integer(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "id", name=op.f("pk_mirror_document")),
    )
    op.create_index(op.f("ix_mirror_document_rev"), "mirror_document", ["rev"], unique=False)
    op.create_table(
        "mirror_delivery",
        sa.Column("target", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=60), nullable=False),
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("delivered_rev", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", UtcDateTime(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("delivered_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("target", "kind", "id", name=op.f("pk_mirror_delivery")),
    )


def downgrade() -> None:
    raise NotImplementedError("who served when is not forgotten; restore a backup of before")
