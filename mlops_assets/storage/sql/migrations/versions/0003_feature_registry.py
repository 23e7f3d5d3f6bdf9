"""What is remembered of feature views: status and active version, releases, look-ahead certificates."""

import sqlalchemy as sa
from alembic import op

from mlops_assets.storage.sql.tables import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_APPEND_ONLY = ("feature_release", "look_ahead_certificate")


def upgrade() -> None:
    op.create_table(
        "feature_view",
        sa.Column("view", sa.String(length=100), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("active_version", sa.String(length=40), nullable=True),
        sa.Column("successor", sa.String(length=100), nullable=True),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.Column("ledger_seq", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ledger_seq"], ["ledger_entry.seq"], name=op.f("fk_feature_view_ledger_seq_ledger_entry")
        ),
        sa.PrimaryKeyConstraint("view", name=op.f("pk_feature_view")),
    )
    op.create_table(
        "feature_release",
        sa.Column("view", sa.String(length=100), nullable=False),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("registered_at", UtcDateTime(), nullable=False),
        sa.Column("registered_by", sa.String(length=200), nullable=False),
        sa.Column("ledger_seq", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ledger_seq"], ["ledger_entry.seq"], name=op.f("fk_feature_release_ledger_seq_ledger_entry")
        ),
        sa.PrimaryKeyConstraint("view", "version", name=op.f("pk_feature_release")),
    )
    op.create_table(
        "look_ahead_certificate",
        sa.Column("ledger_seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("view", sa.String(length=100), nullable=False),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("snapshot_fingerprint", sa.String(length=64), nullable=False),
        sa.Column("bars_fingerprint", sa.String(length=64), nullable=False),
        sa.Column("cuts", sa.JSON(), nullable=False),
        sa.Column("rows_compared", sa.Integer(), nullable=False),
        sa.Column("peeks", sa.JSON(), nullable=False),
        sa.Column("is_clean", sa.Boolean(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("issued_at", UtcDateTime(), nullable=False),
        sa.Column("issued_by", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(
            ["ledger_seq"], ["ledger_entry.seq"], name=op.f("fk_look_ahead_certificate_ledger_seq_ledger_entry")
        ),
        sa.PrimaryKeyConstraint("ledger_seq", name=op.f("pk_look_ahead_certificate")),
    )
    for column in ("snapshot_fingerprint", "view"):
        op.create_index(op.f(f"ix_look_ahead_certificate_{column}"), "look_ahead_certificate", [column], unique=False)
    for table in _APPEND_ONLY:
        for operation in ("UPDATE", "DELETE"):
            _refuse(table, operation)


def downgrade() -> None:
    for table in ("look_ahead_certificate", "feature_release", "feature_view"):
        op.drop_table(table)


def _refuse(table: str, operation: str) -> None:
    """Let the database itself abort a change of what is written once."""
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
